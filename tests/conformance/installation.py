"""Servers, vault and hub for a conformance run, outside pytest, gone when it ends."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.console.local import plan
from services.console.local.keys import make_secrets
from services.console.local.ports import free_ports
from tests.support import servers
from tests.support.hub import Hub, running_hub


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A hub with nobody entered yet."""

    hub: Hub
    pg: servers.Databases
    kafka: servers.Kafka


@contextmanager
def running_installation(names: Sequence[str] = (plan.VAULT, plan.HUB)) -> Iterator[Installation]:
    """Kafka, PostgreSQL and the named parts; answers are polled twice a second."""
    with (
        servers.temporary_place() as place,
        servers.running_postgres(place) as server,
        servers.running_kafka(place) as kafka,
    ):
        make_secrets(place, place.root / "vault-keys")
        pg = servers.new_databases(place, server)
        settings = servers.settings_for(place, pg, kafka).model_copy(update={"poll_seconds": 0.5})
        with running_hub(place, settings, names) as hub:
            yield Installation(hub=hub, pg=pg, kafka=kafka)


@contextmanager
def running_program(argv: Sequence[str], port: int, log: Path, seconds: float) -> Iterator[None]:
    """A stranger's program, once it listens on its port; killed at the end."""
    with log.open("w", encoding="utf-8") as out:
        program = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + seconds
        while not _listens(port):
            if program.poll() is not None or time.monotonic() > until:
                raise AssertionError(log.read_text(encoding="utf-8", errors="replace")[-2000:])
            time.sleep(0.2)
        yield
    finally:
        program.kill()
        program.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that nobody listens on."""
    return free_ports(1)[0]
