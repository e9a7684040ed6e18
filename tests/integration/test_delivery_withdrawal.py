"""Delivery when consent ends: what waits is suppressed, what left is asked back."""

import asyncio
import random
from datetime import datetime
from typing import Any

from services.delivery.poller import poll
from services.delivery.worker import Worker
from tests.support.delivery_world import behave, effects, held_by, task_id
from tests.support.path import Path
from tests.support.shelter import Shelter


async def test_withdrawal_suppresses_what_waits_and_nothing_leaves(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    await path.pump()
    await path.withdraw(ref)
    seen = await path.deliver()
    assert await path.tasks(ref) == [("content", "suppressed", "consent-withdrawn")]
    assert await path.intents(ref) == []
    assert "suppressed" in await path.leaves(ref)
    assert effects(shelter, await task_id(path, ref)) == []
    assert "referral.revoked" in seen


async def test_a_withdrawal_between_queue_and_call_is_refused_at_delivery(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    await path.pump()
    await path.withdraw(ref)
    await path.worker.turn()
    await asyncio.gather(*path.worker._running)
    assert (await path.tasks(ref))[0][1] == "suppressed"
    assert "disclosure.refused" in await path.pump()
    assert (await path.state(ref)).status == "revoked"


async def test_withdrawal_reaches_a_past_recipient_and_its_answer_comes_back(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    await path.deliver()
    before = len(held_by(shelter, "Task"))
    await path.withdraw(ref)
    seen = await path.deliver()
    assert "consent.effect_reported" in seen
    assert ("erasure", "done", "requested") in await path.tasks(ref)
    row = await path.admin.fetchrow("select * from delivery.erasure where referral_ref=$1", ref)
    assert (row["state"], row["effect"]) == ("acknowledged", "deleted")
    assert len(held_by(shelter, "Task")) == before - 1
    assert {"erasure_requested", "erasure_reported"} <= set(await path.leaves(ref))


async def test_an_erasure_answered_later_is_found_by_asking(path: Path, shelter: Shelter) -> None:
    await behave(shelter, erasure_after_ms=300)
    ref = await path.request()
    await path.deliver()
    await path.withdraw(ref)
    await path.deliver()
    query = "select state from delivery.erasure where referral_ref=$1"
    assert await path.admin.fetchval(query, ref) == "sent"
    await asyncio.sleep(0.6)
    await poll(path.parts)
    assert await path.admin.fetchval(query, ref) == "acknowledged"


async def test_what_may_arrive_after_the_request_to_delete_is_asked_back_again(
    path: Path, shelter: Shelter
) -> None:
    await behave(shelter, fault="commit_then_500", fault_calls=1)
    ref = await path.request()
    await path.pump()
    gate, going = asyncio.Event(), asyncio.Event()
    record = path.parts.recorder.record

    async def late(outcomes: Any) -> Any:
        if any(o.grant_ref is not None for o in outcomes):
            going.set()
            await gate.wait()
        return await record(outcomes)

    path.parts.recorder.record = late
    path.worker = Worker(path.parts)
    await path.worker.turn()
    await going.wait()
    await path.withdraw(ref)
    await path.pump()
    query = "select round, state from delivery.erasure where referral_ref=$1"
    assert tuple(await path.admin.fetchrow(query, ref)) == (1, "requested")
    gate.set()
    await asyncio.gather(*path.worker._running)
    await path.deliver()
    row = await path.admin.fetchrow(query, ref)
    assert (row["round"], row["state"]) == (2, "acknowledged")
    assert (await path.state(ref)).status == "revoked"


async def test_expiry_suppresses_and_asks_nobody_to_delete(path: Path, shelter: Shelter) -> None:
    ref = await path.request()
    await path.deliver()
    await path.admin.execute(
        "update consent.item set valid_to = now() where case_ref = $1",
        (await path.state(ref)).case_ref,
    )
    await path.consent.expire_due()
    await path.deliver()
    assert (await path.state(ref)).status == "revoked"
    assert await path.tasks(ref) == [("content", "done", "taken")]


async def test_withdrawing_contact_replaces_what_the_partner_holds(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    await path.deliver()
    await path.answer(ref, "accept")
    await path.deliver()
    await path.withdraw(ref, ("refugio-sur", "service_referral", ("contact",)))
    await path.deliver()
    last: Any = shelter.journal("effect")[-1]
    patient = next(r for r in last["resources"] if r["resourceType"] == "Patient")
    assert "telecom" not in patient
    assert (await path.state(ref)).status == "accepted"


async def test_nothing_takes_effect_at_the_partner_after_a_withdrawal_is_effective(
    path: Path, shelter: Shelter
) -> None:
    await behave(shelter, slow_ms=150)
    refs = [await path.request() for _ in range(40)]
    await path.pump()
    chance = random.Random(7)

    async def take_back(ref: Any) -> Any:
        await asyncio.sleep(chance.uniform(0, 1.2))
        return await path.withdraw(ref)

    async def work() -> None:
        for _ in range(60):
            await path.worker.turn()
            await asyncio.sleep(0.03)

    _, *withdrawn = await asyncio.gather(work(), *(take_back(ref) for ref in refs))
    await path.deliver()
    reached = 0
    for ref, answer in zip(refs, withdrawn, strict=True):
        for effect in effects(shelter, await task_id(path, ref)):
            reached += 1
            assert datetime.fromisoformat(effect["at"]) < answer.effective_at
    assert 0 < reached < len(refs), "the withdrawals were to fall among the calls"
    held = {str(i["value"]) for t in held_by(shelter, "Task").values() for i in t["identifier"]}
    aliases = await path.admin.fetch(
        "select alias from delivery.alias where referral_ref = any($1::uuid[])", refs
    )
    assert not held & {str(r["alias"]) for r in aliases}, "each was asked to delete, and did"
