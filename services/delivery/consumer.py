"""What delivery does on the case log: queue content, take it back.

Runs inside the consumer's transaction, in the order cursor, own rows, bus, custody. It guards that
content is queued once per version, that withdrawn content which has not left never does, that every
past recipient is asked to delete, never behind content, and that what was put right stands from the
event on (who gets it anew is `rectifying`'s).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from schemas import (
    CaseUpdated,
    ConsentExpired,
    ConsentWithdrawn,
    ReferralAnswerDue,
    ReferralCompleted,
    ReferralDelivered,
    ReferralDeliveryFailed,
    ReferralRevoked,
    ReferralSent,
    ReferralStatusChanged,
)
from services.delivery import amendments, erasures, intents, notifications, store, subscriptions
from services.delivery.domain import ACCEPTED, NARROWED, Task
from services.kit.aliases import alias
from services.kit.bus import Received
from services.kit.leaf import append_leaves
from services.kit.partners import Partners
from services.kit.steps import step
from services.kit.subscriptions import Subscriptions

TYPES: Final = frozenset(
    {
        "referral.sent",
        "referral.answer_due",
        "referral.status_changed",
        "referral.delivered",
        "referral.delivery_failed",
        "referral.completed",
        "referral.revoked",
        "consent.withdrawn",
        "consent.expired",
        "case.updated",
    }
)
CORE: Final = "pseudonymous_core"
REVOKED: Final = 2_000_000
"""The same, added to the version of a referral that was revoked."""
_ALIASES: Final = """
insert into delivery.alias (alias, referral_ref, to_org)
select * from unnest($1::uuid[], $2::uuid[], $3::text[]) on conflict do nothing
"""
Scope = tuple[UUID, UUID | None, str | None, str | None, str]
"""Case, referral or any, org or any, purpose or any, rule: what waiting content is suppressed."""


@dataclass(slots=True)
class Plan:
    """What a batch asks for."""

    tasks: list[Task] = field(default_factory=list)
    suppressed: list[Scope] = field(default_factory=list)
    erased: list[tuple[UUID, str | None, str | None, UUID | None]] = field(default_factory=list)
    narrowed: list[tuple[UUID, str, str, tuple[str, ...]]] = field(default_factory=list)
    updates: list[ReferralStatusChanged] = field(default_factory=list)
    amended: list[CaseUpdated] = field(default_factory=list)
    marks: dict[UUID, int] = field(default_factory=dict)
    """Version of the updates that a case's lost consent asks for."""


