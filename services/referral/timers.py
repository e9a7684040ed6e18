"""What the hub does for referrals that wait: tells of each stage once, then expires.

Run by one leader. It guards that a stage and its event are written in one transaction, on the row
as it stands under its lock, so that a repeat, a frozen leader or kill -9 tells nothing twice and
forgets nothing. When something is due is decided in `timing`.
"""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from schemas import CODELIST_VERSION, Encoded, ReferralAnswerDue, encode
from services.kit.exchange import put_events
from services.kit.ports.referral import Command
from services.referral import store
from services.referral.commands import Commands
from services.referral.domain import State
from services.referral.timing import Stage, due_at, owed_by, planned, reached, told


class Timers:
    """Looks at what is due, at most 64 referrals a time."""

    def __init__(
        self,
        pool: Any,
        commands: Commands,
        *,
        cell: str,
    ) -> None:
        self._pool = pool
        self._commands = commands
        self._cell = cell

    async def turn(self, now: datetime) -> int:
        """Do the next thing for each referral whose moment has come; answers how many."""
        due = await store.due(self._pool, now)
        if not due:
            return 0
        async with self._pool.acquire() as conn, conn.transaction():
            rows = await store.lock(conn, due)
            states = [row.state for row in rows.values()]
            stages = {s.referral_ref: reached(s, now) for s in states}
            after = [_after(s, stages[s.referral_ref], now) for s in states]
            await store.update_waiting(conn, after)
            events = [e for s in after for e in _events(s, stages[s.referral_ref], now)]
            if events:
                await put_events(conn, events)
        await self._expire([ref for ref, stage in stages.items() if stage == "expired"])
        return len(due)

    async def _expire(self, refs: list[UUID]) -> None:
        orders = [
            Command(
                command_id=uuid4(),
                referral_ref=ref,
                command="expire",
                actor_org=self._cell,
                actor_role="hub",
            )
            for ref in refs
        ]
        await self._commands.apply([[order] for order in orders])


def _after(state: State, stage: Stage | None, now: datetime) -> State:
    if stage is None:
        return planned(state)
    return state if stage == "expired" else told(state, stage, now)


def _events(state: State, stage: Stage | None, now: datetime) -> list[Encoded]:
    owing = owed_by(state)
    if stage is None or stage == "expired" or owing is None:
        return []
    event = ReferralAnswerDue(
        event_id=uuid4(),
        occurred_at=now,
        case_ref=state.case_ref,
        source_org=state.from_org,
        correlation_id=state.referral_ref,
        codelist_version=CODELIST_VERSION,
        confidentiality=state.confidentiality,
        referral_ref=state.referral_ref,
        version=state.version,
        status=state.status,
        from_org=state.from_org,
        to_org=state.to_org,
        owed_by=owing,
        answer_stage=stage,
        response_due=due_at(state),
    )
    return [encode(event)]
