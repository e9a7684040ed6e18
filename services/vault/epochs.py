"""The life of epoch keys: a new one each day, the one before it kept, older ones destroyed.

It guards that rows are wrapped anew and committed before their epoch's key is destroyed, so that a
crash at any point loses no key, and that a row under a missing epoch is an alarm and stays. Only
the leader runs `rotate`; each step may be repeated.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from services.kit.leaf import leaf
from services.kit.metrics import Metrics
from services.vault import key_rows, leaves
from services.vault.keystore import EpochMissingError, Keystore

KEPT = 2
"""The newest epoch and the one before: calls under way may still wrap under that."""


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """Makes, replaces and destroys epoch keys."""

    pool: asyncpg.Pool
    keystore: Keystore
    metrics: Metrics
    length: timedelta

    async def ensure_first(self) -> None:
        """Make the first epoch of an empty keystore; nothing when there is one."""
        if await key_rows.newest_epoch(self.pool) is None:
            await self._begin(1)

    async def rotate(self) -> list[int]:
        """Begin a new epoch when one is due and destroy what is too old; answers those destroyed.

        EpochMissingError when rows remain that nothing here opens: nothing is skipped over.
        """
        newest = await key_rows.newest_epoch(self.pool)
        if newest is None:
            raise EpochMissingError(0)
        epoch, made_at, now = newest
        if now - made_at >= self.length:
            epoch += 1
            await self._begin(epoch)
        old = [e for e in self.keystore.epochs() if e <= epoch - KEPT]
        for gone in old:
            await self._destroy(gone)
        await self.check()
        return old

    async def check(self) -> None:
        """Raise EpochMissingError when a live row's epoch key is not here; sets the alarm."""
        used = await key_rows.epochs_in_use(self.pool)
        present = set(self.keystore.epochs())
        missing = [epoch for epoch in used if epoch not in present]
        rows = await key_rows.rows_under(self.pool, missing) if missing else 0
        self.metrics.set("cauce_epochs_missing", rows)
        if missing:
            raise EpochMissingError(missing[0])

    async def _begin(self, epoch: int) -> None:
        await asyncio.to_thread(self.keystore.make_epoch, epoch)
        await key_rows.insert_epoch(self.pool, epoch)

    async def _destroy(self, epoch: int) -> None:
        """Wrap the epoch's rows anew, commit, see that none is left, destroy."""
        while await self._transaction(lambda conn: self._rewrap(conn, epoch)):
            pass
        if await key_rows.rows_under(self.pool, [epoch]):
            raise EpochMissingError(epoch)
        await asyncio.to_thread(self.keystore.destroy_epoch, epoch)
        await self._transaction(lambda conn: self._close(conn, epoch))

    async def _close(self, conn: Any, epoch: int) -> int:
        await key_rows.close_epoch(conn, epoch)
        one = leaf("epoch_destroyed", datetime.now(UTC), actor="vault", version=epoch)
        await leaves.write(conn, [one])
        return 1

    async def _rewrap(self, conn: Any, epoch: int) -> int:
        rows = await key_rows.lock_rows_under(conn, epoch)
        if rows:
            wrapped = self.keystore.rewrap_all(rows)
            names = [name for name, _ in rows]
            await key_rows.update_wrapped(conn, list(zip(names, wrapped, strict=True)))
        return len(rows)

    async def _transaction(self, work: Callable[[Any], Any]) -> int:
        async with self.pool.acquire() as conn, conn.transaction():
            return int(await work(conn))
