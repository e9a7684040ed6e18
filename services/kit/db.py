"""Connections to PostgreSQL and what its errors mean.

It guards that a service connects as its own role and that a fault of the infrastructure (retry) is
told from a fault of the data (set the item aside). SQL is left to the stores.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import asyncpg

from services.kit.settings import Settings

_INFRASTRUCTURE_CLASSES: Final = ("08", "40", "42", "53", "55", "57", "58", "XX")
_BROKEN: Final = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server died in the middle of an answer
    OSError,
    TimeoutError,
)
_IDLE_TIMEOUT: Final = "25P03"
_ABORTED: Final = "25P02"


class Unavailable(Exception):
    """A part we depend on does not answer now; the same call may be made again."""


def dsn_parts(settings: Settings, role: str, database: str) -> dict[str, Any]:
    """Keyword arguments of `asyncpg.connect` for a service's role; holds its password."""
    return {
        "host": settings.database_host,
        "port": settings.database_port,
        "user": role,
        "database": database,
        "password": settings.secret(f"pg.{role}").decode("ascii").strip(),
    }


async def create_pool(
    settings: Settings, role: str, database: str, max_size: int = 8
) -> asyncpg.Pool:
    """A pool that connects when first used; made while the server is down, it works later."""
    pool: asyncpg.Pool = await asyncpg.create_pool(
        **dsn_parts(settings, role, database),
        min_size=0,
        reset=_nothing_to_reset,
        max_size=max_size,
        timeout=5,
        command_timeout=30,
        server_settings={"application_name": f"cauce-{role}"},
    )
    return pool


@asynccontextmanager
async def transaction(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the pool in one transaction (READ COMMITTED)."""
    async with pool.acquire() as conn, conn.transaction():
        yield cast("asyncpg.Connection", conn)


async def _nothing_to_reset(conn: asyncpg.Connection) -> None:
    """Saves a round trip at each release: services keep no session state in pooled connections.

    (asyncpg itself still rolls back a transaction that was left open.)
    """


async def connect(settings: Settings, role: str, database: str) -> asyncpg.Connection:
    """A connection of its own, outside any pool (leaders and listeners)."""
    conn: asyncpg.Connection = await asyncpg.connect(
        **dsn_parts(settings, role, database),
        timeout=5,
        server_settings={"application_name": f"cauce-{role}-own"},
    )
    return conn


def is_infrastructure_fault(error: BaseException) -> bool:
    """Whether the same work may succeed later unchanged: server gone, deadlock, limits, our bug.

    Class 42 (a missing table or right) counts here too: it would hit every case alike, and parking
    all of them would hide it.
    """
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in _INFRASTRUCTURE_CLASSES or state in (_IDLE_TIMEOUT, _ABORTED)
    return isinstance(error, (*_BROKEN, Unavailable))


def is_data_fault(error: BaseException) -> bool:
    """Whether this very item cannot be handled until a person mends something."""
    return isinstance(error, Exception) and not is_infrastructure_fault(error)
