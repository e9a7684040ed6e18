"""What the servers hold before our processes start: roles, databases, tables, users, topics.

Running it again changes nothing but what has changed; it is the upgrade as well.
"""

import asyncpg

from services.console.local import kafka_admin
from services.console.local.keys import database_passwords, kafka_passwords
from services.console.local.place import LocalError, Place
from services.kit.migrate import make_database, make_roles, migrate_hub, migrate_vault
from services.kit.settings import Settings


async def provision_database(place: Place, settings: Settings, admin_dsn: str) -> list[str]:
    """Roles, both databases and every SQL file; answers the files applied now."""
    admin = await _connect(admin_dsn)
    try:
        await make_roles(admin, database_passwords(place))
        for name in (settings.database_name, settings.vault_database_name):
            await make_database(admin, name)
    except asyncpg.InsufficientPrivilegeError as error:
        raise LocalError("the user of DATABASE_URL may not make roles and databases") from error
    finally:
        await admin.close()
    applied = []
    for name, migrate in (
        (settings.database_name, migrate_hub),
        (settings.vault_database_name, migrate_vault),
    ):
        connection = await _connect(admin_dsn, name)
        try:
            applied += await migrate(connection)
        finally:
            await connection.close()
    return applied


async def _connect(dsn: str, database: str | None = None) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(dsn, database=database, timeout=10)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise LocalError(
            f"no PostgreSQL for its administrator: {type(error).__name__} (not running, or its"
            " password was changed)"
        ) from error


def provision_kafka(place: Place, settings: Settings) -> None:
    """Users, rights and topics."""
    password = place.secrets / "kafka.admin"
    if not password.exists():
        raise LocalError(f"put the password of Kafka's user admin into {password}")
    client = kafka_admin.connect(
        settings.kafka_bootstrap,
        "admin",
        password.read_text(encoding="ascii").strip(),
        settings.kafka_security,
    )
    try:
        kafka_admin.provision(client, kafka_passwords(place))
    finally:
        client.close()
