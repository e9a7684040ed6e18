"""Whether consent and the recipient still allow a referral, judged on consent that stands still.

It guards that the answer is about the version of consent which the transaction holds: a decision
taken before the lock on another version is taken again under it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

from services.kit.doors import consent_hold
from services.kit.ports.batch import MAX_BATCH
from services.kit.ports.consent import Consent, Decision, Question
from services.referral.domain import State


class Recipients(Protocol):
    """What is known of partners; see `services.kit.partners`."""

    async def kind(self, org: str) -> str | None:
        """Organisation type of an active recipient, None when it may receive nothing now."""


class Judge:
    """Decides for states."""

    def __init__(self, consent: Consent, recipients: Recipients) -> None:
        self._consent = consent
        self._recipients = recipients

    async def active(self, orgs: Iterable[str]) -> dict[str, str]:
        """The kinds of those organisations that may receive now."""
        found = {org: await self._recipients.kind(org) for org in set(orgs)}
        return {org: kind for org, kind in found.items() if kind is not None}

    async def before(self, states: Sequence[State]) -> dict[UUID, Decision]:
        """Decisions taken without any lock; of inactive recipients there is none."""
        kinds = await self.active(s.to_org for s in states)
        asked = [s for s in states if s.to_org in kinds]
        answers: list[Decision] = []
        for start in range(0, len(asked), MAX_BATCH):
            part = asked[start : start + MAX_BATCH]
            answers += await self._consent.decide([_question(s, kinds[s.to_org]) for s in part])
        return {s.referral_ref: d for s, d in zip(asked, answers, strict=True)}

    async def held(
        self, conn: Any, states: Sequence[State], earlier: dict[UUID, Decision]
    ) -> dict[UUID, bool]:
        """Whether each may go on, with the consent of its case held until the transaction ends."""
        if not states:
            return {}
        versions = await consent_hold(conn, sorted({s.case_ref for s in states}))
        fresh = dict(earlier)
        stale = [
            s
            for s in states
            if (d := earlier.get(s.referral_ref)) is None
            or d.consent_version != versions[s.case_ref].version
        ]
        if stale:
            fresh |= await self.before(stale)
        return {s.referral_ref: _valid(fresh.get(s.referral_ref)) for s in states}


def _question(state: State, kind: str) -> Question:
    return Question(
        case_ref=state.case_ref,
        to_org=state.to_org,
        to_kind=kind,
        purpose=state.purpose,
        categories=state.data_categories,
    )


def _valid(decision: Decision | None) -> bool:
    return decision is not None and decision.allowed and not decision.refused_categories
