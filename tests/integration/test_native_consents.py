"""Consents on the native surface: read, renew, withdraw, on a hub with every service."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from services.gateway.consents.models import ConsentView, WithdrawalAnswer
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, whole

SOURCE, RECIPIENT = "ong-norte", "refugio-sur"
PEOPLE = iter(range(4_100_000, 4_200_000))
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with whole(settings, pg.admin_dsn) as made:
        yield made


async def refer(world: World) -> str:
    """A new referral; the address of its consent."""
    ids = await world.refer(person=person(next(PEOPLE)))
    return f"/v1/consents/{ids['Consent']}"


async def read(world: World, path: str) -> dict[str, Any]:
    status, body, _ = await world.call("GET", path, SOURCE)
    assert status == 200, body
    ConsentView.model_validate(body)
    return dict(body)


async def post(
    world: World, path: str, body: Any, org: str = SOURCE, **headers: str
) -> tuple[int, dict[str, Any]]:
    status, answer, _ = await world.call(
        "POST", path, org, body, Content_Type="application/json", **headers
    )
    return status, answer


def again(shown: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The body that gives a consent anew as it is shown, with changes."""
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    kept = ("notice", "language", "form", "giver", "legal_basis", "valid_to", "items")
    consent = {name: shown[name] for name in kept} | {"given_at": now, "valid_from": now}
    consent["items"] = [
        {n: v for n, v in item.items() if n != "valid_from"} for item in consent["items"]
    ]
    body = {"renews": shown["id"], "expected_version": shown["version"], "consent": consent}
    return body | changed


def told(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(f["code"], f["rule"], f["field"]) for f in answer["faults"]]


async def test_its_source_reads_it_with_an_entity_tag(world: World) -> None:
    path = await refer(world)
    status, body, headers = await world.call("GET", path, SOURCE)
    assert status == 200
    assert body["status"] == "given"
    assert {item["to_org"] for item in body["items"]} >= {RECIPIENT}
    again_status, _, _ = await world.call("GET", path, SOURCE, If_None_Match=headers["etag"])
    assert again_status == 304


async def test_nobody_else_reads_or_takes_it_back(world: World) -> None:
    path = await refer(world)
    assert (await world.call("GET", path, RECIPIENT))[0] in {403, 404}
    status, _ = await post(world, f"{path}/withdrawals", {}, RECIPIENT)
    assert status in {403, 404}
    assert (await read(world, path))["status"] == "given"


async def test_the_whole_is_taken_back_once(world: World) -> None:
    path = await refer(world)
    before = datetime.now(UTC)
    status, answer = await post(world, f"{path}/withdrawals", {"status": "revoked"})
    assert status == 201, answer
    WithdrawalAnswer.model_validate(answer)
    effective = datetime.fromisoformat(answer["effective_at"])
    assert before < effective < before + timedelta(seconds=8)
    assert (await read(world, path))["status"] == "revoked"
    status, answer = await post(world, f"{path}/withdrawals", {})
    assert (status, told(answer)) == (409, [("already-inactive", "consent", "consent")])


async def test_a_repeat_under_its_key_gets_the_first_answer(world: World) -> None:
    path = await refer(world)
    sent = [await post(world, f"{path}/withdrawals", {}, Idempotency_Key="w-1") for _ in "12"]
    assert sent[0][0] == sent[1][0] == 201
    assert sent[0][1] == sent[1][1]


async def test_a_part_is_taken_back_and_the_rest_stands(world: World) -> None:
    path = await refer(world)
    shown = await read(world, path)
    item = next(i for i in shown["items"] if "contact" in i["data_categories"])
    part = {"to_org": item["to_org"], "purpose": item["purpose"], "data_categories": ["contact"]}
    status, answer = await post(world, f"{path}/withdrawals", {"items": [part]})
    assert status == 201, answer
    left = (await read(world, path))["items"]
    assert "contact" not in {c for i in left for c in i["data_categories"]}
    status, answer = await post(world, f"{path}/withdrawals", {"items": [part]})
    assert (status, told(answer)) == (404, [("not-found", "consent-item", "items")])


