"""What both parties read and answer, with every service running on a real broker."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, whole

BASE = "https://cauce.example/fhir"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with whole(settings, pg.admin_dsn) as made:
        yield made


pytestmark = pytest.mark.asyncio(loop_scope="module")


def reason(code: str) -> dict[str, object]:
    return {"coding": [{"system": f"{BASE}/CodeSystem/referral-reason-code", "code": code}]}


async def test_both_parties_read_the_task_under_ids_of_their_own(world: World) -> None:
    ids = await world.refer(person=person(31))
    mine = await world.task_of(ids)
    theirs = await world.task_of(ids, "refugio-sur")
    assert mine["id"] != theirs["id"]
    assert mine["status"] == "requested"
    status, _, _ = await world.call("GET", f"/fhir/Task/{mine['id']}", "refugio-sur")
    assert status == 404


async def test_the_recipient_answers_and_the_sender_sees_it(world: World) -> None:
    ids = await world.refer(person=person(32))
    task = await world.task_of(ids, "refugio-sur")
    status, body = await world.answer(task, "refugio-sur", status="accepted")
    assert (status, body["status"]) == (200, "accepted"), body
    assert (await world.task_of(ids))["status"] == "accepted"
    status, body = await world.answer(task, "refugio-sur", status="rejected")
    assert status == 412


async def test_an_answer_needs_a_version_a_right_and_a_legal_move(world: World) -> None:
    ids = await world.refer(person=person(33))
    task = await world.task_of(ids, "refugio-sur")
    path, kind = f"/fhir/Task/{task['id']}", "application/json-patch+json"
    patch = [{"op": "replace", "path": "/status", "value": "accepted"}]
    status, _, _ = await world.call("PATCH", path, "refugio-sur", patch, Content_Type=kind)
    assert status == 428
    assert (await world.answer(task, "refugio-sur", owner={}))[0] == 403
    assert (await world.answer(task, "refugio-sur", status="rejected"))[0] == 422
    assert (await world.answer(task, "refugio-sur", status="cancelled"))[0] == 422


async def test_a_search_gives_own_rows_page_by_page(world: World) -> None:
    since = quote(datetime.now(UTC).isoformat())
    for seed in (34, 35, 36):
        await world.task_of(await world.refer(person=person(seed)))
    path, found = f"/fhir/Task?_lastUpdated=ge{since}&requester=ong-norte&_count=2", []
    while path:
        status, body, _ = await world.call("GET", path, "ong-norte")
        assert status == 200, body
        found += [entry["resource"]["id"] for entry in body.get("entry", [])]
        links = {link["relation"]: link["url"] for link in body["link"]}
        path = links.get("next", "").removeprefix(world.url)
    assert len(found) == len(set(found)) == 3
    status, _, _ = await world.call("GET", "/fhir/Task?patient=1", "ong-norte")
    assert status == 400


async def test_the_recipient_reads_what_consent_covers_and_nothing_after_withdrawal(
    world: World,
) -> None:
    ids = await world.refer(person=person(37))
    task = await world.task_of(ids, "refugio-sur")
    path = "/fhir/" + task["focus"]["reference"]
    status, body, _ = await world.call("GET", path, "refugio-sur")
    assert status == 200, body
    who = "/fhir/" + body["subject"]["reference"]
    status, body, _ = await world.call("GET", who, "refugio-sur")
    assert status == 200, body
    assert person(37).family not in str(body)
    consent = f"/fhir/Consent/{ids['Consent']}"
    patch = [{"op": "replace", "path": "/status", "value": "inactive"}]
    kind = "application/json-patch+json"
    status, body, headers = await world.call(
        "PATCH", consent, "ong-norte", patch, Content_Type=kind
    )
    assert (status, body["status"]) == (200, "inactive"), body
    assert "cauce-effective-at" in headers
    assert (await world.call("GET", who, "refugio-sur"))[0] == 403
    status, _, _ = await world.call("PATCH", consent, "ong-norte", patch, Content_Type=kind)
    assert status == 409


async def test_the_sender_reads_its_own_view(world: World) -> None:
    ids = await world.refer(person=person(38))
    await world.task_of(ids)
    for kind in ("ServiceRequest", "Patient", "Consent"):
        status, body, _ = await world.call("GET", f"/fhir/{kind}/{ids[kind]}", "ong-norte")
        assert status == 200, body
        assert body["resourceType"] == kind
        assert person(38).family not in str(body)


async def test_a_new_version_of_a_consent_takes_back_or_gives_more_but_not_both(
    world: World,
) -> None:
    sample = Sample(person=person(39))
    ids = await world.refer(person=person(39))
    await world.task_of(ids)
    path = f"/fhir/Consent/{ids['Consent']}"

    async def put(categories: tuple[str, ...], minutes: int) -> tuple[int, object]:
        _, _, headers = await world.call("GET", path, "ong-norte")
        sample.categories = categories
        sample.now = datetime.now(UTC) + timedelta(minutes=minutes)
        document = {**sample.consent(), "id": ids["Consent"]}
        document["patient"] = {"reference": f"Patient/{ids['Patient']}"}
        del document["performer"]
        status, body, _ = await world.call(
            "PUT", path, "ong-norte", document, If_Match=headers["etag"]
        )
        return status, body

    status, body = await put(("pseudonymous_core",), 0)
    assert status == 200, body
    status, body = await put(("pseudonymous_core", "identity"), -60)
    assert status == 422, body
    status, body = await put(("pseudonymous_core", "identity"), 5)
    assert status == 200, body
    status, body = await put(("contact",), 5)
    assert status == 422, body


async def test_a_consent_can_be_read_and_written_back(world: World) -> None:
    """What the sender is shown is what it may send: unchanged it changes nothing, inactive ends."""
    ids = await world.refer(person=person(41))
    await world.task_of(ids)
    path = f"/fhir/Consent/{ids['Consent']}"
    for status in ("active", "inactive"):
        _, shown, headers = await world.call("GET", path, "ong-norte")
        document = {**shown, "status": status}
        code, body, _ = await world.call(
            "PUT", path, "ong-norte", document, If_Match=headers["etag"]
        )
        faults = [issue["expression"] for issue in body.get("issue", [])]
        assert (code, faults, body.get("status")) == (200, [], status)


async def test_the_directory_shows_services_without_secret_places(world: World) -> None:
    status, body, _ = await world.call("GET", "/fhir/HealthcareService", "ong-norte")
    assert status == 200
    by_id = {entry["resource"]["id"]: entry["resource"] for entry in body["entry"]}
    assert "coverageArea" not in by_id["refugio-sur-casa"]
    assert "coverageArea" in by_id["refugio-sur-legal"]
    status, body, _ = await world.call("GET", "/fhir/Organization/refugio-sur", "ong-norte")
    assert (status, body["name"]) == (200, "Refugio Sur")


async def test_anyone_may_discover(world: World) -> None:
    for path in ("/fhir/metadata", "/fhir/.well-known/smart-configuration"):
        status, body, _ = await world.call("GET", path, None)
        assert status == 200, body
