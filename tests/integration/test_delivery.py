"""Delivery to a real FHIR server in another process: order, doubt, holds, answers."""

import asyncio
import time
from uuid import uuid4

import aiohttp
import orjson

from services.delivery import store
from services.delivery.poller import poll
from services.delivery.reads import Reads
from services.delivery.sweeps import sweep
from services.delivery.worker import Worker
from services.kit.ports.delivery import ReadRequest
from tests.support.delivery_world import behave, die_at, effects, held_by, hurry, task_id
from tests.support.partner_rows import CATEGORIES, partner, register
from tests.support.path import Path, consent_of
from tests.support.shelter import Shelter


async def test_a_referral_reaches_the_partner_and_is_confirmed(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    seen = await path.deliver()
    assert seen == [
        "consent.given", "referral.requested", "referral.sent", "disclosure.made",
        "referral.delivered",
    ]  # fmt: skip
    assert (await path.state(ref)).status == "delivered"
    assert await path.tasks(ref) == [("content", "done", "taken")]
    assert await path.intents(ref) == ["disclosed"]
    assert await path.leaves(ref) == ["disclosure_intent", "disclosed"]
    (effect,) = effects(shelter, await task_id(path, ref))
    raw = orjson.dumps(effect).decode()
    assert "Quispe" not in raw
    assert "0142" not in raw, "contact is for after acceptance"
    assert str(ref) not in raw


async def test_contact_follows_once_the_recipient_accepts(path: Path, shelter: Shelter) -> None:
    ref = await path.request()
    await path.deliver()
    assert (await path.answer(ref, "accept")).changed
    await path.deliver()
    assert await path.tasks(ref) == [("content", "done", "taken"), ("update", "done", "taken")]
    (effect,) = effects(shelter, await task_id(path, ref, "update"))
    patient = next(r for r in effect["resources"] if r["resourceType"] == "Patient")
    assert patient["telecom"][0]["value"] == "+57 300 555 0142"
    assert patient["meta"]["versionId"] == "2"


async def test_an_acceptance_that_lets_nothing_more_through_sends_nothing(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request(categories=("pseudonymous_core",))
    await path.deliver()
    assert (await path.answer(ref, "accept")).changed
    await path.deliver()
    assert await path.tasks(ref) == [("content", "done", "taken"), ("update", "done", "no-news")]
    assert effects(shelter, await task_id(path, ref, "update")) == []
    assert await path.intents(ref) == ["disclosed"]
    assert await path.leaves(ref) == ["disclosure_intent", "disclosed"]


async def test_an_answer_that_never_came_is_resolved_by_looking_at_the_partner(
    path: Path, shelter: Shelter
) -> None:
    await behave(shelter, fault="cut_after", fault_calls=1)
    ref = await path.request()
    await path.deliver(rounds=1)
    assert await path.intents(ref) == ["unknown"]
    await hurry(path)
    await path.deliver()
    assert (await path.state(ref)).status == "delivered"
    assert await path.intents(ref) == ["disclosed"]
    assert len(effects(shelter, await task_id(path, ref))) == 1
    assert await path.leaves(ref) == ["disclosure_intent", "unknown", "disclosed"]


async def test_a_request_that_was_lost_is_sent_again_under_a_new_grant(
    path: Path, shelter: Shelter
) -> None:
    await behave(shelter, fault="cut_before", fault_calls=1)
    ref = await path.request()
    await path.deliver(rounds=1)
    await hurry(path)
    await path.deliver()
    assert (await path.state(ref)).status == "delivered"
    assert sorted(await path.intents(ref)) == ["disclosed", "unknown"]
    assert len(effects(shelter, await task_id(path, ref))) == 1


async def test_a_partner_that_is_down_gets_it_later_and_nobody_else_waits(
    path: Path, shelter: Shelter
) -> None:
    await register(path.admin, "refugio-mudo", partner("refugio-mudo", "http://127.0.0.1:9"))
    mute, ref = await path.request(to_org="refugio-mudo"), await path.request()
    await path.deliver(rounds=2)
    assert (await path.state(ref)).status == "delivered"
    assert (await path.state(mute)).status == "sent"
    assert await path.tasks(mute) == [("content", "queued", "partner-unreachable")]
    assert await path.intents(mute) == [], "no grant is asked for before the partner answers"


async def test_retries_end_and_the_sender_sees_it(path: Path, shelter: Shelter) -> None:
    await register(path.admin, "refugio-mudo", partner("refugio-mudo", "http://127.0.0.1:9"))
    ref = await path.request(to_org="refugio-mudo")
    await path.pump()
    await path.admin.execute("update delivery.task set attempts = 29 where referral_ref = $1", ref)
    await path.deliver(rounds=1)
    assert await path.tasks(ref) == [("content", "failed", "partner-unreachable")]
    await path.admin.execute("update delivery.task set ended_at = now() - interval '5 seconds'")
    await sweep(path.parts)
    assert "referral.delivery_failed" in await path.pump()
    assert (await path.state(ref)).status == "delivery_failed"


async def test_content_of_one_case_and_recipient_keeps_its_order(
    path: Path, shelter: Shelter
) -> None:
    case_ref = uuid4()
    record = consent_of(case_ref, "refugio-sur", CATEGORIES)
    await behave(shelter, fault="unavailable", fault_calls=1)
    refs = [await path.request(case_ref=case_ref, record=record) for _ in range(3)]
    await path.deliver(rounds=1)
    assert [(await path.tasks(r))[0][1] for r in refs] == ["queued", "queued", "queued"]
    await hurry(path)
    await path.deliver()
    keys = [str(await task_id(path, ref)) for ref in refs]
    assert [r["key"] for r in shelter.journal("effect") if r["key"] in keys] == keys


async def test_a_holder_that_died_before_the_call_leaves_nothing_sent(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    await path.pump()
    tasks = await store.claim(path.pools["delivery"], {"refugio-sur": 8}, 8)
    assert [t.referral_ref for t in tasks] == [ref]
    await path.admin.execute("update delivery.task set claimed_until = now()")
    await sweep(path.parts)
    assert (await path.tasks(ref))[0][1:] == ("queued", "holder-gone")
    await path.deliver()
    assert len(effects(shelter, await task_id(path, ref))) == 1


async def test_a_holder_that_died_after_the_vault_released_is_counted_as_unknown(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    await path.pump()

    await die_at(path, "delivery.released")
    assert await path.intents(ref) == ["open"]
    await path.admin.execute("update delivery.task set claimed_until = now()")
    await sweep(path.parts)
    assert await path.intents(ref) == ["unknown"]
    await path.deliver()
    assert (await path.state(ref)).status == "delivered"
    assert len(effects(shelter, await task_id(path, ref))) == 1


async def test_a_partner_that_takes_too_long_is_left_and_others_go_on(
    path: Path, shelter: Shelter
) -> None:
    await behave(shelter, slow_ms=2600)
    ref = await path.request()
    begun = time.monotonic()
    await path.deliver(rounds=1)
    assert time.monotonic() - begun < 4
    assert await path.intents(ref) == ["unknown"]
    await asyncio.sleep(1)
    assert effects(shelter, await task_id(path, ref)) == [], "the partner honours Not-After"


async def test_a_partner_that_refuses_holds_the_lane_until_it_is_mended(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    await path.pump()
    wrong = partner("refugio-sur", shelter.base)
    wrong["connector"]["base_url"] += "/nowhere"
    await register(path.admin, "refugio-sur", wrong)
    path.parts.partners.forget()
    await path.deliver()
    assert (await path.tasks(ref))[0][1] == "held"
    await register(path.admin, "refugio-sur", partner("refugio-sur", shelter.base))
    path.parts.partners.forget()
    gateway, one = path.pools["gateway"], await task_id(path, ref)
    held = await gateway.fetch("select * from delivery.held_tasks(50)")
    assert (one, "partner-404") in [(r["task_id"], r["rule"]) for r in held]
    assert await gateway.fetchval("select delivery.mend($1)", one)
    assert not await gateway.fetchval("select delivery.mend($1)", one)
    await path.deliver()
    assert (await path.state(ref)).status == "delivered"


async def test_a_held_delivery_can_be_given_up_and_the_sender_sees_it(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    await path.pump()
    one = await task_id(path, ref)
    await path.admin.execute("update delivery.task set state = 'held' where task_id = $1", one)
    assert await path.pools["gateway"].fetchval("select delivery.give_up($1)", one)
    await path.admin.execute("update delivery.task set ended_at = now() - interval '5 seconds'")
    await sweep(path.parts)
    assert (await path.state(ref)).status == "delivery_failed"


async def test_answers_of_a_partner_that_is_asked_move_the_referral(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    await path.deliver()
    own = await path.admin.fetchval("select alias from delivery.alias where referral_ref=$1", ref)
    task = next(
        t for t in held_by(shelter, "Task").values() if t["identifier"][0]["value"] == str(own)
    )
    client = path.parts.links.client(await path.parts.partners.get("refugio-sur"))
    token = await client._bearer()
    async with aiohttp.ClientSession(headers={"Authorization": token}) as session:
        url = f"{shelter.base}/fhir/Task/{task['id']}"
        async with session.put(url, json={**task, "status": "accepted"}) as answer:
            assert answer.status < 300
    await poll(path.parts)
    await poll(path.parts)
    state = await path.state(ref)
    assert (state.status, state.version) == ("accepted", 3)


async def test_a_recipient_reads_under_a_grant_and_others_learn_nothing(
    path: Path, shelter: Shelter
) -> None:
    ref = await path.request()
    await path.deliver()
    reads = Reads(path.parts)
    asked = ReadRequest(referral_ref=ref, org="refugio-sur", resource="Patient")
    stranger = ReadRequest(referral_ref=ref, org="ong-ajena", resource="Patient")
    mine, theirs = await reads.read([asked, stranger])
    assert mine.rule == "released"
    assert orjson.loads(mine.resource or b"{}")["resourceType"] == "Patient"
    assert (theirs.rule, theirs.resource) == ("not-found", None)
    await path.withdraw(ref)
    (after,) = await reads.read([asked])
    assert (after.rule, after.resource) == ("withdrawn", None)
    assert await path.intents(ref) == ["disclosed", "disclosed"]


async def test_nothing_is_claimed_while_the_vault_is_down(path: Path, shelter: Shelter) -> None:
    ref = await path.request()
    await path.pump()
    path.vault.down = True
    assert await path.worker.turn() == 0
    assert (await path.tasks(ref))[0][1] == "queued"
    path.vault.down = False
    await path.deliver()
    assert (await path.state(ref)).status == "delivered"


async def test_an_older_doubt_does_not_hide_that_the_last_attempt_was_released(
    path: Path, shelter: Shelter
) -> None:
    await behave(shelter, fault="cut_before", fault_calls=1)
    ref = await path.request()
    await path.deliver(rounds=1)
    await hurry(path)

    await die_at(path, "delivery.released")
    await path.admin.execute("update delivery.task set claimed_until = now()")
    await sweep(path.parts)
    assert await path.intents(ref) == ["unknown", "unknown"]
    await path.deliver()
    assert "disclosed" in await path.intents(ref)
    assert len(effects(shelter, await task_id(path, ref))) == 1


async def test_two_workers_take_each_delivery_once_and_keep_the_cap(
    path: Path, shelter: Shelter
) -> None:
    await behave(shelter, slow_ms=60)
    refs = [await path.request() for _ in range(30)]
    await path.pump()
    other, most = Worker(path.parts), 0
    claimed = (
        "select count(*) from delivery.task where state = 'claimed' and to_org = 'refugio-sur'"
    )
    for _ in range(80):
        await asyncio.gather(path.worker.turn(), other.turn())
        most = max(most, await path.admin.fetchval(claimed))
        await asyncio.sleep(0.03)
    await path.deliver()
    assert {(await path.state(ref)).status for ref in refs} == {"delivered"}
    assert [len(effects(shelter, await task_id(path, ref))) for ref in refs] == [1] * 30
    assert 0 < most <= 8, "the partner's cap holds over both"
