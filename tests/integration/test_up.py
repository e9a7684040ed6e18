"""`cauce up` on an empty machine, again on its data, and its refusals; `cauce down` after each."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from services.console.local import processes
from services.console.local.bootstrap import ALL
from services.console.local.place import Place, write_secret
from services.console.local.ports import free_ports
from tests.support.servers import running_kafka, running_postgres, temporary_place

ROOT = Path(__file__).resolve().parents[2]
PORTS = (
    "PUBLIC_PORT",
    "ADMIN_PORT",
    "VAULT_ADMIN_PORT",
    "DATABASE_PORT",
    "KAFKA_CONTROLLER_PORT",
    "REFUGIO_PORT",
    "ONG_PORT",
    "CLINICA_PORT",
)
OF_OUR_SERVERS = ("CAUCE_DATABASE_PORT", "CAUCE_KAFKA_BOOTSTRAP")


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Place, dict[str, str]]]:
    """A folder and an environment with free ports."""
    with temporary_place() as place:
        *free, kafka = free_ports(len(PORTS) + 1)
        environment = {f"CAUCE_{name}": str(port) for name, port in zip(PORTS, free, strict=True)}
        environment["CAUCE_KAFKA_BOOTSTRAP"] = f"127.0.0.1:{kafka}"
        environment["CAUCE_PUBLIC_URL"] = f"http://127.0.0.1:{environment['CAUCE_PUBLIC_PORT']}"
        environment["CAUCE_RUN"] = str(place.root)
        yield place, environment


def cauce(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.console.main", *words],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def processes_of(place: Place) -> list[int]:
    """Pids whose command line or environment names the folder of the installation."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline()) + str(process.environ().get("CAUCE_SECRETS_DIR"))
        except (psutil.Error, OSError):
            continue
        if str(place.root) in words:
            found.append(process.pid)
    return found


def test_a_machine_comes_up_twice_runs_the_demo_and_goes_down_without_a_trace(
    machine: tuple[Place, dict[str, str]],
) -> None:
    place, environment = machine
    first = cauce(environment, "up")
    assert first.returncode == 0, first.stderr + first.stdout
    shown = json.loads(cauce(environment, "status", "--json").stdout)
    assert {row["name"]: row["state"] for row in shown["parts"]} == dict.fromkeys(ALL, "ready")
    assert shown["egress_private_networks"] == "127.0.0.0/8"
    secret = (place.secrets / "pg.consent").read_text()

    demo = cauce(environment, "demo", "--json")
    assert demo.returncode == 0, demo.stderr
    told = json.loads(demo.stdout)
    assert [told[path]["status"] for path in ("fhir", "native_webhook")] == ["revoked", "revoked"]

    again = cauce(environment, "up")
    assert again.returncode == 0, again.stderr
    assert "(0 SQL files applied)" in again.stdout

    assert cauce(environment, "down").returncode == 0
    assert processes_of(place) == []
    assert cauce(environment, "status", "--json").returncode == 1

    after = cauce(environment, "up", "--json")
    assert after.returncode == 0, after.stderr
    assert (place.secrets / "pg.consent").read_text() == secret
    assert cauce(environment, "down", "--json").returncode == 0
    assert processes_of(place) == []


@pytest.mark.parametrize("name", ["DATABASE_PORT", "KAFKA_CONTROLLER_PORT", "PUBLIC_PORT"])
def test_a_port_in_use_is_one_clear_line_and_nothing_is_started(
    machine: tuple[Place, dict[str, str]], name: str
) -> None:
    place, environment = machine
    port = int(environment[f"CAUCE_{name}"])
    with socket.create_server(("127.0.0.1", port)):
        done = cauce(environment, "up")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"cauce: port {port} on 127.0.0.1 is in use")
    assert f"CAUCE_{name}" in line
    assert processes_of(place) == []


def test_servers_that_exist_already_are_used_and_left_running(
    machine: tuple[Place, dict[str, str]],
) -> None:
    place, environment = machine
    with (
        temporary_place() as theirs,
        running_postgres(theirs) as server,
        running_kafka(theirs) as broker,
    ):
        given = {k: v for k, v in environment.items() if k not in OF_OUR_SERVERS}
        given["DATABASE_URL"] = server.dsn()
        given["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap
        (place.secrets / "kafka.admin").unlink(missing_ok=True)
        without = cauce(given, "up")
        assert without.returncode == 1
        assert "put the password of Kafka's user admin into" in without.stderr
        write_secret(place.secrets / "kafka.admin", broker.passwords["admin"])
        done = cauce(given, "up")
        assert done.returncode == 0, done.stderr
        shown = json.loads(cauce(given, "status", "--json").stdout)
        states = {row["name"]: row["state"] for row in shown["parts"]}
        assert states == dict.fromkeys(ALL, "ready") | {"postgres": "given", "kafka": "given"}
        assert cauce(given, "down").returncode == 0
        assert processes_of(place) == []
        assert processes.find(theirs, "postgres") is not None
        assert processes.find(theirs, "kafka") is not None
