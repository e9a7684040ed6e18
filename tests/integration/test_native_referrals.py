"""Native referrals for both parties, with every service running on a real broker; one pulls."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from services.gateway.native.models import ReferralData, Timeline
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, whole

SOURCE, RECIPIENT = "ong-norte", "refugio-sur"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with whole(settings, pg.admin_dsn) as made:
        yield made


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def refer(world: World, number: int) -> tuple[str, str, dict[str, str]]:
    """The address of a new referral for sender and recipient, and the sender's ids."""
    ids = await world.refer(person=person(number))
    mine, theirs = await world.task_of(ids), await world.task_of(ids, RECIPIENT)
    return f"/v1/referrals/{mine['id']}", f"/v1/referrals/{theirs['id']}", ids


async def read(world: World, path: str, org: str) -> Any:
    status, body, _ = await world.call("GET", path, org)
    assert status == 200, body
    return body


async def post(
    world: World, path: str, org: str, body: Any, **headers: str
) -> tuple[int, dict[str, Any]]:
    status, answer, _ = await world.call(
        "POST", path, org, body, Content_Type="application/json", **headers
    )
    return status, answer


async def command(world: World, path: str, org: str, name: str, **more: Any) -> Any:
    """Give a command on the version of now; the answer must be 200."""
    key = more.pop("key", None)
    version = more.pop("version", None) or (await read(world, path, org))["version"]
    headers = {"Idempotency_Key": key} if key else {}
    sent = {"command": name, "expected_version": version, **more}
    status, body = await post(world, f"{path}/commands", org, sent, **headers)
    assert status == 200, body
    return body


async def refused(world: World, path: str, org: str, body: Any) -> tuple[int, str, str, str]:
    status, answer = await post(world, path, org, body)
    (fault,) = answer["faults"]
    return status, fault["code"], fault["rule"], fault["field"]


async def until(world: World, path: str, org: str, **wanted: Any) -> Any:
    for _ in range(200):
        body = await read(world, path, org)
        if all(body.get(name) == value for name, value in wanted.items()):
            return body
        await asyncio.sleep(0.05)
    raise AssertionError(body)


async def test_each_party_sees_its_own_view(world: World) -> None:
    mine, theirs, ids = await refer(world, 7101)
    sent, received = await read(world, mine, SOURCE), await read(world, theirs, RECIPIENT)
    assert (sent["side"], received["side"]) == ("sent", "received")
    assert sent["consent"] == ids["Consent"] != received["consent"]
    assert {"case", "service_type", "data_categories", "purpose"} <= set(sent)
    assert not {"case", "service_type", "data_categories", "purpose"} & set(received)
    assert received["data"] == f"{theirs}/data"
    assert "data" not in sent
    assert len(received["created"]) == len("2026-01-01")
    for path, org in ((mine, RECIPIENT), (theirs, SOURCE), (f"{mine}x", SOURCE)):
        assert (await world.call("GET", path, org))[0] == 404


async def test_an_unchanged_referral_is_not_sent_again(world: World) -> None:
    mine, theirs, _ = await refer(world, 7102)
    _, _, headers = await world.call("GET", mine, SOURCE)
    again = await world.call("GET", mine, SOURCE, If_None_Match=headers["etag"])
    assert again[0] == 304
    await command(world, theirs, RECIPIENT, "accept")
    assert (await world.call("GET", mine, SOURCE, If_None_Match=headers["etag"]))[0] == 200


