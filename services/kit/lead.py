"""Leadership: what may run only once holds an advisory lock on a connection of its own.

It guards that at most one holder runs at a time as long as its session lives; a leader that lost
its session is cancelled. Writes of leaders must still be safe to repeat (a frozen leader may wake).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol
from zlib import crc32

import asyncpg

SPACE: Final = 0x6C656164
"""First key of every leader's lock."""


class _Runtime(Protocol):
    async def own_connection(self) -> asyncpg.Connection: ...

    def leading(self, name: str, *, now: bool) -> None: ...


@asynccontextmanager
async def lead(
    rt: _Runtime, name: str, poll_seconds: float = 0.5
) -> AsyncIterator[asyncpg.Connection]:
    """Wait until this process leads `name`; the connection that holds the lock is given."""
    conn = await rt.own_connection()
    try:
        key = crc32(name.encode()) - (1 << 31)
        while not await conn.fetchval(  # noqa: ASYNC110 -- a lock elsewhere
            "select pg_try_advisory_lock($1, $2)", SPACE, key
        ):
            await asyncio.sleep(poll_seconds)
        rt.leading(name, now=True)
        try:
            yield conn
        finally:
            rt.leading(name, now=False)
    finally:
        with suppress(Exception):
            await conn.close(timeout=1)


async def run_as_leader(
    rt: _Runtime, name: str, loop: Callable[[asyncpg.Connection], Awaitable[None]]
) -> None:
    """Run `loop` while this process leads; it ends, with an error, when the session is lost."""
    async with lead(rt, name) as conn:
        work = asyncio.ensure_future(loop(conn))
        watch = asyncio.ensure_future(_watch(conn))
        try:
            done, _ = await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)


async def _watch(conn: asyncpg.Connection) -> None:
    """Ends with ConnectionError once the session is gone."""
    while not conn.is_closed():  # noqa: ASYNC110 -- asyncpg has no event for it
        await asyncio.sleep(0.2)
    raise ConnectionError("the leader's session ended")