class Consumer:
    """Handles the events of `TYPES`."""

    def __init__(
        self,
        partners: Partners,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
        *,
        alias_key: bytes,
        cell: str,
        erasure_days: int,
        subscriptions: Subscriptions,
    ) -> None:
        self._partners = partners
        self._subscriptions = subscriptions
        self._clock = clock
        self._wake = wake
        self._alias_key = alias_key
        self._cell = cell
        self._erasure_days = erasure_days

    async def handle(self, conn: Any, received: Sequence[Received]) -> None:
        """Handle a batch in order; a withdrawal in it reaches content queued before it."""
        plan = Plan()
        for item in received:
            self._plan(plan, item.event)
        await amendments.record(conn, plan.amended)
        partly = await intents.holders(conn, plan.narrowed)
        await self._queue(conn, plan, {r["referral_ref"] for r in partly})
        events = [item.event for item in received]
        known, partners = await self._subscriptions.all(), await self._partners.all()
        await subscriptions.note(conn, events, known, self._alias_key)
        await notifications.note(conn, events, partners, self._alias_key)
        await self._take_back(conn, plan, partly)
        if plan.tasks or plan.updates:
            step("delivery.queued")
        if plan.suppressed:
            step("revoke.handled")

    async def after(self, _: Sequence[Received]) -> None:
        """Wake the worker once the batch is committed."""
        self._wake()

    def _plan(self, plan: Plan, event: object) -> None:
        match event:
            case ReferralSent():
                plan.tasks.append(_content(event))
            case ReferralStatusChanged() if event.to_status in ACCEPTED:
                if event.from_status not in ACCEPTED:
                    plan.updates.append(event)
            case ReferralStatusChanged() | ReferralRevoked():
                self._closed(plan, event)
            case ConsentWithdrawn():
                self._lost(plan, event, event.consent_status)
            case ConsentExpired():
                self._lost(plan, event, "expired")
            case ReferralDelivered() | ReferralDeliveryFailed() | ReferralCompleted():
                pass  # subscribers are told; nothing is queued or taken back
            case CaseUpdated():
                plan.amended.append(event)
            case ReferralAnswerDue():
                pass  # parties with a webhook are told
            case _:
                raise TypeError("an event that delivery does not handle")

    def _closed(self, plan: Plan, event: ReferralStatusChanged | ReferralRevoked) -> None:
        if isinstance(event, ReferralRevoked):
            rule = f"consent-{event.cause}"
            plan.suppressed.append((event.case_ref, event.referral_ref, None, None, rule))
            if event.erasure_required:
                plan.erased.append((event.case_ref, None, None, event.referral_ref))
                plan.marks.setdefault(event.case_ref, REVOKED + event.version)

    def _lost(self, plan: Plan, event: ConsentWithdrawn | ConsentExpired, status: str) -> None:
        for part in event.affected:
            whole = CORE in part.data_categories
            if whole:
                rule = f"consent-{status}"
                scope = (event.case_ref, None, part.to_org, part.purpose, rule)
                plan.suppressed.append(scope)
            if status == "expired":
                continue
            plan.marks[event.case_ref] = NARROWED + event.version
            past = event.case_ref, part.to_org, part.purpose
            if whole:
                plan.erased.append((*past, None))
            else:
                plan.narrowed.append((*past, part.data_categories))

    async def _queue(self, conn: Any, plan: Plan, narrowed: set[UUID]) -> None:
        accepted = {e.referral_ref: e for e in plan.updates}
        earlier = await store.contents(conn, list(accepted)) if accepted else {}
        new = {t.referral_ref: t for t in plan.tasks}
        made = [
            _update(found, event.version)
            for ref, event in accepted.items()
            if (found := earlier.get(ref) or new.get(ref)) is not None
        ]
        known = await store.contents(conn, sorted(narrowed)) if narrowed else {}
        made += [_update(task, plan.marks[task.case_ref]) for task in known.values()]
        await self._put(conn, plan.tasks + made)

    async def _put(self, conn: Any, tasks: Sequence[Task]) -> None:
        if not tasks:
            return
        await store.put(conn, tasks)
        await conn.execute(
            _ALIASES,
            [alias(self._alias_key, "task", t.referral_ref, t.to_org) for t in tasks],
            [t.referral_ref for t in tasks],
            [t.to_org for t in tasks],
        )

    async def _take_back(self, conn: Any, plan: Plan, partly: list[Any]) -> None:
        now = self._clock()
        kept = await store.suppress(conn, plan.suppressed) if plan.suppressed else []
        past = [*await intents.recipients(conn, plan.erased), *partly]
        due = [now + await self._days(r["to_org"]) for r in past]
        requested = await erasures.request(conn, past, due) if past else []
        await erasures.queue(conn, requested)
        await self._restore(conn, plan, [e for e in requested if not e.data_categories])
        leaves = [intents.suppressed_leaf(task, rule, now, self._cell) for task, rule in kept]
        await append_leaves(conn, leaves + erasures.leaves_of(requested, now, self._cell))
        if requested:
            step("erasure.queued")

    async def _restore(self, conn: Any, plan: Plan, erased: Sequence[erasures.Erasure]) -> None:
        """What one referral's deletion takes along, another that stands there may still show.

        A person is one Patient at a recipient, whatever the number of referrals.
        """
        others: dict[UUID, int] = {}
        lanes = sorted({(e.case_ref, e.to_org) for e in erased})
        found = await intents.standing(conn, lanes) if lanes else []
        for (case_ref, _), stand in zip(lanes, found, strict=True):
            others |= dict.fromkeys(stand, plan.marks.get(case_ref, NARROWED))
        known = await store.contents(conn, sorted(others)) if others else {}
        await self._put(conn, [_update(task, others[ref]) for ref, task in known.items()])

    async def _days(self, org: str) -> timedelta:
        partner = await self._partners.get(org)
        days = partner.agreement.erasure_days if partner is not None else self._erasure_days
        return timedelta(days=days)


def _content(event: ReferralSent) -> Task:
    return Task(
        task_id=uuid4(),
        kind="content",
        case_ref=event.case_ref,
        referral_ref=event.referral_ref,
        to_org=event.to_org,
        purpose=event.purpose or "",
        source_org=event.source_org,
        confidentiality=event.confidentiality,
        version=event.version,
        again=False,
        doubtful=False,
        attempts=0,
        claim=None,
    )


def _update(content: Task, version: int) -> Task:
    return Task(
        task_id=uuid4(),
        kind="update",
        case_ref=content.case_ref,
        referral_ref=content.referral_ref,
        to_org=content.to_org,
        purpose=content.purpose,
        source_org=content.source_org,
        confidentiality=content.confidentiality,
        version=version,
        again=False,
        doubtful=False,
        attempts=0,
        claim=None,
    )