async def test_lists_are_paged_and_filtered(world: World) -> None:
    for number in (7103, 7104, 7105):
        await refer(world, number)
    seen: list[str] = []
    path = "/v1/referrals?side=sent&limit=2"
    page = await read(world, path, SOURCE)
    while True:
        seen += [one["id"] for one in page["referrals"]]
        if "next" not in page:
            break
        page = await read(world, f"{path}&cursor={page['next']}", SOURCE)
    whole_list = await read(world, "/v1/referrals", SOURCE)
    assert len(seen) == len(set(seen)) >= 3
    assert seen == [one["id"] for one in whole_list["referrals"]]
    assert (await read(world, "/v1/referrals?side=received", SOURCE))["referrals"] == []
    since = whole_list["referrals"][-1]["updated_at"]
    newest = await read(world, f"/v1/referrals?updated_since={since}", SOURCE)
    assert [one["id"] for one in newest["referrals"]] == seen[-1:]
    assert (await read(world, "/v1/referrals?status=expired", SOURCE))["referrals"] == []
    first = await read(world, path, SOURCE)
    bad = (
        "side=zzqx", "status=zzqx", "limit=0", "limit=51", "updated_since=2026-01-01",
        "cursor=zzqx", "zzqx=1", "limit=1&limit=2",
    )  # fmt: skip
    for query in bad:
        status, body, _ = await world.call("GET", f"/v1/referrals?{query}", SOURCE)
        assert (status, body["faults"][0]["rule"]) == (400, "parameter"), query
        assert "zzqx" not in str(body)
    for other in (
        f"/v1/erasure-requests?cursor={first['next']}",
        f"/v1/referrals?cursor={first['next']}",
    ):
        assert (await world.call("GET", other, RECIPIENT))[0] == 400


async def test_the_recipient_reads_what_consent_covers(world: World) -> None:
    mine, theirs, _ = await refer(world, 7106)
    status, _, _ = await world.call("GET", f"{mine}/data", SOURCE)
    assert status == 404
    body = await read(world, f"{theirs}/data", RECIPIENT)
    data = ReferralData.model_validate_json(orjson.dumps(body))
    assert str(data.referral.id) == theirs.rpartition("/")[2]
    assert "contact" not in data.referral.data_categories
    assert data.person.telecom == ()
    assert body["referral"]["service_type"]
    assert (await until(world, theirs, RECIPIENT, status="delivered"))["version"] >= 2
    patient = await world.call("GET", f"/fhir/Patient/{data.person.id}", RECIPIENT)
    assert patient[0] == 200
    steps = (await read(world, f"{mine}/timeline", SOURCE))["steps"]
    assert "disclosure.made" in [one["type"] for one in steps]


async def test_a_referral_is_answered_to_its_end(world: World) -> None:
    mine, theirs, _ = await refer(world, 7107)
    await read(world, f"{theirs}/data", RECIPIENT)
    await until(world, theirs, RECIPIENT, status="delivered")
    for name, more, after in (
        ("start_review", {}, "under_review"),
        ("accept", {}, "accepted"),
        ("schedule", {}, "scheduled"),
        ("reschedule", {}, "scheduled"),
        ("appointment_missed", {"appointment_outcome": "no_show"}, "accepted"),
        ("start_service", {}, "in_progress"),
        ("pause", {"reason_code": "other"}, "on_hold"),
        ("resume", {}, "in_progress"),
    ):
        assert (await command(world, theirs, RECIPIENT, name, **more))["status"] == after
    body = await command(world, mine, SOURCE, "request_cancel", reason_code="other")
    assert body["status"] == "cancel_requested"
    body = await command(world, theirs, RECIPIENT, "refuse_cancel", reason_code="other")
    assert body["status"] == "in_progress"
    ended = await command(world, theirs, RECIPIENT, "complete", outcome="service_provided")
    assert (ended["status"], ended["outcome"]) == ("completed", "service_provided")
    steps = Timeline.model_validate(await read(world, f"{theirs}/timeline", RECIPIENT)).steps
    versions = [one.version for one in steps if one.version is not None]
    assert versions == sorted(versions)
    assert {one.type for one in steps} <= {
        "referral.sent", "referral.delivered", "referral.status_changed", "referral.completed",
        "disclosure.made",
    }  # fmt: skip


