"""Partner organisations as every service sees them: who they are, what was agreed, how to reach.

It guards that nobody acts on a partner record older than ten seconds: the cache is refreshed each
second, and when the registry cannot be read for longer than that, no partner counts as known (fail
closed). Registering, activating and suspending a partner belong to the gateway.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg
import orjson

from services.kit.db import Unavailable
from services.kit.entry import Entry
from services.kit.partner import Agreement, Connector, Partner, Webhook, read_partner

__all__ = ["Agreement", "Connector", "Entry", "Partner", "Partners", "Webhook", "read_partner"]

REFRESH_SECONDS: Final = 1.0
STALE_SECONDS: Final = 10.0


class Partners:
    """The registry as of at most a second ago (ten while the database does not answer)."""

    def __init__(self, pool: asyncpg.Pool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._read_at: float | None = None
        self._stamp: int | None = None
        self._texts: Mapping[str, tuple[int, str]] = MappingProxyType({})
        self._known: Mapping[str, Partner] = MappingProxyType({})
        self._entries: Mapping[str, Entry] = MappingProxyType({})
        self._reading = asyncio.Lock()

    async def all(self) -> Mapping[str, Partner]:
        """Every registered partner by org; Unavailable when the registry cannot be read."""
        await self._refresh()
        return self._known

    async def get(self, org: str) -> Partner | None:
        """The partner, whatever its status; None when there is none."""
        return (await self.all()).get(org)

    async def active(self, org: str, now: datetime, zone: ZoneInfo) -> Partner | None:
        """The partner when it is active and its agreement covers the cell's day."""
        partner = await self.get(org)
        return partner if partner and partner.in_force(now.astimezone(zone).date()) else None

    async def entries(self) -> Mapping[str, Entry]:
        """Every directory entry by its id."""
        await self._refresh()
        return self._entries

    def forget(self) -> None:
        """Read again at the next question (the registry was just changed here)."""
        self._read_at = None
        self._stamp = None

    async def _refresh(self) -> None:
        if self._age() < REFRESH_SECONDS:
            return
        async with self._reading:
            if self._age() < REFRESH_SECONDS:
                return
            try:
                await self._read()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                if self._age() >= STALE_SECONDS:
                    raise Unavailable("partners") from error
                return
            self._read_at = self._monotonic()

    async def _read(self) -> None:
        """Take the records when the registry's stamp is another (read first: never too new)."""
        stamp = await self._pool.fetchval("select gateway.registry_stamp()")
        if stamp != self._stamp:
            rows = await self._pool.fetch("select org, version, record from gateway.partners()")
            self._take(rows)
            self._stamp = stamp

    def _age(self) -> float:
        return float("inf") if self._read_at is None else self._monotonic() - self._read_at

    def _take(self, rows: list[asyncpg.Record]) -> None:
        old, texts = self._known, self._texts
        new = {r["org"]: (r["version"], r["record"]) for r in rows}
        # Entries change without a new version of the record: its text is compared.
        known = {
            org: old[org] if texts.get(org) == text else _read(org, text)
            for org, text in new.items()
        }
        self._texts = MappingProxyType(new)
        self._known = MappingProxyType(known)
        self._entries = MappingProxyType({e.id: e for p in known.values() for e in p.services})


def _read(org: str, text: tuple[int, str]) -> Partner:
    version, record = text
    return read_partner(org, version, orjson.loads(record))
