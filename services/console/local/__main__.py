"""`python -m services.console.local kafka|postgres|provision`: the parts of a container set-up.

A container runs one of them in the foreground, with the settings of `docker-compose.yml`; on one
machine without containers `cauce up` does the same.
"""

import asyncio
import os
import pwd
import sys
from urllib.parse import urlsplit

from services.console.local import kafka, plan, postgres
from services.console.local.keys import make_secrets
from services.console.local.place import LocalError, Place, default_place
from services.console.local.ports import LOOPBACK
from services.console.local.processes import Command, group_of
from services.console.local.provision import provision_database, provision_kafka
from services.kit.migrate import MigrationError
from services.kit.settings import Settings, SettingsError


def _bind(host: str) -> str:
    """Loopback when we are known there only, else every address of the container."""
    return LOOPBACK if host == LOOPBACK else "0.0.0.0"


def run_kafka(place: Place, settings: Settings) -> None:
    """Become the broker that `CAUCE_KAFKA_BOOTSTRAP` names."""
    address = urlsplit(f"//{settings.kafka_bootstrap}")
    host = address.hostname or LOOPBACK
    broker = kafka.broker_of(
        place,
        port=address.port or 9092,
        controller_port=settings.kafka_controller_port,
        host=host,
        bind=_bind(host),
    )
    kafka.prepare(broker)
    _become(kafka.command(broker))


def run_postgres(place: Place, settings: Settings) -> None:
    """Become the database server."""
    server = postgres.server_of(
        place, port=settings.database_port, bind=_bind(settings.database_host)
    )
    postgres.prepare(server)
    _become(postgres.command(server))


def _become(command: Command) -> None:
    if command.cwd is not None:
        os.chdir(command.cwd)
    if command.user is not None:
        group = group_of(command.user)
        os.setgroups([])
        os.setgid(-1 if group is None else group)
        os.setuid(pwd.getpwnam(command.user).pw_uid)
    os.execve(command.argv[0], list(command.argv), dict(command.env))  # noqa: S606 - ours


def run_provision(place: Place, settings: Settings) -> None:
    """Secrets, roles, tables, users and topics; ends when they are there."""
    make_secrets(place, settings.vault_keys_dir)
    plan.make_partner_files(place)
    where = f"{settings.database_host}:{settings.database_port}"
    dsn = f"postgresql://{postgres.SUPERUSER}:{place.secret('pg.admin')}@{where}/postgres"
    asyncio.run(provision_database(place, settings, dsn))
    provision_kafka(place, settings)


def main() -> int:
    """Run the part that the command line names."""
    parts = {"kafka": run_kafka, "postgres": run_postgres, "provision": run_provision}
    try:
        part = parts[sys.argv[1]]
    except (IndexError, KeyError):
        print(f"usage: python -m services.console.local {'|'.join(parts)}", file=sys.stderr)
        return 2
    place = default_place()
    try:
        place.make()
        part(place, plan.local_settings(place, os.environ))
    except (LocalError, MigrationError, SettingsError) as error:
        print(f"cauce: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