async def test_what_was_returned_is_sent_again(world: World) -> None:
    mine, theirs, _ = await refer(world, 7108)
    await read(world, f"{theirs}/data", RECIPIENT)
    await until(world, theirs, RECIPIENT, status="delivered")
    await command(world, theirs, RECIPIENT, "request_information", reason_code="other")
    assert (await command(world, mine, SOURCE, "resubmit"))["status"] == "sent"
    for _ in range(100):
        waiting = await world.admin.fetchval(
            "select count(*) from delivery.task t join gateway.alias a using (referral_ref)"
            " where a.alias = $1::uuid and t.kind = 'content' and t.state = 'queued' and t.again",
            mine.rpartition("/")[2],
        )
        if waiting:
            break
        await asyncio.sleep(0.05)
    assert waiting == 1
    await read(world, f"{theirs}/data", RECIPIENT)
    await until(world, theirs, RECIPIENT, status="delivered")


async def test_a_command_needs_its_version_its_codes_and_a_legal_move(world: World) -> None:
    mine, theirs, _ = await refer(world, 7109)
    version = (await read(world, theirs, RECIPIENT))["version"]
    good = {"command": "accept", "expected_version": version}
    path, other = f"{theirs}/commands", f"{mine}/commands"
    cases: list[tuple[Any, tuple[int, str, str, str]]] = [
        ({**good, "expected_version": version + 1},
         (409, "conflict", "expected-version", "expected_version")),
        ({**good, "command": "resume"}, (422, "illegal-transition", "from-state", "command")),
        ({**good, "command": "cancel", "reason_code": "other"},
         (422, "illegal-transition", "not-yours", "command")),
        ({**good, "command": "reject"}, (422, "reason-required", "status-reason", "reason_code")),
        ({**good, "command": "zzqx"}, (422, "code-invalid", "not-in-list", "command")),
        ({**good, "command": "expire"}, (422, "code-invalid", "not-in-list", "command")),
        ({**good, "command": "reject", "reason_code": "zzqx"},
         (422, "code-invalid", "not-in-list", "reason_code")),
        ({**good, "command": "complete", "outcome": "zzqx"},
         (422, "code-invalid", "not-in-list", "outcome")),
        ({**good, "command": "appointment_missed"},
         (422, "required", "element", "appointment_outcome")),
        ({"command": "accept"}, (422, "required", "element", "expected_version")),
        ({"expected_version": 1}, (422, "required", "element", "command")),
        ({**good, "expected_version": "1"},
         (400, "structure", "wrong-type", "expected_version")),
        ({**good, "reason_code": None}, (400, "structure", "null-value", "reason_code")),
        ({**good, "zzqx": 1}, (400, "structure", "unknown-element", "")),
    ]  # fmt: skip
    for body, expected in cases:
        assert await refused(world, path, RECIPIENT, body) == expected, body
    assert (await refused(world, other, SOURCE, good))[2] == "not-yours"
    assert (await refused(world, other, RECIPIENT, good))[0] == 404
    assert (await read(world, theirs, RECIPIENT))["version"] == version
    await command(world, theirs, RECIPIENT, "accept")
    assert (
        await refused(
            world, path, RECIPIENT, {"command": "complete", "expected_version": version + 1}
        )
    )[1:] == ("outcome-required", "output", "outcome")


async def test_a_command_repeated_under_one_key_changes_nothing(world: World) -> None:
    _, theirs, _ = await refer(world, 7110)
    version = (await read(world, theirs, RECIPIENT))["version"]
    first = await command(world, theirs, RECIPIENT, "accept", version=version, key="k-1")
    again = await command(world, theirs, RECIPIENT, "accept", version=version, key="k-1")
    assert first == again
    body = {"command": "accept", "expected_version": version}
    for other in (
        {"command": "schedule", "expected_version": version + 1},
        {"command": "accept", "expected_version": version + 1},
        {**body, "reason_code": "other"},
    ):
        status, answer = await post(
            world, f"{theirs}/commands", RECIPIENT, other, Idempotency_Key=" k-1 "
        )
        fault = answer["faults"][0]
        assert (status, fault["code"], fault["rule"]) == (409, "duplicate", "other-content")
    assert (await read(world, theirs, RECIPIENT))["version"] == version + 1
    assert await command(world, theirs, RECIPIENT, "accept", version=version, key="k-1") == first
    assert (await refused(world, f"{theirs}/commands", RECIPIENT, body))[0] == 409
    status, answer = await post(
        world, f"{theirs}/commands", RECIPIENT, body, Idempotency_Key="k" * 300
    )
    assert (status, answer["faults"][0]["rule"]) == (422, "idempotency-key")