async def test_it_is_given_anew_for_longer(world: World) -> None:
    path = await refer(world)
    shown = await read(world, path)
    body = again(shown)
    later = (datetime.fromisoformat(shown["valid_to"]) + timedelta(days=20)).isoformat()
    body["consent"]["valid_to"] = later
    for item in body["consent"]["items"]:
        item["valid_to"] = later
    status, answer = await post(world, "/v1/consents", body)
    assert status == 200, answer
    assert answer["version"] == shown["version"] + 1
    assert answer["status"] == "renewed"


async def test_one_with_less_withdraws_what_is_missing(world: World) -> None:
    path = await refer(world)
    body = again(await read(world, path))
    for item in body["consent"]["items"]:
        item["data_categories"] = [c for c in item["data_categories"] if c != "contact"]
    status, answer = await post(world, "/v1/consents", body)
    assert status == 200, answer
    assert "effective_at" in answer


async def test_more_needs_a_newer_date(world: World) -> None:
    shown = await read(world, await refer(world))
    body = again(shown)
    body["consent"]["given_at"] = shown["given_at"]
    later = (datetime.fromisoformat(shown["valid_to"]) + timedelta(days=20)).isoformat()
    body["consent"]["valid_to"] = later
    for item in body["consent"]["items"]:
        item["valid_to"] = later
    status, answer = await post(world, "/v1/consents", body)
    expected = [("consent-widening", "new-consent", "consent.items")]
    assert (status, told(answer)) == (422, expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"expected_version": 99}, (409, ("conflict", "expected-version", "expected_version"))),
        ({"expected_version": "1"}, (400, ("structure", "wrong-type", "expected_version"))),
        ({"renews": str(UUID(int=7))}, (404, ("not-found", "resource", ""))),
        ({"renews": "nobody"}, (400, ("structure", "bad-format", "renews"))),
        ({"other": 1}, (400, ("structure", "unknown-element", ""))),
    ],
)
async def test_a_renewal_that_does_not_fit_is_refused_by_name(
    world: World, change: dict[str, Any], expected: tuple[int, tuple[str, str, str]]
) -> None:
    body = again(await read(world, await refer(world)), **change)
    status, answer = await post(world, "/v1/consents", body)
    assert (status, told(answer)) == (expected[0], [expected[1]])


async def test_the_rules_of_a_renewal_are_those_of_the_first(world: World) -> None:
    body = again(await read(world, await refer(world)))
    body["consent"]["valid_to"] = "2099-01-01T00:00:00Z"
    body["consent"]["notice"] = "nobody-knows-this"
    status, answer = await post(world, "/v1/consents", body)
    assert status == 422
    assert {code for code, _, _ in told(answer)} == {"consent-period", "consent-notice"}
    assert all(field.startswith("consent.") for _, _, field in told(answer))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"status": "given"}, ("code-invalid", "not-in-list", "status")),
        ({"items": {}}, ("structure", "wrong-type", "items")),
        ({"items": []}, ("value-invalid", "item-count", "items")),
        (
            {"items": [{"purpose": "case_management", "data_categories": ["contact"]}]},
            ("required", "element", "items[0].to_org"),
        ),
        (
            {"items": [{"to_org": RECIPIENT, "purpose": "fun", "data_categories": ["contact"]}]},
            ("code-invalid", "not-in-list", "items[0].purpose"),
        ),
        ({"why": "x"}, ("structure", "unknown-element", "")),
    ],
)
async def test_a_withdrawal_that_cannot_be_read_is_refused_by_name(
    world: World, body: Any, expected: tuple[str, str, str]
) -> None:
    path = await refer(world)
    _, answer = await post(world, f"{path}/withdrawals", body)
    assert told(answer) == [expected]
    assert (await read(world, path))["status"] == "given"
