"""The Delivery port: a recipient reads content of its referrals, decided now.

It guards that a read goes through the same authorisation as a push: intent and leaf first, then
exactly what the grant lets out, then the outcome. A party that may see nothing now learns only
that (`suppressed`); anybody else learns nothing (`not-found`).
"""

from collections.abc import Sequence
from typing import Final

from connectors.fhir_r4.outbound import bundle
from connectors.sdk.errors import Refuse
from services.delivery import store
from services.delivery.authority import CHANGED, Authorised, Denied
from services.delivery.domain import CLOSED, Ask, Outcome, categories_now, need_of
from services.delivery.render import outgoing
from services.delivery.worker import Parts
from services.kit.ports.delivery import ReadRequest, ReadResult
from services.kit.ports.referral import ReferralState

SUPPRESSED: Final = "suppressed"
NOT_FOUND: Final = "not-found"
TRIES: Final = 3
CONFIDENTIALITY: Final = "restricted"


class Reads:
    """Implements `services.kit.ports.Delivery`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def read(self, items: Sequence[ReadRequest]) -> list[ReadResult]:
        """Authorise, release and render one resource each."""
        states = await self._parts.referral.read([item.referral_ref for item in items])
        return [await self._one(i, s) for i, s in zip(items, states, strict=True)]

    async def _one(self, item: ReadRequest, state: ReferralState | None) -> ReadResult:
        if state is None or state.to_org != item.org:
            return ReadResult(rule=NOT_FOUND)
        partner = await self._parts.partners.get(item.org)
        need = need_of(state, partner.org_type) if partner is not None else None
        if need is None or state.status in CLOSED:
            return ReadResult(rule=SUPPRESSED)
        ask = Ask(
            case_ref=state.case_ref,
            referral_ref=state.referral_ref,
            to_org=state.to_org,
            purpose=state.purpose,
            source_org=state.from_org,
            confidentiality=CONFIDENTIALITY,
            categories=categories_now(state, need),
            vault_version=state.vault_version,
        )
        granted = await self._authorise(ask)
        if isinstance(granted, Denied):
            return ReadResult(rule=SUPPRESSED)
        return await self._released(item, state, granted)

    async def _authorise(self, ask: Ask) -> Authorised | Denied:
        answer: Authorised | Denied = Denied(rule=CHANGED)
        for _ in range(TRIES):
            answer = (await self._parts.authority.authorise([ask]))[0]
            if not isinstance(answer, Denied) or answer.rule != CHANGED:
                return answer
        return answer

    async def _released(
        self, item: ReadRequest, state: ReferralState, granted: Authorised
    ) -> ReadResult:
        parts, ref = self._parts, granted.grant.grant_ref
        released = (await parts.vault.release([granted.signed]))[0]
        source = await parts.partners.get(state.from_org)
        if released.content is None or source is None:
            failed = Outcome(result="not_sent", rule=released.rule, grant_ref=ref)
            await parts.recorder.record([failed])
            return ReadResult(rule=SUPPRESSED)
        now = parts.clock()
        try:
            out = outgoing(parts.frame, state, granted, released, source, now, literal=True)
        except Refuse as error:
            refused = Outcome(result="not_sent", rule=error.rule, grant_ref=ref)
            await parts.recorder.record([refused])
            return ReadResult(rule=SUPPRESSED)
        await parts.recorder.record([Outcome(result="disclosed", rule="read", grant_ref=ref)])
        if parts.clock() >= granted.grant.deadline:
            return ReadResult(rule=SUPPRESSED)
        if granted.partner.transport != "push":
            await self._delivered(item)
        return ReadResult(rule="released", resource=bundle.resource(out, item.resource))

    async def _delivered(self, item: ReadRequest) -> None:
        """A recipient that fetches has its delivery with its read; the referral hears of it."""
        ended = await store.pulled(self._parts.pool, item.referral_ref, item.org)
        contents = [(task, "done", "read") for task in ended if task.kind == "content"]
        await self._parts.confirmer.confirm(contents)
