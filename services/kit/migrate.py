"""Databases, roles, schemas, and the SQL files of the services, applied once each.

It guards that an applied file is never changed afterwards (its SHA-256 is kept) and that every
object belongs to the role of its service; which rights services give one another is written in
their own files. `PLAN` is the order: a file may refer to the schemas before it, and all roles and
schemas exist before the first file.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg

HUB_ROLES = ("gateway", "consent", "referral", "delivery", "custody", "relay", "vault")
ROLE_SETTINGS = {
    "idle_in_transaction_session_timeout": "2s",
    "lock_timeout": "5s",
    "statement_timeout": "20s",
    "jit": "off",
    # Tables start empty and grow fast: plans for the empty table must not stay.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
LOCK = 0x6361756365
ROLE_FAULTS = (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError)


class MigrationError(Exception):
    """The database cannot be brought to this version; the text is one line for the operator."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One service's place: its folder, the schema it fills, the role that owns what it makes."""

    service: str
    schema: str
    owner: str


PLAN = (
    Part(service="relay", schema="bus", owner="bus"),
    Part(service="custody", schema="custody", owner="custody"),
    Part(service="consent", schema="consent", owner="consent"),
    Part(service="gateway", schema="gateway", owner="gateway"),
    Part(service="referral", schema="referral", owner="referral"),
    Part(service="delivery", schema="delivery", owner="delivery"),
)
VAULT_PLAN = (Part(service="vault", schema="vault", owner="vault"),)


async def make_roles(admin: asyncpg.Connection, passwords: Mapping[str, str]) -> None:
    """Login roles with these passwords and their limits, and `bus`, which nobody logs in as."""
    await _make_role(admin, "bus", "nologin")
    for role in HUB_ROLES:
        await _make_role(admin, role, "login")
        await admin.execute(f"alter role {role} password {_literal(passwords[role])}")
        for name, value in ROLE_SETTINGS.items():
            await admin.execute(f"alter role {role} set {name} = '{value}'")
    await admin.execute("grant bus to relay")


async def _make_role(admin: asyncpg.Connection, role: str, login: str) -> None:
    try:
        await admin.execute(f"create role {role} {login}")
    except ROLE_FAULTS:
        await admin.execute(f"alter role {role} {login}")


def _literal(text: str) -> str:
    if not text.isascii() or not all(c.isalnum() or c in "-_" for c in text):
        raise MigrationError("a database password may hold letters, digits, - and _ only")
    return f"'{text}'"


async def make_database(admin: asyncpg.Connection, name: str, template: str = "template0") -> None:
    """Create the database when it is not there."""
    if await admin.fetchval("select 1 from pg_database where datname = $1", name) is None:
        await admin.execute(f'create database "{name}" template "{template}" encoding \'UTF8\'')


async def migrate_hub(admin: asyncpg.Connection) -> list[str]:
    """Bring the hub's database to this version; answers the files applied now."""
    return await _migrate(admin, PLAN, HUB_ROLES)


async def migrate_vault(admin: asyncpg.Connection) -> list[str]:
    """Bring the vault's own database to this version; answers the files applied now."""
    return await _migrate(admin, VAULT_PLAN, ("vault",), extra_schemas={"keys": "vault"})


async def _migrate(
    admin: asyncpg.Connection,
    plan: tuple[Part, ...],
    roles: tuple[str, ...],
    extra_schemas: Mapping[str, str] | None = None,
) -> list[str]:
    applied = []
    async with admin.transaction():
        await admin.execute("select pg_advisory_xact_lock($1)", LOCK)
        await _prepare(admin, plan, roles, extra_schemas or {})
        for part in plan:
            for name, text in schema_files(part.service):
                if await _apply(admin, part, name, text):
                    applied.append(name)
    return applied


async def _prepare(
    admin: asyncpg.Connection,
    plan: tuple[Part, ...],
    roles: tuple[str, ...],
    extra_schemas: Mapping[str, str],
) -> None:
    database = await admin.fetchval("select current_database()")
    everyone = ", ".join(roles)
    await admin.execute(f'revoke all on database "{database}" from public')
    await admin.execute(f'grant connect on database "{database}" to {everyone}')
    await admin.execute("revoke all on schema public from public")
    await admin.execute(
        "create table if not exists public.migration (file text primary key,"
        " sha256 text not null, at timestamptz not null default clock_timestamp())"
    )
    schemas = {part.schema: part.owner for part in plan} | dict(extra_schemas)
    for schema, owner in schemas.items():
        await admin.execute(f"create schema if not exists {schema} authorization {owner}")
        await admin.execute(f"grant usage on schema {schema} to {everyone}")
    for owner in sorted(set(schemas.values())):
        await admin.execute(
            f"alter default privileges for role {owner} revoke execute on functions from public"
        )
        await admin.execute(f"grant usage on schema {', '.join(schemas)} to {owner}")


async def _apply(admin: asyncpg.Connection, part: Part, name: str, text: str) -> bool:
    digest = hashlib.sha256(text.encode()).hexdigest()
    known = await admin.fetchval("select sha256 from public.migration where file = $1", name)
    if known == digest:
        return False
    if known is not None:
        raise MigrationError(
            f"{name} was applied to this database and has been changed since: restore it, and put"
            " the change into a new schema_NNNN_*.sql beside it"
        )
    try:
        await admin.execute(f"set local role {part.owner}")
        await admin.execute(text)
        await admin.execute("reset role")
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{name}: {type(error).__name__}: {error}") from error
    await admin.execute("insert into public.migration (file, sha256) values ($1, $2)", name, digest)
    return True


def schema_files(service: str) -> list[tuple[str, str]]:
    """(path, text) of a service's SQL files: its own `schema.sql` first, parts' after, by name."""
    folder = files("services") / service
    if not folder.is_dir():
        return []
    parts = sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=lambda e: e.name)
    found = _sql(folder, f"services/{service}")
    for part in parts:
        found += _sql(part, f"services/{service}/{part.name}")
    return found


def _sql(folder: Traversable, prefix: str) -> list[tuple[str, str]]:
    named = [e for e in folder.iterdir() if e.name.startswith("schema") and e.name.endswith(".sql")]
    return [
        (f"{prefix}/{entry.name}", entry.read_text(encoding="utf-8"))
        for entry in sorted(named, key=lambda e: e.name)
    ]