async def withdraw(world: World, ids: dict[str, str]) -> None:
    path = f"/fhir/Consent/{ids['Consent']}"
    _, _, headers = await world.call("GET", path, SOURCE)
    patch = [{"op": "replace", "path": "/status", "value": "inactive"}]
    status, body, _ = await world.call(
        "PATCH", path, SOURCE, patch, If_Match=headers["etag"],
        Content_Type="application/json-patch+json",
    )  # fmt: skip
    assert status == 200, body


async def requests(world: World, theirs: str, query: str = "") -> list[Any]:
    page = await read(world, f"/v1/erasure-requests{query}", RECIPIENT)
    ref = theirs.rpartition("/")[2]
    return [one for one in page["erasure_requests"] if one["referral"] == ref]


async def test_who_fetched_is_asked_to_delete_and_answers_once(world: World) -> None:
    mine, theirs, ids = await refer(world, 7111)
    await read(world, f"{theirs}/data", RECIPIENT)
    await withdraw(world, ids)
    await until(world, theirs, RECIPIENT, status="revoked")
    status, body, _ = await world.call("GET", f"{theirs}/data", RECIPIENT)
    assert (status, body["faults"][0]["code"]) == (410, "gone")
    for _ in range(100):
        if found := await requests(world, theirs):
            break
        await asyncio.sleep(0.05)
    (one,) = found
    assert (one["state"], one["data_categories"]) == ("requested", [])
    path = f"/v1/erasure-requests/{one['id']}/effect"
    for wrong in ("zzqx", "pending"):
        got = await refused(world, path, RECIPIENT, {"effect": wrong})
        assert got == (422, "code-invalid", "not-in-list", "effect")
    assert (await refused(world, path, SOURCE, {"effect": "deleted"}))[0] in (403, 404)
    assert (await refused(world, path, RECIPIENT, {}))[1] == "required"
    for _ in range(2):
        status, body = await post(world, path, RECIPIENT, {"effect": "deleted"})
        assert (status, body["state"], body["effect"]) == (200, "acknowledged", "deleted")
    got = await refused(world, path, RECIPIENT, {"effect": "retained_legal_duty"})
    assert got == (409, "conflict", "other-effect", "effect")
    assert await requests(world, theirs) == []
    assert len(await requests(world, theirs, "?status=acknowledged")) == 1
    shown = await read(world, mine, SOURCE)
    assert shown["erasure"] == {"state": "acknowledged", "effect": "deleted"}
    steps = (await read(world, f"{mine}/timeline", SOURCE))["steps"]
    assert [s["effect"] for s in steps if s["type"] == "consent.effect_reported"] == ["deleted"]


async def test_who_never_fetched_is_asked_nothing_and_reads_nothing(world: World) -> None:
    _, theirs, ids = await refer(world, 7112)
    await withdraw(world, ids)
    assert (await world.call("GET", f"{theirs}/data", RECIPIENT))[0] == 410
    await until(world, theirs, RECIPIENT, status="revoked")
    assert await requests(world, theirs) == []


async def test_a_closed_referral_releases_nothing(world: World) -> None:
    _, theirs, _ = await refer(world, 7113)
    await command(world, theirs, RECIPIENT, "reject", reason_code="other")
    status, body, _ = await world.call("GET", f"{theirs}/data", RECIPIENT)
    assert (status, body["faults"][0]["code"]) == (403, "suppressed")
