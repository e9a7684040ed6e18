"""What became of deliveries, written in batches: task, intent, leaf and event in one transaction.

It guards that an outcome is written by the holder of the claim or by whoever took it over, that
whatever may have reached a partner after a withdrawal is asked back again, and that retries end.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from schemas import Encoded
from services.delivery import erasures, intents, store
from services.delivery.domain import Outcome, Task, spent
from services.delivery.intents import Intent
from services.kit.exchange import put_events
from services.kit.leaf import Leaf, append_leaves
from services.kit.metrics import Metrics
from services.kit.steps import step

STATES: Final = {
    "disclosed": "disclosed",
    "not_sent": "not_sent",
    "unknown": "unknown",
    "rejected": "unknown",
    "held": "not_sent",
    "suppressed": "not_sent",
    "no_news": "not_sent",
}
"""State of the intent by result: what a partner refused, it has seen."""
ENDS: Final = {
    "disclosed": "done",
    "rejected": "held",
    "held": "held",
    "suppressed": "suppressed",
    "no_news": "done",
}
"""State of the task by result; any other is tried again until attempts are spent."""
Conn = Any


class Recorder:
    """Writes outcomes."""

    def __init__(
        self, pool: asyncpg.Pool, clock: Callable[[], datetime], metrics: Metrics, *, cell: str
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self._cell = cell

    async def record(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Write ≤ 64 outcomes; False for a task that is not ours any more."""
        async with self._pool.acquire() as conn, conn.transaction():
            tasks = [o for o in outcomes if o.task is not None]
            ended = await store.end(conn, [_ending(o) for o in tasks]) if tasks else set()
            closed = await self._close(conn, outcomes)
            await self._tell(conn, outcomes, closed, ended)
        step("delivery.recorded")
        told = [o for o in outcomes if o.task is None or o.task.kind != "erasure"]
        for outcome in told:
            self._metrics.inc("cauce_deliveries_total", outcome=outcome.result)
        return [o.task is None or o.task.task_id in ended for o in outcomes]

    async def _close(self, conn: Conn, outcomes: Sequence[Outcome]) -> list[tuple[Intent, str]]:
        ends = [(o.grant_ref, STATES[o.result]) for o in outcomes if o.grant_ref is not None]
        resolved = [
            o.task.task_id
            for o in outcomes
            if o.task is not None and o.result == "disclosed" and o.grant_ref is None
        ]
        if resolved:
            found = await intents.of_tasks(conn, resolved, ("open", "unknown"))
            ends += [(i.grant_ref, "disclosed") for i in found]
        return await intents.close(conn, sorted(ends)) if ends else []

    async def _tell(
        self,
        conn: Conn,
        outcomes: Sequence[Outcome],
        closed: Sequence[tuple[Intent, str]],
        ended: set[Any],
    ) -> None:
        now = self._clock()
        rules = {o.grant_ref: o.rule for o in outcomes if o.grant_ref is not None}
        leaves: list[Leaf] = []
        events: list[Encoded] = []
        for intent, state in closed:
            rule = rules.get(intent.grant_ref, "found-at-partner")
            written = intents.intent_leaf(intent, state, now, rule, self._cell)
            leaves.append(written)
            if state == "disclosed":
                events.append(intents.made(intent, written.ref, now))
        for outcome in outcomes:
            task = outcome.task
            if outcome.result == "suppressed" and task is not None and task.task_id in ended:
                kept = intents.suppressed_leaf(task, outcome.rule, now, self._cell)
                leaves.append(kept)
                events.append(
                    intents.refused(task, outcome.rule, outcome.policy_version, kept.ref, now)
                )
        late: dict[tuple[UUID, str], frozenset[str]] = {}
        for intent, state in closed:
            if state != "not_sent":
                pair = intent.referral_ref, intent.to_org
                late[pair] = late.get(pair, frozenset()) | frozenset(intent.data_categories)
        made = await erasures.again(conn, late) if late else []
        await erasures.queue(conn, made)
        await put_events(conn, events)
        await append_leaves(conn, [*leaves, *erasures.leaves_of(made, now, self._cell)])


def _ending(outcome: Outcome) -> tuple[Task, str, str, str | None, bool, timedelta]:
    task = outcome.task
    assert task is not None  # noqa: S101 -- chosen by the caller
    wait = outcome.wait or timedelta()
    state = ENDS.get(outcome.result)
    if state is None:
        state = "failed" if spent(task.attempts) and task.kind != "erasure" else "queued"
    doubtful = STATES[outcome.result] == "unknown"
    return task, state, outcome.rule, outcome.field_path, doubtful, wait
