"""The vault on PostgreSQL: whose record, which version, which key, and what a grant lets out."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from services.kit import rpc
from services.kit.ports.vault import (
    Grant,
    KeyQuery,
    Lookup,
    OpeningRequest,
    PutItem,
    PutResult,
    ReleaseResult,
)
from services.vault import key_rows
from services.vault.keystore import KeyName
from tests.integration.vault_world import (
    ORIGINAL,
    PURPOSE,
    SECRET_NAME,
    World,
    grant,
    item,
    make_world,
    record,
    sign,
)
from tests.support.servers import Databases


@pytest.fixture
async def world(pg: Databases, tmp_path: Path) -> AsyncIterator[World]:
    made = await make_world(pg.dsn("vault", pg.vault), tmp_path)
    yield made
    await made.pool.close()


async def put(world: World, one: Any) -> PutResult:
    (result,) = await world.vault.put([one])
    return result


async def release(world: World, *grants: Grant) -> list[ReleaseResult]:
    return await world.vault.release(sign(world, grants))


async def kill(world: World, one: Any, version: int = 1, purpose: str = PURPOSE) -> list[KeyName]:
    async with world.pool.acquire() as conn, conn.transaction():
        return await key_rows.kill_keys(conn, [KeyName(one.case_ref, purpose, version)])


# --- putting ------------------------------------------------------------------------------------


async def test_the_same_person_of_an_organisation_is_one_subject_and_versions_count_up(
    world: World,
) -> None:
    first = item()
    again = item(identifiers=first.identifiers, case_ref=first.case_ref)
    elsewhere = item(identifiers=first.identifiers, org="ong-este")
    one, two, other = [await put(world, i) for i in (first, again, elsewhere)]
    assert (one.vault_version, two.vault_version) == (1, 2)
    assert one.subject_ref == two.subject_ref != other.subject_ref
    assert one.keys == two.keys
    lookups = [
        Lookup(org="ong-norte", identifiers=first.identifiers),
        Lookup(org="ong-sur", identifiers=first.identifiers),
        Lookup(org="ong-norte", identifiers=()),
    ]
    assert await world.vault.resolve(lookups) == [one.subject_ref, None, None]


async def test_two_calls_at_once_with_a_new_person_make_one_subject(world: World) -> None:
    for _ in range(5):
        first = item()
        others = [item(identifiers=first.identifiers) for _ in range(5)]
        results = await asyncio.gather(*(put(world, one) for one in (first, *others)))
        assert len({result.subject_ref for result in results}) == 1


async def test_calls_at_once_for_the_same_cases_do_not_deadlock_or_repeat_a_version(
    world: World,
) -> None:
    cases = [uuid4() for _ in range(8)]
    people = [item().identifiers for _ in range(8)]

    def batch(turn: int) -> list[PutItem]:
        order = cases[turn:] + cases[:turn]
        names = people[turn:] + people[:turn]
        return [item(case_ref=c, identifiers=p) for c, p in zip(order, names, strict=True)]

    results = await asyncio.gather(*(world.vault.put(batch(turn)) for turn in range(8)))
    by_case: dict[UUID, list[int]] = {}
    for turn, answers in enumerate(results):
        for case, answer in zip(cases[turn:] + cases[:turn], answers, strict=True):
            by_case.setdefault(case, []).append(answer.vault_version)
    assert all(sorted(versions) == list(range(1, 9)) for versions in by_case.values())


async def test_an_attempt_that_comes_twice_is_stored_once(world: World) -> None:
    one = item()
    assert await put(world, one) == await put(world, one)
    both = await world.vault.put([one, one])
    assert both[0] == both[1]
    assert (
        await world.pool.fetchval(
            "select count(*) from vault.version where case_ref = $1", one.case_ref
        )
        == 1
    )


async def test_an_attempt_decided_anew_replaces_what_it_stored(world: World) -> None:
    one = item()
    await put(world, one)
    moved = replace(one, case_ref=uuid4(), key_versions=((PURPOSE, 2),))
    result = await put(world, moved)
    assert (result.vault_version, [k.version for k in result.keys]) == (1, [2])
    left = await world.pool.fetch(
        "select case_ref from vault.version where attempt = $1", one.attempt
    )
    assert [row["case_ref"] for row in left] == [moved.case_ref]


async def test_another_person_than_the_caller_saw_stores_nothing(world: World) -> None:
    one = item()
    first = await put(world, one)
    other = item(identifiers=one.identifiers, subject_seen=uuid4())
    result = await put(world, other)
    assert (result.rule, result.subject_changed) == ("subject-changed", True)
    assert (result.subject_ref, result.vault_version) == (first.subject_ref, 0)
    better = await put(world, replace(other, subject_seen=first.subject_ref))
    assert (better.rule, better.vault_version) == (None, 1)


async def test_identifiers_of_two_people_are_refused(world: World) -> None:
    one, two = item(), item()
    await world.vault.put([one, two])
    both = item(identifiers=(*one.identifiers, *two.identifiers))
    assert (await put(world, both)).rule == "subject-conflict"
    lookup = Lookup(org="ong-norte", identifiers=both.identifiers)
    assert await world.vault.resolve([lookup]) == [None]


async def test_a_dead_key_version_is_never_made_again(world: World) -> None:
    one = item()
    await put(world, one)
    assert await kill(world, one, version=3) == [KeyName(one.case_ref, PURPOSE, 1)]
    assert await kill(world, one, version=3) == []
    for version in (1, 2, 3):
        late = item(case_ref=one.case_ref, key_versions=((PURPOSE, version),))
        assert (await put(world, late)).rule == "key-dead"
    assert (await put(world, one)).rule == "key-dead"
    new = item(case_ref=one.case_ref, key_versions=((PURPOSE, 4),))
    result = await put(world, new)
    assert (result.rule, result.vault_version) == (None, 2)
    queries = [KeyQuery(case_ref=one.case_ref, purpose=PURPOSE, version=v) for v in (None, 1, 4, 9)]
    found = await world.vault.keys(queries)
    assert [k and k.version for k in found] == [4, None, 4, None]
    assert found[0] == result.keys[0]


async def test_one_refused_record_of_a_batch_leaves_the_others_stored(world: World) -> None:
    dead, good = item(), item()
    await kill(world, dead)
    results = await world.vault.put([dead, good])
    assert [r.rule for r in results] == ["key-dead", None]
    again = await put(world, replace(dead, key_versions=((PURPOSE, 2),)))
    assert again.rule is None


async def test_what_is_forgotten_leaves_nothing_and_its_attempt_does_not_wake_up(
    world: World,
) -> None:
    gone, kept, never = item(), item(), uuid4()
    await world.vault.put([gone, kept])
    assert await world.vault.keep([kept.attempt, never]) == [True, False]
    answers = await world.vault.forget([gone.attempt, kept.attempt, never])
    assert answers == [True, False, True]
    lookups = [Lookup(org="ong-norte", identifiers=i.identifiers) for i in (gone, kept)]
    unknown, known = await world.vault.resolve(lookups)
    assert unknown is None
    assert known is not None
    assert (await put(world, gone)).rule == "attempt-forgotten"
    assert (await put(world, kept)).vault_version == 1
    assert (
        await world.pool.fetchval(
            "select count(*) from vault.identifier where not exists"
            " (select from vault.version v where v.subject_ref = identifier.subject_ref)"
        )
        == 0
    )


# --- letting out --------------------------------------------------------------------------------


async def test_a_grant_lets_out_its_categories_under_the_recipients_own_name(world: World) -> None:
    one = item()
    result = await put(world, one)
    core, identity, other = await release(
        world,
        grant(one, 1),
        grant(one, 1, categories=("identity",)),
        grant(one, 1, to_org="ong-este"),
    )
    assert orjson.loads(core.content or b"") == {"person": {"sex": "female", "country": "COL"}}
    named = orjson.loads(identity.content or b"")["person"]
    assert set(named) == {"identifiers", "names", "birth_date"}
    assert core.pseudonym == identity.pseudonym != other.pseudonym
    assert core.patient_id == identity.patient_id != other.patient_id
    for answer in (core, identity, other):
        assert answer.rule == "released"
        assert ORIGINAL.encode() not in (answer.content or b"")
        assert str(result.subject_ref) not in repr(answer)
        assert SECRET_NAME not in repr(answer)


async def test_a_grant_is_used_once_even_when_asked_twice_at_once(world: World) -> None:
    one = item()
    await put(world, one)
    asked = grant(one, 1)
    answers = await asyncio.gather(*(release(world, asked, asked) for _ in range(4)))
    rules = sorted(result.rule for batch in answers for result in batch)
    assert rules == ["grant-used"] * 7 + ["released"]
    unused = uuid4()
    used, not_used = await world.vault.grants([asked.grant_ref, unused])
    assert used.used_at is not None
    assert not_used.used_at is None


async def test_what_a_grant_cannot_open_does_not_use_it_up(world: World) -> None:
    one = item(key_versions=((PURPOSE, 1), ("legal_assistance", 1), ("statistics", 1)))
    await put(world, one)
    await kill(world, one)
    asked = [
        (grant(one, 1), "key-dead"),
        (grant(one, 2), "version-unknown"),
        (grant(item(), 1), "version-unknown"),
        (grant(one, 1, purpose="statistics"), "key-dead"),
        (grant(one, 1, purpose="family_tracing"), "key-dead"),
        (grant(one, 1, purpose="legal_assistance", key_version=2), "key-dead"),
        (grant(one, 1, purpose="legal_assistance"), "released"),
    ]
    results = await release(world, *(g for g, _ in asked))
    assert [r.rule for r in results] == [rule for _, rule in asked]
    assert all((r.content is None) == (r.rule != "released") for r in results)
    states = await world.vault.grants([g.grant_ref for g, _ in asked])
    assert [s.used_at is not None for s in states] == [rule == "released" for _, rule in asked]


async def test_the_deadline_is_tested_again_after_the_use_is_recorded(world: World) -> None:
    one = item()
    await put(world, one)
    asked = grant(one, 1)
    times = iter([timedelta(), timedelta(seconds=3)])
    real = world.vault._clock
    world.vault._clock = lambda: real() + next(times)
    (result,) = await release(world, asked)
    world.vault._clock = real
    assert (result.rule, result.content) == ("grant-late", None)
    (state,) = await world.vault.grants([asked.grant_ref])
    assert state.used_at is not None


async def test_a_service_is_shown_only_so_many_people_in_a_minute(
    pg: Databases, tmp_path: Path
) -> None:
    world = await make_world(pg.dsn("vault", pg.vault), tmp_path, people_per_minute=3)
    one = item()
    await put(world, one)
    rules = [r.rule for r in await release(world, *(grant(one, 1) for _ in range(5)))]
    assert rules == ["released"] * 3 + ["quota"] * 2
    assert [r.rule for r in await release(world, grant(one, 1))] == ["quota"]
    await world.pool.close()


async def test_an_identity_opens_once_for_two_people_of_two_organisations(world: World) -> None:
    one = item()
    await put(world, one)
    request = OpeningRequest(
        opening_ref=uuid4(),
        case_ref=one.case_ref,
        reason_code="court_order",
        approvers=(("ana", "ong-norte"), ("luis", "refugio-sur")),
        leaf_ref=uuid4(),
    )
    alone = replace(request, approvers=(("ana", "ong-norte"), ("eva", "ong-norte")))
    early, refused = await world.vault.open([request, alone])
    assert (early.rule, refused.rule) == ("version-unknown", "approvals")
    await world.vault.keep([one.attempt])
    first, second = await world.vault.open([request, request])
    assert (first.rule, second.rule) == ("released", "opening-used")
    shown = orjson.loads(first.content or b"")
    assert shown["person"]["names"] == [{"text": SECRET_NAME}]
    assert set(shown) == {"person"}
    assert set(shown["person"]) == {"identifiers", "names", "birth_date"}


def copy_of(case_ref: UUID, **changes: Any) -> OpeningRequest:
    made = OpeningRequest(
        opening_ref=uuid4(),
        case_ref=case_ref,
        reason_code="subject_access",
        approvers=(("ana", "ong-norte"), ("luis", "refugio-sur")),
        leaf_ref=uuid4(),
    )
    return replace(made, **changes)


async def test_a_whole_record_is_copied_once_in_every_accepted_version(world: World) -> None:
    one = item()
    again = replace(one, attempt=uuid4(), record=record("Corrected Invented"))
    sleeper = replace(one, attempt=uuid4(), record=record("Never Accepted"))
    for each in (one, again, sleeper):
        await put(world, each)
    early, reason, alone = await world.vault.copy(
        [
            copy_of(one.case_ref),
            copy_of(one.case_ref, reason_code="court_order"),
            copy_of(one.case_ref, approvers=(("ana", "ong-norte"), ("eva", "ong-norte"))),
        ]
    )
    assert (early.rule, reason.rule, alone.rule) == ("version-unknown", "reason", "approvals")
    await world.vault.keep([one.attempt, again.attempt])
    request = copy_of(one.case_ref)
    first, second = await world.vault.copy([request, request])
    assert (first.rule, second.rule, second.versions) == ("released", "opening-used", ())
    assert [v.vault_version for v in first.versions] == [1, 2]
    kept = [orjson.loads(v.record or b"") for v in first.versions]
    assert [r["split"]["identity"]["person"]["names"] for r in kept] == [
        [{"text": SECRET_NAME}], [{"text": "Corrected Invented"}],
    ]  # fmt: skip
    assert kept[0]["originals"] == {"requisition": [ORIGINAL]}
    assert SECRET_NAME not in repr(first)


async def test_a_copy_says_which_versions_nobody_can_read_and_counts_other_cases(
    world: World,
) -> None:
    one = item()
    other = replace(one, attempt=uuid4(), case_ref=uuid4())
    for each in (one, other):
        await put(world, each)
    await world.vault.keep([one.attempt, other.attempt])
    async with world.pool.acquire() as conn, conn.transaction():
        await key_rows.kill_keys(conn, [KeyName(one.case_ref, PURPOSE, 1)])
    (dead,) = await world.vault.copy([copy_of(one.case_ref)])
    assert (dead.rule, [v.record for v in dead.versions]) == ("released", [None])
    assert dead.other_cases == 1


async def test_a_service_may_call_its_own_methods_only(world: World) -> None:
    one = item()
    for caller, allowed in (("delivery", False), ("referral", False), ("gateway", True)):
        token = rpc._CALLER.set(caller)
        try:
            if allowed:
                assert (await put(world, one)).rule is None
                with pytest.raises(PermissionError):
                    await release(world, grant(one, 1))
            else:
                with pytest.raises(PermissionError):
                    await put(world, one)
        finally:
            rpc._CALLER.reset(token)


async def test_a_full_batch_works_and_a_larger_one_is_refused(world: World) -> None:
    items = [item() for _ in range(64)]
    results = await world.vault.put(items)
    grants = [grant(i, r.vault_version) for i, r in zip(items, results, strict=True)]
    assert {r.rule for r in await release(world, *grants)} == {"released"}
    with pytest.raises(ValueError, match="too many"):
        await world.vault.put([item() for _ in range(65)])
