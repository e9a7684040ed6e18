"""Delivery to a real FHIR server in another process: order, doubt, withdrawal, erasure."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path as Folder
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest

from connectors.sdk.types import Case as Facts
from connectors.sdk.types import Name, Person, Telecom, split
from services.delivery import store
from services.delivery.poller import poll
from services.delivery.reads import Reads
from services.delivery.sweeps import sweep
from services.delivery.worker import Worker
from services.kit.ports import ReadRequest
from services.kit.steps import OBSERVERS
from tests.integration.test_sandbox_shelter import Shelter
from tests.support.path import CATEGORIES, Path, consent_of, partner, register, running_path
from tests.support.servers import Databases

PERSON = Person(
    names=(Name(family="Quispe", given=("Ayelén",)),),
    sex="female",
    age_band="age_26_40",
    country="COL",
    telecom=(Telecom(system="phone", value="+57 300 555 0142"),),
)


@pytest.fixture(scope="module")
def shelter(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Shelter(Folder(tmp_path_factory.mktemp("shelter")))
    made.start()
    yield made
    made.kill()


@pytest.fixture
async def path(pg: Databases, shelter: Shelter) -> AsyncIterator[Path]:
    async with running_path(pg, shelter.hub_key.read_bytes()) as made:
        await register(made.admin, "ong-norte", partner("ong-norte", "http://127.0.0.1:9"))
        await register(made.admin, "refugio-sur", partner("refugio-sur", shelter.base))
        made.vault.record = split(PERSON, Facts(risk_level="high"))
        await behave(
            shelter, fault="", fault_calls=0, slow_ms=0, erasure_after_ms=0, honours_not_after=True
        )
        yield made


async def behave(shelter: Shelter, **wanted: Any) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            try:
                async with session.post(f"{shelter.base}/_control", json=wanted) as answer:
                    assert answer.status == 200
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


def held_by(shelter: Shelter, kind: str) -> dict[str, dict[str, Any]]:
    """Resources of the partner's store by id, after its whole journal."""
    found: dict[str, dict[str, Any]] = {}
    record: Any
    for record in shelter.journal("effect") + shelter.journal("answer"):
        for resource in record["resources"]:
            if resource["resourceType"] == kind:
                found[resource["id"]] = resource
    for record in shelter.journal("erasure"):
        for removed_kind, rid in record["removed"]:
            if removed_kind == kind:
                found.pop(rid, None)
    return found


def effects(shelter: Shelter, key: Any) -> list[Any]:
    return [r for r in shelter.journal("effect") if r["key"] == str(key)]


async def task_id(path: Path, ref: Any, kind: str = "content") -> Any:
    return await path.admin.fetchval(
        "select task_id from delivery.task where referral_ref=$1 and kind=$2 order by seq limit 1",
        ref,
        kind,
    )


async def hurry(path: Path) -> None:
    """Let every waiting retry be due now."""
    await path.admin.execute("update delivery.task set next_at = now() where state = 'queued'")


class Killed(BaseException):
    """What a delivery dies of at a step."""


async def die_at(path: Path, step: str) -> None:
    """One turn of the worker, in which every delivery ends at this step and records nothing."""

    def observer(name: str) -> None:
        if name == step:
            raise Killed

    OBSERVERS.append(observer)
    try:
        await path.worker.turn()
        await asyncio.gather(*path.worker._running, return_exceptions=True)
    finally:
        OBSERVERS.remove(observer)


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
    assert (after.rule, after.resource) == ("suppressed", None)
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
