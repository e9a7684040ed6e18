"""Kafka and PostgreSQL of one test run: started once, on free ports, gone when the run is.

Each test module gets an empty pair of databases (copied from a migrated template) and empty topics.
A test that kills a server starts one of its own with `running_postgres` or `running_kafka`.
"""

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from schemas.topics import topics
from services.console.local import kafka, kafka_admin, postgres, processes
from services.console.local.archive import make_archive
from services.console.local.keys import database_passwords, kafka_passwords
from services.console.local.place import Place
from services.console.local.ports import free_ports
from services.kit.migrate import make_database, make_roles, migrate_hub, migrate_vault
from services.kit.settings import Settings

TEMPLATES = {"hub": "template_hub", "vault": "template_vault"}


@contextmanager
def temporary_place() -> Iterator[Place]:
    """A folder that every user may enter (PostgreSQL does not run as root), removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="cauce-test-", dir="/tmp"))
    root.chmod(0o755)
    place = Place(root=root)
    place.make()
    try:
        yield place
    finally:
        for name in reversed(processes.names(place)):
            processes.stop(place, name)
        if not os.environ.get("KEEP_TEST_FILES"):
            shutil.rmtree(root, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Databases:
    """A pair of databases on a running server."""

    host: str
    port: int
    hub: str
    vault: str
    admin_dsn: str = field(repr=False)
    """The superuser in the hub's database."""
    vault_admin_dsn: str = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)

    def dsn(self, role: str, database: str | None = None) -> str:
        """Address for a service's role: the hub's database unless another is named."""
        where = f"{self.host}:{self.port}/{database or self.hub}"
        return f"postgresql://{role}:{self.passwords[role]}@{where}"


@dataclass(frozen=True, kw_only=True)
class Kafka:
    """A running broker and the passwords of its principals (`admin` among them)."""

    bootstrap: str
    passwords: Mapping[str, str] = field(repr=False)

    def client(self, user: str = "admin") -> dict[str, str]:
        """Keyword arguments for an aiokafka or kafka-python client of that principal."""
        return {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": self.passwords[user],
        }


@contextmanager
def running_postgres(place: Place) -> Iterator[postgres.Server]:
    """A server with roles and the two migrated templates."""
    server = postgres.server_of(place, port=free_ports(1)[0])
    postgres.prepare(server)
    postgres.start_server(place, server, dies_with_us=True)
    try:
        asyncio.run(_make_templates(server, database_passwords(place)))
        yield server
    finally:
        processes.stop(place, postgres.NAME)
        with suppress(OSError):
            shutil.rmtree(server.data)


async def _make_templates(server: postgres.Server, passwords: Mapping[str, str]) -> None:
    admin = await asyncpg.connect(server.dsn())
    await make_roles(admin, passwords)
    for name in TEMPLATES.values():
        await make_database(admin, name)
    await admin.close()
    for kind, migrate in (("hub", migrate_hub), ("vault", migrate_vault)):
        connection = await asyncpg.connect(server.dsn(TEMPLATES[kind]))
        await migrate(connection)
        await connection.close()


def new_databases(place: Place, server: postgres.Server) -> Databases:
    """A fresh pair, copied from the templates."""
    return asyncio.run(_copy_templates(place, server))


async def _copy_templates(place: Place, server: postgres.Server) -> Databases:
    suffix = uuid.uuid4().hex[:8]
    names = {kind: f"{kind}_{suffix}" for kind in TEMPLATES}
    admin = await asyncpg.connect(server.dsn())
    for kind, name in names.items():
        await make_database(admin, name, TEMPLATES[kind])
        roles = "gateway, consent, referral, delivery, custody, relay, vault"
        await admin.execute(f"revoke all on database {name} from public")
        await admin.execute(
            f"grant connect on database {name} to {roles if kind == 'hub' else 'vault'}"
        )
    await admin.close()
    return Databases(
        host="127.0.0.1",
        port=server.port,
        hub=names["hub"],
        vault=names["vault"],
        admin_dsn=server.dsn(names["hub"]),
        vault_admin_dsn=server.dsn(names["vault"]),
        passwords=database_passwords(place),
    )


@contextmanager
def running_kafka(place: Place) -> Iterator[Kafka]:
    """A broker with all users, rights and topics."""
    make_archive()
    port, controller_port = free_ports(2)
    broker = kafka.broker_of(place, port=port, controller_port=controller_port)
    kafka.prepare(broker)
    kafka.start_broker(place, broker, dies_with_us=True)
    passwords = kafka_passwords(place)
    try:
        client = kafka_admin.connect(broker.bootstrap, "admin", broker.admin_password)
        kafka_admin.provision(client, passwords)
        client.close()
        yield Kafka(
            bootstrap=broker.bootstrap, passwords={**passwords, "admin": broker.admin_password}
        )
    finally:
        processes.stop(place, kafka.NAME)


def empty_topics(running: Kafka) -> None:
    """All topics of the schemas, without records."""
    client = kafka_admin.connect(running.bootstrap, "admin", running.passwords["admin"])
    kafka_admin.remake_topics(client, topics())
    client.close()


def settings_for(place: Place, databases: Databases, running: Kafka | None = None) -> Settings:
    """Settings of a hub on these servers, on free ports, with the secrets of `place`."""
    public, admin, vault_admin, refugio, ong, clinica = free_ports(6)
    return Settings(
        public_url=f"http://127.0.0.1:{public}",
        public_port=public,
        admin_port=admin,
        vault_admin_port=vault_admin,
        vault_url=f"unix:{place.socket}",
        database_host=databases.host,
        database_port=databases.port,
        database_name=databases.hub,
        vault_database_name=databases.vault,
        kafka_bootstrap=running.bootstrap if running else "127.0.0.1:1",
        secrets_dir=place.secrets,
        vault_keys_dir=place.root / "vault-keys",
        egress_private_networks="127.0.0.0/8",
        refugio_port=refugio,
        ong_port=ong,
        clinica_port=clinica,
    )
