"""Cases on the native surface: read, closed for a reason, opened again, on a whole hub."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from schemas import decode, frame
from services.gateway.cases.models import CaseView
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, whole

SOURCE, RECIPIENT = "ong-norte", "refugio-sur"
PEOPLE = iter(range(4_300_000, 4_400_000))
CLOSE = {"command": "close", "expected_version": 1, "closure_reason": "plan_completed"}
REOPEN = {"command": "reopen", "expected_version": 2}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with whole(settings, pg.admin_dsn) as made:
        yield made


async def case_of(world: World, who: Any) -> str:
    """The address of the case of a new referral of somebody, without a case number."""
    ids = await world.refer(person=who, requisition=None)
    status, consent, _ = await world.call("GET", f"/v1/consents/{ids['Consent']}", SOURCE)
    assert status == 200, consent
    return f"/v1/cases/{consent['case']}"


async def read(world: World, path: str) -> dict[str, Any]:
    status, body, _ = await world.call("GET", path, SOURCE)
    assert status == 200, body
    CaseView.model_validate(body)
    return dict(body)


async def command(
    world: World, path: str, body: Any, org: str = SOURCE, **headers: str
) -> tuple[int, Any]:
    status, answer, _ = await world.call(
        "POST", f"{path}/commands", org, body, Content_Type="application/json", **headers
    )
    return status, answer


def told(answer: Any) -> list[tuple[str, str, str]]:
    return [(f["code"], f["rule"], f["field"]) for f in answer["faults"]]


async def test_a_case_closes_for_a_reason_and_opens_again(world: World) -> None:
    path = await case_of(world, person(next(PEOPLE)))
    assert (await read(world, path))["version"] == 1
    status, body = await command(world, path, CLOSE)
    assert (status, body["status"], body["closure_reason"]) == (200, "closed", "plan_completed")
    status, body = await command(world, path, REOPEN)
    assert (status, body["status"], body["version"]) == (200, "open", 3)
    assert "closure_reason" not in await read(world, path)


async def test_a_repeat_under_one_key_changes_nothing(world: World) -> None:
    path = await case_of(world, person(next(PEOPLE)))
    first = await command(world, path, CLOSE, Idempotency_Key="close-once")
    assert await command(world, path, CLOSE, Idempotency_Key="close-once") == first
    other = CLOSE | {"closure_reason": "moved"}
    status, body = await command(world, path, other, Idempotency_Key="close-once")
    assert (status, told(body)[0][:2]) == (409, ("duplicate", "other-content"))
    status, body = await command(world, path, other)
    assert (status, told(body)[0][:2]) == (409, ("conflict", "expected-version"))
    assert (await command(world, path, REOPEN))[0] == 200
    assert await command(world, path, CLOSE, Idempotency_Key="close-once") == first
    assert (await read(world, path))["status"] == "open"


async def test_what_was_refused_leaves_its_key_free(world: World) -> None:
    path = await case_of(world, person(next(PEOPLE)))
    early = REOPEN | {"expected_version": 1}
    assert (await command(world, path, early, Idempotency_Key="once"))[0] == 422
    assert (await command(world, path, CLOSE, Idempotency_Key="once"))[0] == 200


async def happened(world: World, path: str) -> tuple[list[Any], list[str]]:
    """Events of a case's changes as they stand on the log, and kinds of their leaves."""
    case_ref = await world.admin.fetchval(
        "select target from gateway.alias where alias = $1::uuid", path.rpartition("/")[2]
    )
    rows = await world.admin.fetch(
        "select schema_id, seq, body, facts, stats_facts from bus.event"
        " where key = $1 and type in ('case.updated', 'case.closed') order by seq",
        case_ref,
    )
    leaves = await world.admin.fetch(
        "select kind from custody.leaf where case_ref = $1 and kind like 'case%' order by id",
        case_ref,
    )
    return [decode(frame(*row)) for row in rows], [row["kind"] for row in leaves]


async def test_each_change_is_an_event_and_a_leaf(world: World) -> None:
    path = await case_of(world, person(next(PEOPLE)))
    assert (await command(world, path, CLOSE))[0] == 200
    assert (await command(world, path, REOPEN))[0] == 200
    events, leaves = await happened(world, path)
    seen = [(event.event_type, event.version, event.case_status) for event in events]
    assert seen == [("case.closed", 2, "closed"), ("case.updated", 3, "open")]
    assert leaves == ["case_closed", "case_updated"]


async def test_a_case_entered_in_error_takes_its_open_referrals_along(world: World) -> None:
    who = person(next(PEOPLE))
    ids = await world.refer(person=who, requisition=None)
    await world.task_of(ids)
    path = await case_of(world, who)
    wrong = {"command": "mark_error", "expected_version": 1}
    status, body = await command(world, path, wrong)
    assert (status, body["status"]) == (200, "entered_in_error")
    for _ in range(200):
        _, task, _ = await world.call("GET", f"/fhir/Task/{ids['Task']}", SOURCE)
        if task["status"] == "entered-in-error":
            break
        await asyncio.sleep(0.05)
    assert task["status"] == "entered-in-error"
    assert await case_of(world, who) != path
    status, body = await command(world, path, REOPEN)
    assert (status, told(body)[0][:2]) == (422, ("illegal-transition", "from-state"))


async def test_after_closing_the_next_referral_opens_a_new_case(world: World) -> None:
    who = person(next(PEOPLE))
    path = await case_of(world, who)
    assert await case_of(world, who) == path
    assert (await command(world, path, CLOSE))[0] == 200
    assert await case_of(world, who) != path
    status, body = await command(world, path, REOPEN)
    assert (status, told(body)[0][:2]) == (409, ("duplicate", "several-cases"))
    assert (await read(world, path))["status"] == "closed"


async def test_nobody_else_sees_or_closes_it(world: World) -> None:
    path = await case_of(world, person(next(PEOPLE)))
    assert (await world.call("GET", path, RECIPIENT))[0] in {403, 404}
    assert (await command(world, path, CLOSE, RECIPIENT))[0] in {403, 404}
    assert (await read(world, path))["status"] == "open"


@pytest.mark.parametrize(
    ("body", "code", "rule"),
    [
        (CLOSE | {"command": "burn"}, "code-invalid", "not-in-list"),
        (CLOSE | {"closure_reason": "bored"}, "code-invalid", "not-in-list"),
        ({"command": "close", "expected_version": 1}, "required", "element"),
        (CLOSE | {"expected_version": "1"}, "structure", "wrong-type"),
        (CLOSE | {"expected_version": 9}, "conflict", "expected-version"),
        (CLOSE | {"person": {}}, "structure", "unknown-element"),
        (REOPEN | {"expected_version": 1}, "illegal-transition", "from-state"),
    ],
)
async def test_what_is_wrong_is_named(world: World, body: Any, code: str, rule: str) -> None:
    path = await case_of(world, person(next(PEOPLE)))
    status, answer = await command(world, path, body)
    assert status in {400, 409, 422}, answer
    assert [one[:2] for one in told(answer)] == [(code, rule)]
    assert (await read(world, path))["version"] == 1
