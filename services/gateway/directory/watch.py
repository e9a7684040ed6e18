"""What the directory does by itself: announce what a partner's file changed, and what grew stale.

It runs under the leader `gateway-directory`. It guards that every version of an entry reaches the
log and that an entry which grows stale is told of once; nothing of a referral changes by it.
"""

import asyncio
import time
from collections import Counter
from typing import Final

import asyncpg

from services.gateway.directory import store
from services.kit.db import transaction
from services.kit.entry import Limits
from services.kit.metrics import Metrics
from services.kit.runtime import Runtime

POLL_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 60.0


async def watch(rt: Runtime, pool: asyncpg.Pool, limits: Limits) -> None:
    """Announce for as long as this process leads."""
    looked = -LOOK_SECONDS
    while True:
        await announce(rt, pool, limits)
        if time.monotonic() - looked >= LOOK_SECONDS:
            await look(rt, pool, limits)
            looked = time.monotonic()
        await asyncio.sleep(POLL_SECONDS)


async def announce(rt: Runtime, pool: asyncpg.Pool, limits: Limits) -> None:
    """Put the events of every version that has none yet."""
    done = store.AT_ONCE
    while done == store.AT_ONCE:
        async with transaction(pool) as conn:
            done = await store.announce_waiting(conn, limits, rt.clock())


async def look(rt: Runtime, pool: asyncpg.Pool, limits: Limits) -> None:
    """Tell of entries that grew stale, or no longer are, and count the stale ones."""
    now, entries = rt.clock(), await store.every(pool)
    turned = [e.id for e, told in entries if e.is_stale(now, limits) != told]
    for start in range(0, len(turned), store.AT_ONCE):
        async with transaction(pool) as conn:
            await store.announce(conn, turned[start : start + store.AT_ONCE], limits, now)
    stale = Counter({entry.org: 0 for entry, _ in entries})
    stale.update(entry.org for entry, _ in entries if entry.is_stale(now, limits))
    _measure(rt.metrics, stale)


def _measure(metrics: Metrics, stale: Counter[str]) -> None:
    for org, number in sorted(stale.items()):
        metrics.set("cauce_directory_stale", number, org=org)
