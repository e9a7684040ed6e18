"""Start and stop of an installation on one machine.

It guards that what cannot work is said in one line before anything is started, that a second start
continues with the data, and that a stop leaves no process.
"""

import asyncio
import fcntl
import http.client
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from services.console.local import kafka, plan, postgres, processes
from services.console.local.archive import make_archive
from services.console.local.jars import java
from services.console.local.keys import make_secrets
from services.console.local.place import LocalError, Place
from services.console.local.ports import check_free
from services.console.local.provision import provision_database, provision_kafka
from services.kit.settings import Settings

DISK_NEEDED = 512 * 2**20
SERVERS = (postgres.NAME, kafka.NAME)
ALL = (*SERVERS, *plan.EVERYBODY)
Say = Callable[[str], None]


def up(place: Place, environment: Mapping[str, str], say: Say) -> Settings:
    """Start what does not run yet, in order, and wait until each part is ready."""
    settings = plan.local_settings(place, environment)
    given = plan.given_servers(environment)
    place.make()
    with _only_one(place):
        check_disk(place)
        wanted = [name for name in ALL if processes.find(place, name) is None]
        if given.database_url and postgres.NAME in wanted:
            wanted.remove(postgres.NAME)
        if given.kafka and kafka.NAME in wanted:
            wanted.remove(kafka.NAME)
        for name in wanted:
            for setting, port in plan.ports_of(settings, name).items():
                check_free(port, name, setting)
        _start_servers(place, settings, given, wanted, say)
        _start_ours(place, settings, wanted, say)
    return settings


@contextmanager
def _only_one(place: Place) -> Iterator[None]:
    with (place.root / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalError(f"another `cauce up` or `down` works in {place.root}") from error
        yield


def check_disk(place: Place) -> None:
    """Raise LocalError when the disk cannot take a day's log."""
    free = shutil.disk_usage(place.root).free
    if free < DISK_NEEDED:
        raise LocalError(
            f"the disk of {place.root} has {free // 2**20} MB left and"
            f" {DISK_NEEDED // 2**20} MB are needed: make room, or set CAUCE_RUN to another disk"
        )


def _start_servers(
    place: Place, settings: Settings, given: plan.Given, wanted: list[str], say: Say
) -> None:
    if kafka.NAME in wanted:
        java()
        say("Apache Kafka: checking the jars (the first time they are fetched and prepared)")
        make_archive()
    if not given.kafka:
        place.secret("kafka.admin")
    make_secrets(place, settings.vault_keys_dir)
    plan.make_partner_files(place)
    with ThreadPoolExecutor(2) as pool:
        database = pool.submit(_database, place, settings, given, wanted, say)
        log = pool.submit(_log, place, settings, wanted, say)
    database.result()
    log.result()


def _database(
    place: Place, settings: Settings, given: plan.Given, wanted: list[str], say: Say
) -> None:
    dsn = given.database_url
    if dsn is None:
        server = postgres.server_of(place, port=settings.database_port)
        dsn = server.dsn()
        if postgres.NAME in wanted:
            postgres.prepare(server)
            postgres.start_server(place, server)
    applied = asyncio.run(provision_database(place, settings, dsn))
    say(
        f"PostgreSQL ready at {settings.database_host}:{settings.database_port}"
        f" ({len(applied)} SQL files applied)"
    )


def _log(place: Place, settings: Settings, wanted: list[str], say: Say) -> None:
    if kafka.NAME in wanted:
        port = int(settings.kafka_bootstrap.rpartition(":")[2])
        broker = kafka.broker_of(place, port=port, controller_port=settings.kafka_controller_port)
        kafka.prepare(broker)
        kafka.start_broker(place, broker)
    provision_kafka(place, settings)
    say(f"Apache Kafka ready at {settings.kafka_bootstrap}")


def _start_ours(place: Place, settings: Settings, wanted: list[str], say: Say) -> None:
    commands = plan.commands(place, settings)
    for name in (plan.VAULT, plan.REFUGIO, plan.ONG, plan.CLINICA):
        if name in wanted:
            processes.start(place, commands[name])
    for name in plan.EVERYBODY:
        if name == plan.HUB and name in wanted:
            processes.start(place, commands[name])
        host, port = plan.ready_address(settings, name)
        processes.wait_until(place, name, partial(ready, host, port), timeout=30)
        say(f"{name} ready at {host}:{port}")


def ready(host: str, port: int) -> bool:
    """Whether `GET /ready` answers 200."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def down(place: Place, say: Say) -> None:
    """Stop everything that was started here, ours first."""
    place.make()
    with _only_one(place):
        for name in reversed(ALL):
            began = time.monotonic()
            if processes.stop(place, name):
                say(f"{name} stopped ({time.monotonic() - began:.1f} s)")
        for name in reversed(processes.names(place)):
            processes.stop(place, name)


def status(place: Place, environment: Mapping[str, str]) -> list[dict[str, str | int | None]]:
    """One row per part: name, state (`ready`, `starting`, `stopped`, `given`), address, pid."""
    settings = plan.local_settings(place, environment)
    given = plan.given_servers(environment)
    database = f"{settings.database_host}:{settings.database_port}"
    rows = [
        _server_row(place, postgres.NAME, database, given=bool(given.database_url)),
        _server_row(place, kafka.NAME, settings.kafka_bootstrap, given=bool(given.kafka)),
    ]
    for name in plan.EVERYBODY:
        host, port = plan.ready_address(settings, name)
        process = processes.find(place, name)
        state = "stopped"
        if process is not None:
            state = "ready" if ready(host, port) else "starting"
        rows.append(_row(name, state, f"{host}:{port}", process.pid if process else None))
    return rows


def _server_row(
    place: Place, name: str, address: str, *, given: bool
) -> dict[str, str | int | None]:
    process = processes.find(place, name)
    state = "given" if given else ("ready" if process else "stopped")
    return _row(name, state, address, process.pid if process else None)


def _row(name: str, state: str, address: str, pid: int | None) -> dict[str, str | int | None]:
    return {"name": name, "state": state, "address": address, "pid": pid}
