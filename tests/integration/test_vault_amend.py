"""Records put right in the vault: versions under the same live keys, and who is known by what."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from services.kit import rpc
from services.kit.ports.vault import AmendItem, AmendResult, Lookup, PutItem
from services.vault import key_rows
from services.vault.keystore import KeyName
from tests.integration.vault_world import PURPOSE, SECRET_NAME, World, grant, item, make_world, sign
from tests.support.servers import Databases

OTHER = "legal_assistance"
NEW_NAME: dict[str, Any] = {"names": [{"text": "Rightly Invented"}]}
DOCUMENT = ("urn:doc:col", "CC-79900111")


@pytest.fixture
async def world(pg: Databases, tmp_path: Path) -> AsyncIterator[World]:
    made = await make_world(pg.dsn("vault", pg.vault), tmp_path)
    yield made
    await made.pool.close()


async def put(world: World, *items: PutItem) -> list[int]:
    """Accepted records; answers their versions."""
    results = await world.vault.put(items)
    assert [result.rule for result in results] == [None] * len(items)
    await world.vault.keep([one.attempt for one in items])
    return [result.vault_version for result in results]


async def amend(
    world: World, one: PutItem, *, kept: bool = True, removed: tuple[str, ...] = (), **person: Any
) -> AmendResult:
    said = {"person": person, "case": {}, "removed": removed, "today": "2026-03-01"}
    asked = AmendItem(
        attempt=uuid4(), org=one.org, case_ref=one.case_ref, changes=orjson.dumps(said)
    )
    (result,) = await world.vault.amend([asked])
    if kept:
        await world.vault.keep([asked.attempt])
    elif result.amended:
        await world.vault.forget([asked.attempt])
    return result


async def name_in(world: World, one: PutItem, version: int, **changes: Any) -> str | None:
    """The name that a grant for this version lets out; None where it lets nothing out."""
    asked = grant(one, version, categories=("identity",), **changes)
    (given,) = await world.vault.release(sign(world, [asked]))
    if given.content is None:
        return None
    return str(orjson.loads(given.content)["person"]["names"][0]["text"])


def pairs(result: AmendResult) -> list[tuple[int, int]]:
    return [(one.first_version, one.vault_version) for one in result.amended]


async def test_each_record_has_a_version_of_its_own_under_its_own_keys(world: World) -> None:
    one = item()
    other = item(case_ref=one.case_ref, identifiers=one.identifiers, key_versions=((OTHER, 1),))
    assert await put(world, one, other) == [1, 2]
    result = await amend(world, one, **NEW_NAME)
    assert pairs(result) == [(1, 3), (2, 4)]
    assert result.changed == ("person.names",)
    assert [key.purpose for key in result.keys] == [OTHER, PURPOSE]
    assert await name_in(world, one, 1) == SECRET_NAME
    assert await name_in(world, one, 3) == "Rightly Invented"
    assert await name_in(world, one, 4) is None, "another purpose's record"
    assert await name_in(world, one, 4, purpose=OTHER) == "Rightly Invented"
    assert pairs(await amend(world, one, names=[{"text": "Again"}])) == [(1, 5), (2, 6)]


async def test_what_is_right_already_makes_no_version(world: World) -> None:
    one = item()
    await put(world, one)
    result = await amend(world, one, names=[{"text": SECRET_NAME}])
    assert (result.amended, result.changed, result.rule) == ((), (), None)


async def test_what_was_never_accepted_is_not_what_is_changed(world: World) -> None:
    one = item()
    await put(world, one)
    assert pairs(await amend(world, one, kept=False, **NEW_NAME)) == [(1, 2)]
    result = await amend(world, one, telecom=[{"system": "phone", "value": "+571"}])
    assert pairs(result) == [(1, 3)]
    assert await name_in(world, one, 2) is None
    assert await name_in(world, one, 3) == SECRET_NAME


async def test_a_dead_key_takes_its_records_out_of_reach(world: World) -> None:
    one = item()
    other = item(case_ref=one.case_ref, identifiers=one.identifiers, key_versions=((OTHER, 1),))
    await put(world, one, other)
    async with world.pool.acquire() as conn, conn.transaction():
        await key_rows.kill_keys(conn, [KeyName(one.case_ref, PURPOSE, 1)])
    assert pairs(await amend(world, one, **NEW_NAME)) == [(2, 3)]
    async with world.pool.acquire() as conn, conn.transaction():
        await key_rows.kill_keys(conn, [KeyName(one.case_ref, OTHER, 1)])
    assert (await amend(world, one, **NEW_NAME)).rule == "key-dead"


async def test_a_contradiction_is_named_and_nothing_stored(world: World) -> None:
    one = item()
    await put(world, one)
    result = await amend(world, one, is_minor=True)
    assert result.rule == "contradiction"
    assert result.faults == (("value-invalid", "person.is_minor", "contradiction"),)
    assert pairs(await amend(world, one, **NEW_NAME)) == [(1, 2)]


async def known(world: World, one: PutItem, identifier: tuple[str, str]) -> Any:
    (found,) = await world.vault.resolve([Lookup(org=one.org, identifiers=(identifier,))])
    return found


async def test_a_person_is_known_by_the_right_number_and_no_more_by_the_wrong(
    world: World,
) -> None:
    wrong, right = (DOCUMENT, ("urn:doc:col", uuid4().hex))
    one = item(org=f"ong-{uuid4().hex[:8]}", identifiers=(wrong,))
    await put(world, one)
    subject = await known(world, one, wrong)
    said = [{"system": right[0], "value": right[1]}]
    await amend(world, one, kept=False, identifiers=said)
    assert await known(world, one, wrong) == subject, "it was not accepted"
    await amend(world, one, identifiers=said)
    assert await known(world, one, right) == subject
    assert await known(world, one, wrong) is None
    other = replace(one, attempt=uuid4(), case_ref=uuid4())
    await put(world, other)
    assert await known(world, one, wrong) not in (None, subject), "somebody else"
    result = await amend(world, one, identifiers=[{"system": wrong[0], "value": wrong[1]}])
    assert result.rule == "subject-conflict"


async def test_an_attempt_that_was_here_changes_nothing(world: World) -> None:
    one = item()
    await put(world, one)
    said = {"person": NEW_NAME, "case": {}, "removed": (), "today": "2026-03-01"}
    asked = AmendItem(
        attempt=one.attempt, org=one.org, case_ref=one.case_ref, changes=orjson.dumps(said)
    )
    assert (await world.vault.amend([asked]))[0].rule == "attempt-forgotten"


async def test_no_other_service_may_amend(world: World) -> None:
    token = rpc._CALLER.set("delivery")
    try:
        with pytest.raises(PermissionError):
            await world.vault.amend([])
    finally:
        rpc._CALLER.reset(token)
