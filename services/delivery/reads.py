"""The Delivery port: a recipient reads content of its referrals, decided now.

It guards that a read goes through the same authorisation as a push: intent and leaf first, then
exactly what the grant lets out, then the outcome. A party that may see nothing now learns only
that (`suppressed`, or `withdrawn` where the consent was taken back); what came too late for its
grant may be asked for again (`unavailable`); anybody else learns nothing (`not-found`). A
recipient's requests to erase, and its answers to them, come by the same port.
"""

import asyncio
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from connectors.fhir_r4.outbound import bundle
from connectors.sdk.errors import Refuse
from services.delivery import amendments, erasures, intents, native
from services.delivery.authority import CHANGED, Authorised, Denied
from services.delivery.domain import CLOSED, Ask, Outcome, categories_now, need_of
from services.delivery.render import outgoing
from services.delivery.stages import Stages
from services.delivery.worker import Parts
from services.kit.needs import Need
from services.kit.ports.delivery import (
    Changed,
    ChangedQuery,
    EffectReport,
    EffectResult,
    ErasureQuery,
    ErasureState,
    ReadRequest,
    ReadResult,
)
from services.kit.ports.referral import ReferralState
from services.kit.steps import step

SUPPRESSED: Final = "suppressed"
NOT_FOUND: Final = "not-found"
WITHDRAWN: Final = "withdrawn"
UNAVAILABLE: Final = "unavailable"
SHOWN: Final = MappingProxyType(
    {
        WITHDRAWN: WITHDRAWN,
        CHANGED: UNAVAILABLE,
        "grant-late": UNAVAILABLE,
        "quota": UNAVAILABLE,
    }
)
"""What the reader learns of why nothing was released; of all else, `suppressed`."""
NATIVE: Final = "Native"
TRIES: Final = 3
CONFIDENTIALITY: Final = "restricted"


class Reads:
    """Implements `services.kit.ports.Delivery`."""

    def __init__(self, parts: Parts, stages: Stages | None = None) -> None:
        self._parts = parts
        self._stages = stages or Stages(parts)

    async def read(self, items: Sequence[ReadRequest]) -> list[ReadResult]:
        """Authorise, release and render one resource each."""
        return list(await asyncio.gather(*(self._one(item) for item in items)))

    async def _one(self, item: ReadRequest) -> ReadResult:
        state = await self._stages.state(item.referral_ref)
        if state is None or state.to_org != item.org:
            return ReadResult(rule=NOT_FOUND)
        partner = await self._parts.partners.get(item.org)
        need = need_of(state, partner.org_type) if partner is not None else None
        if state.status == "revoked":
            return ReadResult(rule=WITHDRAWN)
        if need is None:
            return ReadResult(rule=SUPPRESSED)
        categories = await self._categories(item, state, need)
        if not categories:
            return ReadResult(rule=SUPPRESSED)
        ask = Ask(
            case_ref=state.case_ref,
            referral_ref=state.referral_ref,
            to_org=state.to_org,
            purpose=state.purpose,
            source_org=state.from_org,
            confidentiality=CONFIDENTIALITY,
            categories=categories,
            vault_version=state.vault_version,
        )
        granted = await self._authorise(ask)
        if isinstance(granted, Denied):
            return ReadResult(rule=SHOWN.get(granted.rule, SUPPRESSED))
        return await self._released(item, state, granted)

    async def _categories(
        self, item: ReadRequest, state: ReferralState, need: Need
    ) -> tuple[str, ...]:
        """What may be read now; of a closed referral what its reader has and was put right."""
        if state.status not in CLOSED:
            return categories_now(state, need)
        pool = self._parts.pool
        if not await amendments.owed(pool, item.referral_ref, item.org):
            return ()
        standing = (await intents.standing(pool, [(state.case_ref, item.org)]))[0]
        held = standing.get(item.referral_ref, frozenset()) & set(state.data_categories)
        return need.releasable(held, accepted=True)

    async def _authorise(self, ask: Ask) -> Authorised | Denied:
        answer: Authorised | Denied = Denied(rule=CHANGED)
        for _ in range(TRIES):
            answer = await self._stages.authorise(ask)
            if not isinstance(answer, Denied) or answer.rule != CHANGED:
                return answer
        return answer

    async def _released(
        self, item: ReadRequest, state: ReferralState, granted: Authorised
    ) -> ReadResult:
        parts, ref = self._parts, granted.grant.grant_ref
        released = await self._stages.release(granted.signed)
        source = await parts.partners.get(state.from_org)
        if released.content is None or source is None:
            failed = Outcome(result="not_sent", rule=released.rule, grant_ref=ref)
            await self._stages.record(failed)
            return ReadResult(rule=SHOWN.get(released.rule, SUPPRESSED))
        now = parts.clock()
        try:
            out = outgoing(parts.frame, state, granted, released, source, now, literal=True)
        except Refuse as error:
            refused = Outcome(result="not_sent", rule=error.rule, grant_ref=ref)
            await self._stages.record(refused)
            return ReadResult(rule=SUPPRESSED)
        await self._stages.record(Outcome(result="disclosed", rule="read", grant_ref=ref))
        if parts.clock() >= granted.grant.deadline:
            return ReadResult(rule=UNAVAILABLE)
        if granted.partner.transport != "push":
            await self._delivered(item)
        if item.resource == NATIVE:
            return ReadResult(rule="released", resource=native.document(out, state.version))
        return ReadResult(rule="released", resource=bundle.resource(out, item.resource))

    async def _delivered(self, item: ReadRequest) -> None:
        """A recipient that fetches has its delivery with its read; the referral hears of it."""
        for task in await self._stages.pulled((item.referral_ref, item.org)):
            if task.kind == "content":
                await self._stages.confirm((task, "done", "read"))

    async def erasures(self, items: Sequence[ErasureQuery]) -> list[list[ErasureState]]:
        """Pages of requests to erase."""
        return [await erasures.find(self._parts.pool, query) for query in items]

    async def changed(self, items: Sequence[ChangedQuery]) -> list[list[Changed]]:
        """Pages of what recipients have yet to read anew."""
        return [await amendments.changed(self._parts.pool, query) for query in items]

    async def report_effects(self, items: Sequence[EffectReport]) -> list[EffectResult]:
        """Take each answer of a recipient once, with its leaf and event."""
        results = []
        for item in items:
            async with self._parts.pool.acquire() as conn, conn.transaction():
                results.append(await erasures.answered(conn, item, self._parts.clock()))
        if any(result.rule == "reported" for result in results):
            step("erasure.recorded")
        return results
