"""Wiring of the referral service: the port, the consumer of the case log, the timers."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg

from services.kit.bus import Subscription
from services.kit.lead import run_as_leader
from services.kit.metrics import Metrics
from services.kit.partners import Partners
from services.kit.ports.batch import MAX_BATCH
from services.kit.ports.consent import Consent
from services.kit.ports.referral import Referral
from services.kit.ports.vault import Vault
from services.kit.runtime import Runtime, Service
from services.referral import store
from services.referral.commands import Commands
from services.referral.consumer import TYPES, Consumer
from services.referral.facts import Keys
from services.referral.judge import Judge
from services.referral.timers import Timers
from services.referral.timing import RESULTS

TIMER_SECONDS: Final = 1.0
COUNT_EVERY: Final = 10
"""Timer rounds between two counts of all referrals for the metrics."""
REMEMBERED: Final = timedelta(days=30)
MEASURED: Final = ("cauce_referrals", "cauce_referrals_closed_total")
"""Metrics of the whole table, told by the leader alone."""


class Recipients:
    """Active recipients of the registry."""

    def __init__(self, rt: Runtime, partners: Partners) -> None:
        self._rt = rt
        self._partners = partners
        self._zone = ZoneInfo(rt.settings.time_zone)

    async def kind(self, org: str) -> str | None:
        """Organisation type of an active recipient, None when it may receive nothing now."""
        found = await self._partners.active(org, self._rt.clock(), self._zone)
        return found.org_type if found is not None and "recipient" in found.roles else None


async def build(rt: Runtime) -> Service:
    """Make the service of this process."""
    pool = await rt.pool()
    keys = Keys(rt.port(Vault))
    judge = Judge(rt.port(Consent), Recipients(rt, Partners(pool)))
    cell = rt.settings.cell
    commands = Commands(pool, keys, judge, rt.clock, rt.settings.window_ms)
    consumer = Consumer(keys, judge, rt.clock, cell=cell)
    timers = Timers(pool, commands, cell=cell)
    return Service(
        name="referral",
        provides={Referral: commands},
        subscriptions=[
            Subscription(
                consumer="referral", topic="cauce.case", handle=consumer.handle, types=TYPES
            )
        ],
        loops=[partial(run_as_leader, rt, "referral-timers", partial(_timers, rt, pool, timers))],
    )


async def _timers(rt: Runtime, pool: asyncpg.Pool, timers: Timers, _: asyncpg.Connection) -> None:
    """Do what is due for referrals that wait; count for the metrics, while this process leads."""
    turn = 0
    try:
        while True:
            if await timers.turn(rt.clock()) == MAX_BATCH:
                continue
            if turn % COUNT_EVERY == 0:
                measure(rt.metrics, await store.counts(pool, rt.clock()))
                await store.forget_commands(pool, rt.clock() - REMEMBERED)
            turn += 1
            await asyncio.sleep(TIMER_SECONDS)
    finally:
        for name in MEASURED:
            rt.metrics.clear(name)


def measure(metrics: Metrics, counts: Sequence[tuple[str, str, str | None, int]]) -> None:
    """Tell what the table holds; loops closed are counted there, so that no restart forgets one."""
    metrics.clear("cauce_referrals")
    open_or_not: Counter[tuple[str, str]] = Counter()
    closed: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))
    for status, age, result, count in counts:
        open_or_not[status, age] += count
        if result is not None:
            closed[result] += count
    for (status, age), count in open_or_not.items():
        metrics.set("cauce_referrals", count, state=status, age=age)
    for result, count in closed.items():
        metrics.reach("cauce_referrals_closed_total", count, result=result)
