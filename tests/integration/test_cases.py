"""Cases on the native surface: read, closed for a reason, opened again, on a whole hub."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from connectors.sandbox.people import person
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
    assert (status, told(body)[0][:2]) == (409, ("conflict", "expected-version"))
    assert (await read(world, path))["version"] == 2


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
