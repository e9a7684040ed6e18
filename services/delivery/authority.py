"""`authorise`: the one way to a grant, used by pushes and by a recipient's reads.

It guards that nothing is authorised but on consent that stands still while the intent and its leaf
are written, that the grant names exactly what was decided, and that its deadline runs from the
time taken under the hold. A version that another stands for is never named: that is read under the
hold too. No lock outlives the transaction; the call comes after.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg

from services.delivery import amendments, intents, store
from services.delivery.domain import Ask, deadline_of
from services.delivery.intents import Intent
from services.kit.canonical import canonical
from services.kit.crypto import sign_ed25519
from services.kit.doors import Held, consent_hold
from services.kit.leaf import append_leaves
from services.kit.partners import Partner, Partners
from services.kit.ports.consent import Consent, Decision, Question
from services.kit.ports.vault import Grant, SignedGrant
from services.kit.steps import step

CHANGED: Final = "consent-changed"
"""Consent moved between the decision and the hold: ask again at once."""
NOT_ACTIVE: Final = "recipient-not-active"
NOT_OURS: Final = "claim-lost"
SHORTENED_US: Final = 200_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Authorised:
    """A grant ready for the vault, and until when (monotonic seconds) its call may be written."""

    grant: Grant
    signed: SignedGrant = field(repr=False)
    until: float
    partner: Partner
    consent_until: datetime
    policy_version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Denied:
    """Why nothing may leave: a rule of consent, or `NOT_ACTIVE`, `CHANGED`, `NOT_OURS`."""

    rule: str
    policy_version: str = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """An ask with what was decided of it before the hold."""

    ask: Ask
    partner: Partner
    decision: Decision


class Authority:
    """Decides, writes the intent, signs."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        consent: Consent,
        partners: Partners,
        clock: Callable[[], datetime],
        *,
        seed: bytes,
        seconds: float,
        zone: ZoneInfo,
        cell: str,
    ) -> None:
        self._pool = pool
        self._consent = consent
        self._partners = partners
        self._clock = clock
        self._seed = seed
        self._seconds = seconds
        self._zone = zone
        self._cell = cell

    async def authorise(self, asks: Sequence[Ask]) -> list[Authorised | Denied]:
        """Decide each of ≤ 64 asks; those allowed have their intent committed on return."""
        judged = await self.judge(asks)
        answers: dict[int, Authorised | Denied] = {
            i: one for i, one in enumerate(judged) if isinstance(one, Denied)
        }
        allowed = {i: one for i, one in enumerate(judged) if isinstance(one, Judged)}
        if allowed:
            answers |= await self._write(allowed)
            step("delivery.authorised")
        return [answers[i] for i in range(len(asks))]

    async def judge(self, asks: Sequence[Ask]) -> list[Judged | Denied]:
        """What consent says to each of ≤ 64 asks now; nothing is written."""
        now = self._clock()
        partners = {a.to_org: await self._partners.active(a.to_org, now, self._zone) for a in asks}
        questions = [
            Question(
                case_ref=a.case_ref,
                to_org=a.to_org,
                to_kind=p.org_type if (p := partners[a.to_org]) else "other",
                purpose=a.purpose,
                categories=a.categories,
            )
            for a in asks
        ]
        decisions = await self._consent.decide(questions)
        return [_judged(a, partners[a.to_org], d) for a, d in zip(asks, decisions, strict=True)]

    async def _write(self, judged: dict[int, Judged]) -> dict[int, Authorised | Denied]:
        tasks = [j.ask.task for j in judged.values() if j.ask.task is not None]
        cases = sorted({j.ask.case_ref for j in judged.values()})
        answers: dict[int, Authorised | Denied] = {}
        async with self._pool.acquire() as conn, conn.transaction():
            ours = await store.hold_claims(conn, tasks) if tasks else set()
            before = time.monotonic()  # not later than the time taken under the hold
            held = await consent_hold(conn, cases)
            named = [(j.ask.case_ref, j.ask.vault_version) for j in judged.values()]
            stands = await amendments.current(conn, named)
            for i, one in judged.items():
                task = one.ask.task
                if task is not None and task.task_id not in ours:
                    answers[i] = Denied(rule=NOT_OURS)
                else:
                    answers[i] = self._grant(_current(one, stands), held[one.ask.case_ref], before)
            pairs = [(judged[i], a.grant) for i, a in answers.items() if isinstance(a, Authorised)]
            await self._intend(conn, [_intent(j, g) for j, g in pairs])
        return answers

    def _grant(self, one: Judged, held: Held, before: float) -> Authorised | Denied:
        decision, ask = one.decision, one.ask
        if decision.consent_version != held.version:
            return Denied(rule=CHANGED)
        ends = (held.valid_to, decision.deadline)
        deadline = deadline_of(held.at, self._seconds - _shortened(), *ends)
        if deadline <= held.at or decision.consent_ref is None:
            return Denied(rule="consent-over", policy_version=decision.policy_version)
        grant = Grant(
            grant_ref=uuid4(),
            case_ref=ask.case_ref,
            vault_version=ask.vault_version,
            to_org=ask.to_org,
            purpose=ask.purpose,
            key_version=decision.key_version,
            categories=decision.categories,
            start=held.at,
            deadline=deadline,
            consent_ref=decision.consent_ref,
            consent_version=decision.consent_version,
            rule=decision.rule,
            policy_version=decision.policy_version,
        )
        return Authorised(
            grant=grant,
            signed=signed(grant, self._seed),
            until=before + (deadline - held.at).total_seconds(),
            partner=one.partner,
            consent_until=decision.deadline or deadline,
            policy_version=decision.policy_version,
        )

    async def _intend(self, conn: Any, made: Sequence[Intent]) -> None:
        if not made:
            return
        now = self._clock()
        await intents.open_all(conn, made)
        await append_leaves(
            conn,
            [
                intents.intent_leaf(i, "disclosure_intent", now, "authorised", self._cell)
                for i in made
            ],
        )


