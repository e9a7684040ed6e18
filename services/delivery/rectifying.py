"""What was put right reaches everybody who got what it was before.

It guards that each such recipient is dealt with once for each change: one that we call gets a new
delivery, any other is told to read anew, and only while consent still permits; where it does not,
the request to erase stands and a leaf says that nothing went. Run by one leader, in rounds.
"""

from datetime import datetime
from uuid import uuid4

from services.delivery import amendments, intents, notifications, store, subscriptions
from services.delivery.amendments import Done, Holder
from services.delivery.authority import Denied
from services.delivery.domain import AMENDED, Ask, Task, categories_for, need_of, over
from services.delivery.worker import Parts
from services.kit.aliases import own_instant
from services.kit.db import transaction
from services.kit.leaf import append_leaves
from services.kit.partners import Partner
from services.kit.ports.referral import ReferralState
from services.kit.steps import step
from services.kit.subscriptions import Subscriptions

GONE = "referral-closed"


async def rectify(parts: Parts, known: Subscriptions) -> int:
    """One round; answers how many were dealt with."""
    async with parts.pool.acquire() as conn:
        found = await amendments.holders(conn)
    if found:
        states = await parts.referral.read([one.referral_ref for one in found])
        for holder, state in zip(found, states, strict=True):
            await _one(parts, known, holder, state)
    if len(found) < amendments.MOST:
        async with parts.pool.acquire() as conn:
            await amendments.settle(conn)
    return len(found)


async def _one(
    parts: Parts, known: Subscriptions, holder: Holder, state: ReferralState | None
) -> None:
    partner = await parts.partners.get(holder.to_org)
    task = task_for(holder)
    if state is None or partner is None or over(task, state):
        await _denied(parts, holder, task, GONE)
    elif partner.transport == "push":
        async with transaction(parts.pool) as conn:
            if await amendments.done(conn, [Done(holder, "queued", "amended")]):
                await store.put(conn, [task])
        step("amendment.queued")
    else:
        rule = await _forbids(parts, holder, task, state, partner)
        if rule is None:
            await _tell(parts, known, holder, state, partner)
        else:
            await _denied(parts, holder, task, rule)


async def _forbids(
    parts: Parts, holder: Holder, task: Task, state: ReferralState, partner: Partner
) -> str | None:
    """The rule by which a recipient that reads here may not be told; None when it may."""
    need = need_of(state, partner.org_type)
    if need is None:
        return "facts-gone"
    lane = (holder.case_ref, holder.to_org)
    standing = (await intents.standing(parts.pool, [lane]))[0]
    held = standing.get(holder.referral_ref, frozenset())
    ask = Ask(
        case_ref=state.case_ref,
        referral_ref=state.referral_ref,
        to_org=state.to_org,
        purpose=state.purpose,
        source_org=state.from_org,
        confidentiality=holder.confidentiality,
        categories=categories_for(task, state, need, held),
        vault_version=state.vault_version,
    )
    judged = (await parts.authority.judge([ask]))[0]
    return judged.rule if isinstance(judged, Denied) else None


async def _tell(
    parts: Parts, known: Subscriptions, holder: Holder, state: ReferralState, partner: Partner
) -> None:
    at = _own(parts, holder, parts.clock())
    registered = await known.all()
    async with transaction(parts.pool) as conn:
        if not await amendments.done(conn, [Done(holder, "told", "amended")]):
            return
        change = subscriptions.Change(
            referral_ref=state.referral_ref,
            version=state.version,
            status=state.status,
            at=at,
            source_org=state.from_org,
        )
        await subscriptions.tell(conn, change, holder.to_org, registered)
        if partner.webhook is not None:
            await notifications.amended(conn, holder.to_org, state, at)


async def _denied(parts: Parts, holder: Holder, task: Task, rule: str) -> None:
    async with transaction(parts.pool) as conn:
        if await amendments.done(conn, [Done(holder, "denied", rule)]):
            kept = intents.suppressed_leaf(task, rule, parts.clock(), parts.cell)
            await append_leaves(conn, [kept])


def _own(parts: Parts, holder: Holder, now: datetime) -> datetime:
    """The instant as the recipient may know it (decision 0009)."""
    version, key = AMENDED + holder.version, parts.frame.alias_key
    return own_instant(key, holder.referral_ref, version, holder.to_org, now)


def task_for(holder: Holder) -> Task:
    """The new delivery to a holder."""
    return Task(
        task_id=uuid4(),
        kind="update",
        case_ref=holder.case_ref,
        referral_ref=holder.referral_ref,
        to_org=holder.to_org,
        purpose=holder.purpose,
        source_org=holder.source_org,
        confidentiality=holder.confidentiality,
        version=AMENDED + holder.version,
        again=False,
        doubtful=False,
        attempts=0,
        claim=None,
    )
