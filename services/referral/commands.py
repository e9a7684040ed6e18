"""The Referral port: commands applied at once, in batches, each item atomic.

It guards that a referral moves only by the table, on consent that stands still, that a repeated
command changes nothing, and that the event is put in the transaction of the move. Reads open the
sealed facts with keys at most five seconds old.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from schemas import Encoded
from services.kit.batcher import Batcher
from services.kit.exchange import put_events
from services.kit.ports.referral import (
    Applied,
    Asked,
    Command,
    Overdue,
    OverdueQuery,
    ReferralQuery,
    ReferralState,
)
from services.kit.ports.vault import DataKey, KeyQuery
from services.kit.steps import step
from services.referral import store
from services.referral.domain import Denied, Machine, State, Step, apply, machine
from services.referral.events import Cause, tell
from services.referral.facts import Keys, Row, encoded, live_key, opened, sealed_row
from services.referral.judge import Judge
from services.referral.timing import due_at, entered, owed_by

QUIET: Final = frozenset({"confirm_delivery", "report_delivery_failure", "expire", "revoke"})
"""Commands that say nothing of the person: they need no key and leave the facts as they are."""

Item = Sequence[Command]


@dataclass(slots=True)
class Work:
    """One batch inside its transaction."""

    rows: dict[UUID, Row]
    states: dict[UUID, State]
    keys: dict[KeyQuery, DataKey | None]
    now: datetime
    table: Machine
    valid: dict[UUID, bool] = field(default_factory=dict)
    steps: list[tuple[Step, Cause]] = field(default_factory=list)
    answers: list[tuple[Command, Applied]] = field(default_factory=list)


class Commands:
    """Implements `services.kit.ports.Referral` on PostgreSQL."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        keys: Keys,
        judge: Judge,
        clock: Callable[[], datetime],
        window_ms: float,
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._judge = judge
        self._clock = clock
        self._table = machine()
        self._consented = {r.command for r in self._table.values() if "consent" in r.needs}
        self._batch: Batcher[Item, Applied] = Batcher(self._apply, window_ms)
        self._reads: Batcher[UUID, ReferralState | None] = Batcher(self._read, 0)

    async def apply(self, items: Sequence[Item]) -> list[Applied]:
        """Apply each list of commands wholly or not at all; the answers are committed."""
        return list(await asyncio.gather(*(self._batch(item) for item in items)))

    async def done(self, items: Sequence[Asked]) -> list[Applied | None]:
        """Answers of commands done before."""
        found = await store.done(self._pool, [item.command_id for item in items])
        return [
            store.answered(found[item.command_id], item.digest)
            if item.command_id in found
            else None
            for item in items
        ]

    async def read(self, items: Sequence[UUID]) -> list[ReferralState | None]:
        """States by reference; who asks while others are read is read with the next."""
        return list(await asyncio.gather(*(self._reads(item) for item in items)))

    async def _read(self, items: Sequence[UUID]) -> list[ReferralState | None]:
        found = await store.read(self._pool, items)
        states = dict(zip(found, await opened(list(found.values()), self._keys), strict=True))
        return [_view(states[ref]) if ref in states else None for ref in items]

    async def find(self, items: Sequence[ReferralQuery]) -> list[list[ReferralState]]:
        """Pages of a party's referrals."""
        pages = [await store.find(self._pool, query) for query in items]
        return [[_view(s) for s in await opened(page, self._keys)] for page in pages]

    async def overdue(self, items: Sequence[OverdueQuery]) -> list[list[Overdue]]:
        """Referrals that wait past their time, the longest without news first."""
        return [[_overdue(s) for s in await store.overdue(self._pool, q)] for q in items]

    async def _apply(self, items: Sequence[Item]) -> list[Applied]:
        refs = sorted({c.referral_ref for item in items for c in item})
        asking = {c.referral_ref for item in items for c in item if c.command in self._consented}
        before = await store.read(self._pool, refs)
        loud = {c.referral_ref for item in items for c in item if c.command not in QUIET}
        # Asked here so that no call of the vault is made under the lock.
        await self._keys.get(live_key(row.state) for ref, row in before.items() if ref in loud)
        earlier = await self._judge.before([before[r].state for r in asking if r in before])
        async with self._pool.acquire() as conn, conn.transaction():
            work = await self._begin(conn, refs, loud)
            done = await store.done(conn, [c.command_id for item in items for c in item])
            asked = [work.states[ref] for ref in sorted(asking) if ref in work.states]
            work.valid = await self._judge.held(conn, asked, earlier)
            answers = [_item(work, item, done) for item in items]
            await save(conn, work)
        if work.steps:
            step("referral.applied")
        return answers

    async def _begin(self, conn: Any, refs: Sequence[UUID], loud: set[UUID]) -> "Work":
        rows = await store.lock(conn, refs)
        spoken = [row for ref, row in rows.items() if ref in loud]
        states = {ref: row.state for ref, row in rows.items()}
        states |= {s.referral_ref: s for s in await opened(spoken, self._keys)}
        keys = await self._keys.get(live_key(row.state) for row in spoken)
        return Work(rows=rows, states=states, keys=dict(keys), now=self._clock(), table=self._table)