def _current(one: Judged, stands: Mapping[tuple[UUID, int], int]) -> Judged:
    """What is asked of the version that stands for the one named, where there is such."""
    ask = one.ask
    version = stands.get((ask.case_ref, ask.vault_version))
    return one if version is None else replace(one, ask=replace(ask, vault_version=version))


def _shortened() -> float:
    """Seconds by which a grant ends earlier, at random.

    Grants of one batch start at one instant; a recipient learns its grant's end, and two that
    learnt the same end would know that they were told of the same person.
    """
    return secrets.randbelow(SHORTENED_US) / 1_000_000


def signed(grant: Grant, seed: bytes) -> SignedGrant:
    """The grant's canonical JSON and our signature over it."""
    plain = canonical(
        {
            "grant_ref": str(grant.grant_ref),
            "case_ref": str(grant.case_ref),
            "vault_version": grant.vault_version,
            "to_org": grant.to_org,
            "purpose": grant.purpose,
            "key_version": grant.key_version,
            "categories": list(grant.categories),
            "start": grant.start.isoformat(),
            "deadline": grant.deadline.isoformat(),
            "consent_ref": str(grant.consent_ref),
            "consent_version": grant.consent_version,
            "rule": grant.rule,
            "policy_version": grant.policy_version,
        }
    )
    return SignedGrant(grant=plain, signature=sign_ed25519(seed, plain))


def _judged(ask: Ask, partner: Partner | None, decision: Decision) -> Judged | Denied:
    if partner is None or "recipient" not in partner.roles:
        return Denied(rule=NOT_ACTIVE)
    if not decision.allowed or "pseudonymous_core" not in decision.categories:
        return Denied(rule=decision.rule, policy_version=decision.policy_version)
    return Judged(ask=ask, partner=partner, decision=decision)


def _intent(one: Judged, grant: Grant) -> Intent:
    ask, decision = one.ask, one.decision
    return Intent(
        grant_ref=grant.grant_ref,
        task_id=ask.task.task_id if ask.task is not None else None,
        case_ref=ask.case_ref,
        referral_ref=ask.referral_ref,
        to_org=ask.to_org,
        purpose=ask.purpose,
        source_org=ask.source_org,
        confidentiality=ask.confidentiality,
        data_categories=() if ask.announced else grant.categories,
        legal_basis=decision.legal_basis or "consent",
        consent_ref=grant.consent_ref,
        consent_version=grant.consent_version,
        policy_version=grant.policy_version,
        deadline=grant.deadline,
        vault_version=grant.vault_version,
    )
