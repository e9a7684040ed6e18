"""What the referral service does on the case log: new referrals begin, lost consent ends them.

Runs inside the consumer's transaction, in the order cursor, own rows, consent, bus. It guards that
a referral whose consent or recipient changed since it was accepted ends with a reason its sender
sees, and never silently. `disclosure.refused`, withdrawals and a case entered in error act on
referrals still open only; a case that merely closed leaves its referrals as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from schemas import (
    CaseClosed,
    ConsentExpired,
    ConsentWithdrawn,
    DisclosureRefused,
    ReferralRequested,
    ReferralRequestedFacts,
)
from services.kit.bus import Received
from services.kit.ports.referral import Command
from services.kit.ports.vault import KeyQuery
from services.kit.seal import key_version
from services.kit.steps import step
from services.referral import store
from services.referral.commands import Work, save
from services.referral.domain import DRAFT, TERMINAL, Denied, State, apply, machine, narrowed
from services.referral.events import Cause
from services.referral.facts import Keys, Row, live_key, opened, requested_facts, sealed_row
from services.referral.judge import Judge

TYPES: Final = frozenset(
    {
        "referral.requested",
        "consent.withdrawn",
        "consent.expired",
        "disclosure.refused",
        "case.closed",
    }
)
IN_ERROR: Final = "entered_in_error"
REASONS: Final = {"give_up": "service_unavailable", "mark_error": "other"}
"""Reasons of the commands that this consumer gives in the sender's name."""
Lost = ConsentWithdrawn | ConsentExpired


