"""Sends queued notes: each party's in order, a slow or dead one holding nobody else.

It guards that at most `AT_ONCE` calls run at one partner, that one which cannot be reached rests
for a growing time instead of being called for each note, and that a note ends: taken, given up
after the horizon, or dropped where its receiver was never told of the referral. Run by one leader;
a repeat after a crash has the same id at the receiver.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from connectors.sdk.errors import ConnectorError, Retry
from services.delivery import notifications
from services.delivery.announcing import Announcer
from services.delivery.notifications import HORIZON, Queued
from services.delivery.worker import Parts
from services.kit.batcher import Batcher
from services.kit.partners import Partner
from services.kit.steps import step

EVERY_SECONDS: Final = 0.1
TIDY_SECONDS: Final = 15.0
AT_ONCE: Final = 16
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 600.0
UNREACHABLE: Final = "partner-unreachable"
Ended = tuple[UUID, str, str, timedelta]


class Notifier:
    """Takes notes to their receivers until cancelled."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._announcer = Announcer(parts, time.monotonic)
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._resting: dict[str, tuple[int, float]] = {}
        self._end: Batcher[Ended, None] = Batcher(self._ended, parts.window_ms)

    async def run(self, _: asyncpg.Connection) -> None:
        """Send whatever is due, while this process leads."""
        tidied = float("-inf")
        try:
            while True:
                begun = await self.turn()
                if time.monotonic() - tidied >= TIDY_SECONDS:
                    await self._tidy()
                    tidied = time.monotonic()
                await asyncio.sleep(self._parts.window_ms / 1000 if begun else EVERY_SECONDS)
        finally:
            for running in self._running.values():
                running.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def turn(self) -> int:
        """Begin every note that may go now; answers how many."""
        partners = await self._parts.partners.all()
        free = {org: room for org, one in partners.items() if (room := await self._room(one)) > 0}
        if not free:
            return 0
        async with self._parts.pool.acquire() as conn:
            found = await notifications.due(conn, free, list(self._running))
        for queued in found:
            self._busy[queued.org] += 1
            running = asyncio.create_task(self._guarded(queued, partners[queued.org]))
            self._running[queued.notification_id] = running
        return len(found)

    async def settle(self) -> None:
        """Wait for what was begun."""
        await asyncio.gather(*self._running.values())

    async def _room(self, partner: Partner) -> int:
        today = self._parts.clock().astimezone(self._parts.frame.zone).date()
        if partner.webhook is None or not partner.in_force(today):
            return 0
        _, until = self._resting.get(partner.org, (0, 0.0))
        if time.monotonic() < until or await self._announcer.is_gone(partner):
            return 0
        return AT_ONCE - self._busy[partner.org]

    async def _guarded(self, queued: Queued, partner: Partner) -> None:
        try:
            await self._end(await self._send(queued, partner))
        except Exception as error:  # noqa: BLE001 -- it stays queued and is taken up again
            self._parts.log.warning("note-broken", error, org=queued.org)
        finally:
            self._busy[queued.org] -= 1
            del self._running[queued.notification_id]

    async def _send(self, queued: Queued, partner: Partner) -> Ended:
        ref, at_once = queued.notification_id, timedelta()
        if not queued.knows:
            return ref, "dropped", "never-told", at_once
        try:
            await self._announcer.tell(partner, self._announcer.changed(queued))
        except ConnectorError as error:
            self._rest(queued.org, error)
            self._parts.log.info("note-not-taken", org=queued.org, rule=error.rule)
            late = self._parts.clock() - queued.created_at >= HORIZON
            return ref, "failed" if late else "queued", error.rule, _wait(queued.attempts, error)
        step("notice.sent")
        self._resting.pop(queued.org, None)
        return ref, "done", "taken", at_once

    def _rest(self, org: str, error: ConnectorError) -> None:
        """One that cannot be reached is left alone for a while, all its notes with it."""
        if error.rule != UNREACHABLE:
            return
        times, until = self._resting.get(org, (0, 0.0))
        if time.monotonic() >= until:
            self._resting[org] = (times + 1, time.monotonic() + _backoff(times))

    async def _ended(self, ends: Sequence[Ended]) -> list[None]:
        async with self._parts.pool.acquire() as conn:
            await notifications.end(conn, ends)
        step("notice.recorded")
        for _, state, _, _ in ends:
            outcome = "repeated" if state == "queued" else state
            self._parts.metrics.inc("cauce_webhook_calls_total", outcome=outcome)
        return [None for _ in ends]

    async def _tidy(self) -> None:
        async with self._parts.pool.acquire() as conn:
            await notifications.tidy(conn)
            standing: dict[str, Any] = await notifications.counts(conn)
        self._parts.metrics.clear("cauce_webhook_notes")
        for state, count in standing.items():
            self._parts.metrics.set("cauce_webhook_notes", count, state=state)


def _backoff(times: int) -> float:
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(times, 12))


def _wait(attempts: int, error: ConnectorError) -> timedelta:
    asked = error.retry_after if isinstance(error, Retry) else None
    return timedelta(seconds=min(LONGEST_WAIT, max(_backoff(attempts), asked or 0.0)))
