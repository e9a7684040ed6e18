"""The compose file is true: each command, with its environment, starts and answers /ready.

Containers are not needed: the commands run as plain processes, with the hosts and folders of the
containers rewritten to loopback ports and a temporary folder.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from services.console.local import processes
from services.console.local.bootstrap import ready
from services.console.local.place import Place
from services.console.local.ports import answers, free_ports
from tests.support.servers import temporary_place

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


class Stage:
    """The services of the compose file on this machine."""

    def __init__(self, place: Place) -> None:
        self.place = place
        servers = ["kafka", "controller", "postgres", "public", "admin", "vault"]
        names = [*servers, "refugio", "ong", "clinica"]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.moved = {
            "/var/lib/cauce": str(place.root),
            "/run/cauce": str(place.root),
            "kafka:19092": f"127.0.0.1:{self.ports['kafka']}",
            "postgres": "127.0.0.1",
            "15432": str(self.ports["postgres"]),
            "hub:8080": f"127.0.0.1:{self.ports['public']}",
            "0.0.0.0": "127.0.0.1",
            "--port=8091": f"--port={self.ports['refugio']}",
            "--port=8092": f"--port={self.ports['ong']}",
            "--port=8093": f"--port={self.ports['clinica']}",
        }

    def rewrite(self, text: str) -> str:
        for old, new in self.moved.items():
            text = text.replace(old, new)
        return text

    def command(self, name: str) -> processes.Command:
        service = COMPOSE[name]
        argv = list(service["command"])
        assert argv[0] == "python"
        keep = 4 if argv[2] == "services.console.local" else 1
        argv = [sys.executable, *argv[1:keep], *map(self.rewrite, argv[keep:])]
        given = service.get("environment", {})
        env = {key: self.rewrite(str(value)) for key, value in given.items()}
        if env:
            env |= {
                "CAUCE_KAFKA_CONTROLLER_PORT": str(self.ports["controller"]),
                "CAUCE_PUBLIC_PORT": str(self.ports["public"]),
                "CAUCE_ADMIN_PORT": str(self.ports["admin"]),
                "CAUCE_VAULT_ADMIN_PORT": str(self.ports["vault"]),
                "CAUCE_EGRESS_PRIVATE_NETWORKS": "127.0.0.0/8",
            }
        env |= {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
        stop = getattr(signal, service.get("stop_signal", "SIGTERM"))
        return processes.Command(
            name=name, argv=argv, env=env, cwd=ROOT, stop_signal=stop, dies_with_us=True
        )

    def start(self, name: str) -> None:
        processes.start(self.place, self.command(name))

    def wait_ready(self, name: str, port: str) -> None:
        processes.wait_until(
            self.place, name, lambda: ready("127.0.0.1", self.ports[port]), timeout=40
        )


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with temporary_place() as place:
        made = Stage(place)
        for name in ("kafka", "postgres"):
            made.start(name)
        for name in ("kafka", "postgres"):
            port = made.ports[name]
            processes.wait_until(place, name, partial(answers, port), timeout=60)
        time.sleep(0.3)  # the database answers a moment after its port does
        provision = made.command("provision")
        subprocess.run(provision.argv, env=dict(provision.env), cwd=ROOT, check=True, timeout=60)
        made.start("vault")
        yield made


def test_the_vault_and_the_hub_of_the_compose_file_become_ready(stage: Stage) -> None:
    stage.wait_ready("vault", "vault")
    stage.start("hub")
    stage.wait_ready("hub", "admin")


@pytest.mark.parametrize(
    ("name", "port"),
    [("refugio-sur", "refugio"), ("ong-norte", "ong"), ("clinica-demo", "clinica")],
)
def test_a_sandbox_partner_of_the_compose_file_becomes_ready(
    stage: Stage, name: str, port: str
) -> None:
    stage.start(name)
    stage.wait_ready(name, port)


def test_every_service_of_the_compose_file_is_started_here() -> None:
    started = {"kafka", "postgres", "provision", "vault", "hub"}
    assert set(COMPOSE) == started | {"refugio-sur", "ong-norte", "clinica-demo"}
