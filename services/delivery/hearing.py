"""What a subscriber may not hear of yet, or any more: a referral that did not reach it.

It guards that nothing of a referral on its way is told to its recipient without consent for it at
that moment. What reached the recipient is its own; what was kept from it is masked by the database
(`delivery.withheld`). Telling is `subscribing`'s.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final
from uuid import UUID

from services.delivery.authority import Denied
from services.delivery.domain import Ask, categories_now, need_of
from services.kit.ports.referral import ReferralState

if TYPE_CHECKING:
    from services.delivery.worker import Parts

_ON_THEIR_WAY: Final = """
select referral_ref from delivery.task
 where referral_ref = any($1::uuid[]) and to_org = $2 and kind = 'content'
   and not delivery.reached($2, referral_ref)
 group by referral_ref order by referral_ref
"""


async def kept_from(parts: "Parts", org: str, refs: Collection[UUID]) -> set[UUID]:
    """Of these referrals, those on their way to this recipient without consent as of now."""
    async with parts.pool.acquire() as conn:
        rows = await conn.fetch(_ON_THEIR_WAY, sorted(refs), org)
    coming = [row["referral_ref"] for row in rows]
    partner = await parts.partners.get(org)
    if not coming or partner is None:
        return set(coming)
    asks: dict[UUID, Ask] = {}
    for ref, state in zip(coming, await parts.referral.read(coming), strict=True):
        need = need_of(state, partner.org_type) if state is not None else None
        if state is not None and need is not None:
            asks[ref] = _ask(state, categories_now(state, need))
    judged = await parts.authority.judge(list(asks.values())) if asks else []
    allowed = {ref for ref, one in zip(asks, judged, strict=True) if not isinstance(one, Denied)}
    return set(coming) - allowed


def _ask(state: ReferralState, categories: tuple[str, ...]) -> Ask:
    return Ask(
        case_ref=state.case_ref,
        referral_ref=state.referral_ref,
        to_org=state.to_org,
        purpose=state.purpose,
        source_org=state.from_org,
        confidentiality="restricted",
        categories=categories,
        vault_version=state.vault_version,
    )
