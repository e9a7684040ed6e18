"""An installation of its own for the measurement: free ports, empty stores, gone at the end."""

import json
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.paths import Way, journal_of
from services.console.local import bootstrap, plan, postgres, processes
from services.console.local.place import Place
from services.console.local.ports import free_ports
from services.console.local.world import make_world
from services.kit.settings import Settings

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


@dataclass(frozen=True, kw_only=True)
class World:
    """A running installation."""

    place: Place
    settings: Settings

    def pids(self) -> dict[str, int]:
        """Part → pid of its first process."""
        found = {name: processes.find(self.place, name) for name in bootstrap.ALL}
        return {name: process.pid for name, process in found.items() if process is not None}

    def journal(self, way: Way) -> Path:
        """The recipient's own store."""
        return journal_of(plan.partner_home(self.place, way.recipient), way)

    @property
    def sender_key(self) -> Path:
        """Private key of the sender's system."""
        return plan.partner_home(self.place, plan.ONG) / "client.es384"

    @property
    def dsn(self) -> str:
        """Administrator's address of the hub's database, for judging after a load."""
        server = postgres.server_of(self.place, port=self.settings.database_port)
        return server.dsn(self.settings.database_name)

    def prepare(self, way: Way) -> None:
        """Set the switches of the path's recipient."""
        _, port = plan.ready_address(self.settings, way.recipient)
        url = f"http://127.0.0.1:{port}/_control"
        body = json.dumps(dict(way.behaviour)).encode()
        urllib.request.urlopen(url, body, timeout=5).close()


def _silent(_: str) -> None:
    return None


def environment(overrides: Mapping[str, str]) -> dict[str, str]:
    """Settings on free ports, and what the caller sets."""
    *free, kafka = free_ports(len(PORTS) + 1)
    found = {f"CAUCE_{name}": str(port) for name, port in zip(PORTS, free, strict=True)}
    found["CAUCE_KAFKA_BOOTSTRAP"] = f"127.0.0.1:{kafka}"
    found["CAUCE_PUBLIC_URL"] = f"http://127.0.0.1:{found['CAUCE_PUBLIC_PORT']}"
    return {**found, **overrides}


@contextmanager
def running(overrides: Mapping[str, str], say: bootstrap.Say) -> Iterator[World]:
    """Everything started, people and partners registered; stopped and removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="cauce-bench-", dir="/tmp"))
    root.chmod(0o755)
    place = Place(root=root)
    try:
        settings = bootstrap.up(place, environment(overrides), say)
        make_world(place, settings)
        yield World(place=place, settings=settings)
    finally:
        bootstrap.down(place, _silent)
        if not os.environ.get("KEEP_BENCH_FILES"):
            shutil.rmtree(root, ignore_errors=True)