def _item(work: Work, item: Item, done: dict[UUID, store.Done]) -> Applied:
    first = item[0]
    if first.command_id in done:
        return store.answered(done[first.command_id], first.digest)
    state = work.states.get(first.referral_ref)
    if state is None:
        return Applied(status="", version=0, changed=False, rule="not-found")
    moved = state
    steps: list[tuple[Step, Cause]] = []
    for command in item:
        valid = work.valid.get(command.referral_ref, False)
        result = apply(moved, command, work.now, work.table, consent_valid=valid)
        if isinstance(result, Denied):
            return Applied(
                status=state.status, version=state.version, changed=False, rule=result.rule
            )
        moved = result.after
        steps.append((result, _cause(command)))
    work.states[first.referral_ref] = moved
    work.steps += steps
    answer = Applied(status=moved.status, version=moved.version, changed=True)
    work.answers += [(command, answer) for command in item]
    for command in item:  # its copy may be in this very batch
        done[command.command_id] = store.Done(answer.status, answer.version, command.digest)
    return answer


def _cause(command: Command) -> Cause:
    return Cause(
        causation_id=command.command_id,
        attempts=command.attempts,
        error_class=command.error_class or "unknown",
    )


async def save(conn: Any, work: Work) -> list[Encoded]:
    """Write what moved, then its events, in one transaction."""
    if not work.steps:
        return []
    changed = {s.after.referral_ref: s.command.actor_role for s, _ in work.steps}
    loud = {s.after.referral_ref for s, _ in work.steps if s.command.command not in QUIET}
    for ref, role in changed.items():
        before, after = work.rows[ref].state, work.states[ref]
        work.states[ref] = entered(before, after, role)
    rows = [_changed(work, ref, seal=ref in loud) for ref in sorted(changed)]
    await store.update(conn, rows)
    if work.answers:
        await store.remember(conn, work.answers)
    events = [
        encoded(tell(s, uuid4(), cause), work.keys.get(live_key(s.after)))
        for s, cause in work.steps
    ]
    await put_events(conn, events)
    return events


def _changed(work: Work, ref: UUID, *, seal: bool) -> Row:
    state = work.states[ref]
    if seal:
        return sealed_row(state, work.keys.get(live_key(state)))
    return Row(state, work.rows[ref].sealed)


def _overdue(state: State) -> Overdue:
    return Overdue(
        referral_ref=state.referral_ref,
        from_org=state.from_org,
        to_org=state.to_org,
        status=state.status,
        version=state.version,
        stage=state.stage or "overdue",
        owed_by=owed_by(state) or state.to_org,
        due=due_at(state) or state.updated_at,
        waiting_since=state.updated_at,
        escalated_at=state.escalated_at,
    )


def _view(state: State) -> ReferralState:
    return ReferralState(
        referral_ref=state.referral_ref,
        case_ref=state.case_ref,
        from_org=state.from_org,
        to_org=state.to_org,
        status=state.status,
        version=state.version,
        purpose=state.purpose,
        service_type=state.service_type,
        priority=state.priority,
        special_requirements=state.special_requirements,
        data_categories=state.data_categories,
        consent_ref=state.consent_ref,
        vault_version=state.vault_version,
        directory_entry=str(state.directory_entry_ref) if state.directory_entry_ref else None,
        response_due=state.response_due,
        reason_code=state.reason_code,
        outcome=state.outcome,
        appointment_outcome=state.appointment_outcome,
        created_at=state.created_at,
        updated_at=state.updated_at,
        status_before_cancel=state.before_cancel,
    )
