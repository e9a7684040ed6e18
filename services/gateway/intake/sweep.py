"""What follows an acceptance or the death of an attempt, in the background.

It guards that the vault learns of every accepted attempt (at once, and again after a crash) and
forgets every abandoned one.
"""

import asyncio
from typing import Final

import asyncpg

from services.gateway.intake import store
from services.kit.ports.batch import MAX_BATCH
from services.kit.ports.vault import Vault
from services.kit.steps import step

KEEP_SECONDS: Final = 2.0
SWEEP_SECONDS: Final = 1.0


class Keeper:
    """Tells the vault which versions stay."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault
        self._something = asyncio.Event()

    def wake(self) -> None:
        """Something was accepted."""
        self._something.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._something.clear()
            while await self._once() == MAX_BATCH:
                pass
            try:
                await asyncio.wait_for(self._something.wait(), KEEP_SECONDS)
            except TimeoutError:
                continue

    async def _once(self) -> int:
        async with self._pool.acquire() as conn:
            attempts = await store.unkept(conn)
        if attempts:
            await self._vault.keep(attempts)
            async with self._pool.acquire() as conn:
                await store.mark_kept(conn, attempts)
            step("accept.kept")
        return len(attempts)


async def sweep(pool: asyncpg.Pool, vault: Vault) -> None:
    """Give up dead attempts, have the vault forget them, drop what is too old."""
    async with pool.acquire() as conn:
        await store.abandon_old(conn)
        attempts = await store.abandoned(conn)
    if attempts:
        await vault.forget(attempts)
    async with pool.acquire() as conn:
        await store.forgotten(conn, attempts)
        await store.forget_old(conn)
