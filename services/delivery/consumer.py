"""What delivery does on the case log: queue content, take it back.

Runs inside the consumer's transaction, in the order cursor, own rows, bus, custody. It guards that
content is queued once per version, that withdrawn content which has not left never does, and that
every past recipient is asked to delete, never behind content.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from schemas import (
    ConsentExpired,
    ConsentWithdrawn,
    ReferralRevoked,
    ReferralSent,
    ReferralStatusChanged,
)
from services.delivery import erasures, intents, store
from services.delivery.domain import ACCEPTED, Task
from services.kit.aliases import alias
from services.kit.bus import Received
from services.kit.leaf import append_leaves
from services.kit.partners import Partners
from services.kit.steps import step

TYPES: Final = frozenset(
    {
        "referral.sent",
        "referral.status_changed",
        "referral.revoked",
        "consent.withdrawn",
        "consent.expired",
    }
)
CORE: Final = "pseudonymous_core"
NARROWED: Final = 1_000_000
"""Added to a consent's version: the version of an update that no referral version stands for."""
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
    narrowed: list[tuple[UUID, str | None, str | None, UUID | None]] = field(default_factory=list)
    updates: list[ReferralStatusChanged] = field(default_factory=list)
    consent_versions: dict[UUID, int] = field(default_factory=dict)


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
    ) -> None:
        self._partners = partners
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
        await self._queue(conn, plan)
        await self._take_back(conn, plan)
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
            case _:
                raise TypeError("an event that delivery does not handle")

    def _closed(self, plan: Plan, event: ReferralStatusChanged | ReferralRevoked) -> None:
        if isinstance(event, ReferralRevoked):
            rule = f"consent-{event.cause}"
            plan.suppressed.append((event.case_ref, event.referral_ref, None, None, rule))
            if event.erasure_required:
                plan.erased.append((event.case_ref, None, None, event.referral_ref))

    def _lost(self, plan: Plan, event: ConsentWithdrawn | ConsentExpired, status: str) -> None:
        for part in event.affected:
            whole = CORE in part.data_categories
            past = (event.case_ref, part.to_org, part.purpose, None)
            if whole:
                rule = f"consent-{status}"
                scope = (event.case_ref, None, part.to_org, part.purpose, rule)
                plan.suppressed.append(scope)
            if status == "expired":
                continue
            (plan.erased if whole else plan.narrowed).append(past)
            plan.consent_versions[event.case_ref] = event.version

    async def _queue(self, conn: Any, plan: Plan) -> None:
        accepted = {e.referral_ref: e for e in plan.updates}
        earlier = await store.contents(conn, list(accepted)) if accepted else {}
        new = {t.referral_ref: t for t in plan.tasks}
        made = [
            _update(found, event.version)
            for ref, event in accepted.items()
            if (found := earlier.get(ref) or new.get(ref)) is not None
        ]
        narrowed = await intents.recipients(conn, plan.narrowed)
        known = await store.contents(conn, [r["referral_ref"] for r in narrowed])
        made += [
            _update(task, NARROWED + plan.consent_versions[task.case_ref])
            for task in known.values()
        ]
        tasks = plan.tasks + made
        if not tasks:
            return
        await store.put(conn, tasks)
        await conn.execute(
            _ALIASES,
            [alias(self._alias_key, "task", t.referral_ref, t.to_org) for t in tasks],
            [t.referral_ref for t in tasks],
            [t.to_org for t in tasks],
        )

    async def _take_back(self, conn: Any, plan: Plan) -> None:
        now = self._clock()
        kept = await store.suppress(conn, plan.suppressed) if plan.suppressed else []
        past = await intents.recipients(conn, plan.erased)
        due = [now + await self._days(r["to_org"]) for r in past]
        requested = await erasures.request(conn, past, due) if past else []
        await erasures.queue(conn, requested)
        leaves = [intents.suppressed_leaf(task, rule, now, self._cell) for task, rule in kept]
        await append_leaves(conn, leaves + erasures.leaves_of(requested, now, self._cell))
        if requested:
            step("erasure.queued")

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
