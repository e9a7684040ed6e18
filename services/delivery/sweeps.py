"""What is looked after by one leader: lost claims, unresolved intents, unheard reports, deadlines.

It guards that an intent without outcome is resolved after a crash (first the vault is asked: unused
and past its deadline means not sent, used means it may have arrived), and that nothing waits for a
process that is gone.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from services.delivery import erasures, intents, store
from services.delivery.domain import Outcome, Task
from services.delivery.intents import Intent
from services.delivery.worker import Parts

GRACE: Final = timedelta(seconds=8)
"""After its deadline a live holder has long recorded what became of an intent."""


async def sweep(parts: Parts) -> int:
    """One round; answers how much was found."""
    found = await _lost_tasks(parts)
    found += await _lost_intents(parts)
    found += await _unheard(parts)
    await erasures.mark_overdue(parts.pool)
    await _measure(parts)
    return found


async def _lost_tasks(parts: Parts) -> int:
    tasks = await store.take_over_expired(parts.pool)
    if not tasks:
        return 0
    open_intents = await intents.of_tasks(parts.pool, [t.task_id for t in tasks], ("open",))
    used = await _used(parts, open_intents)
    by_task = {i.task_id: i for i in open_intents}
    outcomes = [_of_lost(task, by_task.get(task.task_id), used) for task in tasks]
    await parts.recorder.record(outcomes)
    return len(tasks)


async def _used(parts: Parts, found: Sequence[Intent]) -> set[UUID]:
    if not found:
        return set()
    states = await parts.vault.grants([i.grant_ref for i in found])
    late = {i.grant_ref: i.deadline for i in found}
    used = {s.grant_ref for s in states if s.used_at is not None or s.now < late[s.grant_ref]}
    # What was only announced never was the vault's: it may have arrived.
    return used | {i.grant_ref for i in found if not i.data_categories}


def _of_lost(task: Task, intent: Intent | None, used: set[UUID]) -> Outcome:
    ref = intent.grant_ref if intent is not None else None
    return Outcome(
        result="unknown" if ref in used else "not_sent",
        rule="holder-gone",
        task=task,
        grant_ref=ref,
        wait=timedelta(),
    )


async def _lost_intents(parts: Parts) -> int:
    """Intents without a claimed task: a read whose answer was never recorded."""
    found = await intents.lost(parts.pool, parts.clock() - GRACE)
    if not found:
        return 0
    used = await _used(parts, found)
    outcomes = [
        Outcome(
            result="unknown" if i.grant_ref in used else "not_sent",
            rule="holder-gone",
            grant_ref=i.grant_ref,
        )
        for i in found
    ]
    await parts.recorder.record(outcomes)
    return len(found)


async def _unheard(parts: Parts) -> int:
    ended = await store.unconfirmed(parts.pool, parts.clock() - timedelta(seconds=1))
    await parts.confirmer.confirm(ended)
    return len(ended)


async def _measure(parts: Parts) -> None:
    for metric, counts in (
        ("cauce_delivery_queue", await store.counts(parts.pool)),
        ("cauce_erasures", await erasures.counts(parts.pool)),
    ):
        parts.metrics.clear(metric)
        for state, count in counts.items():
            parts.metrics.set(metric, count, state=state)
