"""Subscriptions of partners as delivery sees them: whose they are, what they filter, where to send.

It guards that a registration is at most a second old where it is used (`STALE_SECONDS` while the
database does not answer): a subscription is first called `SETTLE_SECONDS` after it was written, so
that every copy of the consumer numbers its events by then. Registering is the gateway's, numbering
and sending are delivery's.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

import asyncpg

from services.kit.db import Unavailable

REFRESH_SECONDS: Final = 1.0
STALE_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 1.5
_READ: Final = "select * from gateway.subscriptions()"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """One registration. `version` counts its updates; each begins with a new handshake."""

    subscription_id: UUID
    org: str
    version: int
    side: str
    """`to`: Tasks that the subscriber owns; `from`: Tasks that it asked for."""
    statuses: frozenset[str]
    """Statuses of a referral; empty: every one."""
    endpoint: str = field(repr=False)
    heartbeat: int
    """Seconds without any notification after which one is sent all the same."""
    most: int
    """Events that one notification may carry."""
    ends: datetime | None
    active: bool
    """Whether the subscriber wants it to run (it may switch it off and keep it)."""
    written_at: datetime

    def wants(self, side: str, status: str) -> bool:
        """Whether a change of a referral to this status, seen from this side, is one of its."""
        return self.side == side and (not self.statuses or status in self.statuses)


class Subscriptions:
    """Every registration as of at most a second ago."""

    def __init__(self, pool: asyncpg.Pool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._read_at: float | None = None
        self._known: Mapping[UUID, Subscription] = MappingProxyType({})
        self._reading = asyncio.Lock()

    async def all(self) -> Mapping[UUID, Subscription]:
        """By id; Unavailable when they cannot be read."""
        if self._age() < REFRESH_SECONDS:
            return self._known
        async with self._reading:
            if self._age() >= REFRESH_SECONDS:
                await self._refresh()
        return self._known

    async def _refresh(self) -> None:
        try:
            rows = await self._pool.fetch(_READ)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            if self._age() >= STALE_SECONDS:
                raise Unavailable("subscriptions") from error
            return
        self._known = MappingProxyType({row["subscription_id"]: _read(row) for row in rows})
        self._read_at = self._monotonic()

    def _age(self) -> float:
        return float("inf") if self._read_at is None else self._monotonic() - self._read_at


def _read(row: asyncpg.Record) -> Subscription:
    return Subscription(**{**dict(row), "statuses": frozenset(row["statuses"])})