class Consumer:
    """Handles the events of `TYPES`."""

    def __init__(
        self,
        keys: Keys,
        judge: Judge,
        clock: Callable[[], datetime],
        *,
        cell: str,
    ) -> None:
        self._keys = keys
        self._judge = judge
        self._clock = clock
        self._cell = cell

    async def handle(self, conn: Any, received: Sequence[Received]) -> None:
        """Handle a batch in order."""
        work = await self._begin(conn, received)
        begun = await self._drafts(work, received)
        if begun:
            await store.insert(conn, [work.rows[ref] for ref in sorted(begun)])
        work.valid = await self._judge.held(conn, [work.states[r] for r in sorted(begun)], {})
        recipients = await self._judge.active(work.states[ref].to_org for ref in begun)
        for item in received:
            event = item.event
            if isinstance(event, ReferralRequested):
                if event.referral_ref in begun:
                    self._send(work, event, active=event.to_org in recipients)
            elif isinstance(event, DisclosureRefused):
                self._refused(work, event)
            elif isinstance(event, ConsentWithdrawn | ConsentExpired):
                self._lost(work, event)
            elif isinstance(event, CaseClosed) and event.case_status == IN_ERROR:
                self._in_error(work, event)
        await self._write(conn, work)
        step("referral.handled")

    async def _begin(self, conn: Any, received: Sequence[Received]) -> Work:
        cases = [r.event.case_ref for r in received if isinstance(r.event, Lost | CaseClosed)]
        refs = [
            r.event.referral_ref
            for r in received
            if isinstance(r.event, ReferralRequested | DisclosureRefused)
        ]
        rows = await store.lock_both(conn, refs, cases)
        states = {ref: row.state for ref, row in rows.items()}
        told = {r.event.referral_ref for r in received if isinstance(r.event, DisclosureRefused)}
        wrong = {r.event.case_ref for r in received if isinstance(r.event, CaseClosed)}
        spoken = [r for ref, r in rows.items() if ref in told or r.state.case_ref in wrong]
        states |= {s.referral_ref: s for s in await opened(spoken, self._keys)}
        keys = await self._keys.get(live_key(row.state) for row in spoken)
        return Work(rows=rows, states=states, keys=dict(keys), now=self._clock(), table=machine())

    async def _drafts(self, work: Work, received: Sequence[Received]) -> set[UUID]:
        """Make the aggregates of new referrals; answers their references."""
        new = {
            r.event.referral_ref: r
            for r in received
            if isinstance(r.event, ReferralRequested) and r.event.referral_ref not in work.rows
        }
        sealing = {ref: _sealing_key(r) for ref, r in new.items()}
        keys = await self._keys.get(q for q in sealing.values() if q is not None)
        for ref, item in new.items():
            query = sealing[ref]
            key = keys[query] if query is not None else None
            state = _draft(item, key, work.now)
            work.states[ref] = state
            work.rows[ref] = sealed_row(state, key)
            work.keys[live_key(state)] = key
        return set(new)

    def _send(self, work: Work, event: ReferralRequested, *, active: bool) -> None:
        state = work.states[event.referral_ref]
        cause = Cause(causation_id=event.event_id, consent_status="invalidated")
        if work.valid.get(state.referral_ref) and state.service_type is not None:
            self._do(work, state, "send", "sender", cause)
        elif active:
            self._do(work, state, "revoke", "consent", cause)
        else:
            self._do(work, state, "discard", "sender", cause)

    def _lost(self, work: Work, event: Lost) -> None:
        status = event.consent_status if isinstance(event, ConsentWithdrawn) else "expired"
        cause = Cause(causation_id=event.event_id, consent_status=status)
        for ref, state in sorted(work.states.items()):
            lost = frozenset(
                category
                for part in event.affected
                if (part.to_org, part.purpose) == (state.to_org, state.purpose)
                for category in part.data_categories
            )
            if state.case_ref != event.case_ref or state.status in TERMINAL or not lost:
                continue
            left = narrowed(state, lost)
            if left is None:
                self._do(work, state, "revoke", "consent", cause)
            else:
                work.states[ref] = replace(state, data_categories=left)

    def _in_error(self, work: Work, event: CaseClosed) -> None:
        cause = Cause(causation_id=event.event_id)
        for ref, state in sorted(work.states.items()):
            if state.case_ref == event.case_ref and state.status not in {DRAFT, *TERMINAL}:
                self._do(work, work.states[ref], "mark_error", "sender", cause)

    def _refused(self, work: Work, event: DisclosureRefused) -> None:
        state = work.states.get(event.referral_ref)
        if state is None or state.status in TERMINAL:
            return
        cause = Cause(causation_id=event.event_id, consent_status="invalidated")
        if event.rule != "recipient-not-active":
            self._do(work, state, "revoke", "consent", cause)
            return
        failed = replace(cause, error_class=event.rule)
        self._do(work, state, "report_delivery_failure", "hub", failed)
        self._do(work, work.states[event.referral_ref], "give_up", "sender", failed)

    def _do(self, work: Work, state: State, name: str, role: str, cause: Cause) -> None:
        command = Command(
            command_id=cause.causation_id or state.referral_ref,
            referral_ref=state.referral_ref,
            command=name,
            actor_org=state.from_org if role == "sender" else self._cell,
            actor_role=role,
            reason_code=REASONS.get(name),
            synthesised=name in REASONS,
        )
        valid = work.valid.get(state.referral_ref, False)
        result = apply(state, command, work.now, work.table, consent_valid=valid)
        if isinstance(result, Denied):
            return
        work.states[state.referral_ref] = result.after
        work.steps.append((result, cause))

    async def _write(self, conn: Any, work: Work) -> None:
        moved = {s.after.referral_ref for s, _ in work.steps}
        narrowed_only = [
            Row(work.states[ref], row.sealed)
            for ref, row in sorted(work.rows.items())
            if ref not in moved
            and row.state.status != DRAFT
            and work.states[ref].data_categories != row.state.data_categories
        ]
        if narrowed_only:
            await store.update(conn, narrowed_only)
        await save(conn, work)


def _sealing_key(item: Received) -> KeyQuery | None:
    event, facts = item.event, item.facts
    if not isinstance(event, ReferralRequested) or facts is None or event.purpose is None:
        return None
    return KeyQuery(case_ref=event.case_ref, purpose=event.purpose, version=key_version(facts))


def _draft(item: Received, key: Any, now: datetime) -> State:
    event = item.event
    assert isinstance(event, ReferralRequested)  # noqa: S101 -- chosen by the caller
    purpose = event.purpose or "service_referral"
    found = requested_facts(key, event.event_id, event.case_ref, purpose, item.facts)
    facts = found or ReferralRequestedFacts()
    return State(
        referral_ref=event.referral_ref,
        case_ref=event.case_ref,
        from_org=event.from_org,
        to_org=event.to_org,
        status=DRAFT,
        version=0,
        purpose=purpose,
        consent_ref=event.consent_ref,
        confidentiality=event.confidentiality,
        data_categories=event.data_categories,
        directory_entry_ref=event.directory_entry_ref,
        vault_version=event.vault_version,
        response_due=event.response_due,
        replaces=event.replaces,
        onward_of=event.onward_of,
        before_cancel=None,
        created_at=event.occurred_at,
        updated_at=now,
        service_type=facts.service_type,
        priority=facts.priority,
        special_requirements=facts.special_requirements,
    )
