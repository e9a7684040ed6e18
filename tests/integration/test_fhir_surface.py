"""The FHIR surface beyond referrals, with every service running: accounting, people, pages."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import pytest_asyncio
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.task import Task

from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample, bundle
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
FORM = "application/x-www-form-urlencoded"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with whole(settings, pg.admin_dsn) as made:
        yield made


async def audits(world: World, org: str, task: str, count: int) -> list[dict[str, Any]]:
    """Disclosures of a referral as a party sees them, once there are so many."""
    for _ in range(100):
        status, body, _ = await world.call("GET", f"/fhir/AuditEvent?entity=Task/{task}", org)
        assert status == 200, body
        found = [entry["resource"] for entry in body.get("entry", [])]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def test_each_party_accounts_for_what_left_under_ids_of_its_own(world: World) -> None:
    ids = await world.refer(person=person(81))
    task = await world.task_of(ids, "refugio-sur")
    request = "/fhir/" + task["focus"]["reference"]
    _, body, _ = await world.call("GET", request, "refugio-sur")
    who = body["subject"]["reference"]
    assert (await world.call("GET", f"/fhir/{who}", "refugio-sur"))[0] == 200
    mine = await audits(world, "ong-norte", ids["Task"], 2)
    theirs = await audits(world, "refugio-sur", task["id"], 2)
    assert [m["type"]["code"] for m in mine] == ["110106"] * 2
    assert [t["type"]["code"] for t in theirs] == ["110107"] * 2
    for one in mine + theirs:
        AuditEvent.model_validate(one)
    assert not {m["id"] for m in mine} & {t["id"] for t in theirs}
    assert mine[0]["entity"][0]["what"] == {"reference": f"Patient/{ids['Patient']}"}
    assert theirs[0]["entity"][0]["what"] == {"reference": who}
    assert "ong-norte" not in str(theirs)
    assert person(81).family not in str(mine + theirs)
    path = f"/fhir/AuditEvent/{mine[0]['id']}"
    status, body, _ = await world.call("GET", path, "ong-norte")
    assert (status, body) == (200, mine[0])
    assert (await world.call("GET", path, "refugio-sur"))[0] == 404
    assert (await world.call("GET", "/fhir/AuditEvent/1", "ong-norte"))[0] == 404
    other = f"/fhir/AuditEvent?entity=Task/{ids['Task']}"
    _, body, _ = await world.call("GET", other, "refugio-sur")
    assert "entry" not in body


async def test_an_accounting_comes_page_by_page_and_by_date(world: World) -> None:
    since = quote(datetime.now(UTC).isoformat())
    ids = await world.refer(person=person(82))
    task = await world.task_of(ids, "refugio-sur")
    for _ in range(3):
        await world.call("GET", "/fhir/" + task["focus"]["reference"], "refugio-sur")
    await audits(world, "ong-norte", ids["Task"], 3)
    found = await pages(world, f"/fhir/AuditEvent?date=ge{since}&_count=2", "ong-norte")
    assert len(found) == len(set(found)) == 3
    for wrong in ("date=2026", "entity=x", "_count=0", "_cursor=x", "patient=1"):
        status, body, _ = await world.call("GET", f"/fhir/AuditEvent?{wrong}", "ong-norte")
        assert status == 400, (wrong, body)


async def pages(world: World, path: str, org: str) -> list[str]:
    """Ids on every page of a search."""
    found: list[str] = []
    while path:
        status, body, _ = await world.call("GET", path, org)
        assert status == 200, body
        found += [entry["resource"]["id"] for entry in body.get("entry", [])]
        links = {link["relation"]: link["url"] for link in body["link"]}
        path = links.get("next", "").removeprefix(world.url)
    return found


async def test_a_person_is_found_by_an_identifier_of_ones_own_in_a_body(world: World) -> None:
    ids = await world.refer(person=person(83))
    given = Sample(person=person(83)).patient()["identifier"][0]
    known = f"{given['system']}|{given['value']}"

    async def search(org: str, form: dict[str, str]) -> tuple[int, Any]:
        raw = urlencode(form).encode()
        status, body, _ = await world.call(
            "POST", "/fhir/Patient/_search", org, raw, Content_Type=FORM
        )
        return status, body

    status, body = await search("ong-norte", {"identifier": known})
    assert status == 200, body
    assert [e["resource"]["id"] for e in body["entry"]] == [ids["Patient"]]
    assert given["value"] not in str(body)
    status, body = await search("refugio-sur", {"identifier": known})
    assert (status, "entry" in body) == (200, False)
    for wrong in ({"name": "x"}, {"identifier": "x"}, {"identifier": known, "name": "x"}):
        assert (await search("ong-norte", wrong))[0] == 400
    status, body, _ = await world.call(
        "GET", f"/fhir/Patient?identifier={quote(known)}", "ong-norte"
    )
    assert status == 400
    assert body["issue"][0]["details"]["coding"][1]["code"] == "identifier-in-url"
    assert given["value"] not in str(body)


async def test_the_statement_says_what_is_served_and_all_of_it(world: World) -> None:
    status, statement, _ = await world.call("GET", "/fhir/metadata", None)
    assert status == 200
    CapabilityStatement.model_validate(statement)
    claimed = {
        (one["type"], code)
        for one in statement["rest"][0]["resource"]
        for code in (
            *(i["code"] for i in one["interaction"]),
            *(f"${o['name']}" for o in one.get("operation", [])),
        )
    }
    kinds = sorted({kind for kind, _ in claimed} | {"Bundle", "Communication"})
    probes = [(k, name, *probe) for k in kinds for name, probe in PROBES.items()]
    found = await asyncio.gather(
        *(_is_served(world, method, f"/fhir/{kind}{path}") for kind, _, method, path in probes)
    )
    served = {(kind, name) for (kind, name, *_), one in zip(probes, found, strict=True) if one}
    assert served == claimed
    for path in ("/fhir?_id=1", "/fhir/_history", "/fhir/Task/1/_history", "/fhir/$export"):
        assert not await _is_served(world, "GET", path)
    assert not await _is_served(world, "POST", "/fhir/Task/1/$everything")


PROBES = {
    "search-type": ("GET", ""),
    "read": ("GET", "/0"),
    "vread": ("GET", "/0/_history/1"),
    "history-instance": ("GET", "/0/_history"),
    "update": ("PUT", "/0"),
    "patch": ("PATCH", "/0"),
    "delete": ("DELETE", "/0"),
    "create": ("POST", ""),
    "$status": ("GET", "/0/$status"),
    "$events": ("GET", "/0/$events"),
}


async def _is_served(world: World, method: str, path: str) -> bool:
    """Whether anything but `there is no such path` answers."""
    status, body, _ = await world.call(method, path, "ong-norte")
    if status not in (404, 405):
        return True
    return body["issue"][0]["details"]["coding"][1]["code"] not in ("path", "method")


async def test_a_create_that_depends_on_a_search_is_refused(world: World) -> None:
    made = bundle(person=person(88))
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", made, If_None_Exist="x=1")
    assert (status, body["issue"][0]["expression"]) == (400, ["If-None-Exist"])
    made["entry"][0]["request"]["ifNoneExist"] = "identifier=x"
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", made)
    assert status == 422, body


async def test_a_task_is_searched_by_a_form_and_answered_as_preferred(world: World) -> None:
    ids = await world.refer(person=person(89))
    task = await world.task_of(ids, "refugio-sur")
    form = urlencode({"owner": "refugio-sur", "status": "requested,received", "_count": 50})
    status, body, _ = await world.call(
        "POST", "/fhir/Task/_search", "refugio-sur", form.encode(), Content_Type=FORM
    )
    assert status == 200, body
    assert task["id"] in {entry["resource"]["id"] for entry in body["entry"]}
    for preference, kind in (("minimal", None), ("OperationOutcome", "OperationOutcome")):
        value = "received" if kind is None else "accepted"
        patch = [{"op": "replace", "path": "/status", "value": value}]
        status, body, headers = await world.call(
            "PATCH",
            f"/fhir/Task/{task['id']}",
            "refugio-sur",
            patch,
            If_Match=task["etag"],
            Content_Type="application/json-patch+json",
            Prefer=f"return={preference}",
        )
        assert status == 200, body
        assert (body or {}).get("resourceType") == kind
        task["etag"] = headers["etag"]


async def test_pages_of_the_directory_follow_one_another(world: World) -> None:
    whole_list = await pages(world, "/fhir/HealthcareService", "ong-norte")
    paged = await pages(world, "/fhir/HealthcareService?_count=1", "ong-norte")
    assert paged == whole_list
    assert len(paged) == 2
    assert (await world.call("GET", "/fhir/Organization?name=x", "ong-norte"))[0] == 400


async def test_a_link_repeats_no_name_that_is_none_of_ours(world: World) -> None:
    for path in (
        "/fhir/HealthcareService?organization=maria",
        "/fhir/Task?requester=maria&_count=1",
        "/fhir/Task?owner=Organization/maria&_count=1",
    ):
        status, body, _ = await world.call("GET", path, "ong-norte")
        assert (status, "entry" in body) == (200, False)
        assert "maria" not in str(body)
        assert [link["relation"] for link in body["link"]] == ["self"]
    path = "/fhir/HealthcareService?organization=Organization/refugio-sur&_count=1"
    assert len(await pages(world, path, "ong-norte")) == 2
    path = "/fhir/Task?requester=org-alfa&_count=1"
    assert await pages(world, path, "refugio-sur")


async def test_what_has_not_changed_is_not_sent_again(world: World) -> None:
    ids = await world.refer(person=person(84))
    await world.task_of(ids)
    for path in (
        f"/fhir/Task/{ids['Task']}",
        f"/fhir/ServiceRequest/{ids['ServiceRequest']}",
        f"/fhir/Consent/{ids['Consent']}",
        "/fhir/Organization/refugio-sur",
        "/fhir/HealthcareService/refugio-sur-casa",
    ):
        status, _, headers = await world.call("GET", path, "ong-norte")
        assert status == 200
        tag = headers["etag"]
        status, body, headers = await world.call("GET", path, "ong-norte", If_None_Match=tag)
        assert (status, body, headers["etag"]) == (304, None, tag)
        status, _, _ = await world.call("GET", path, "ong-norte", If_None_Match='W/"77"')
        assert status == 200
        status, body, headers = await world.call("HEAD", path, "ong-norte")
        assert (status, body, headers["etag"]) == (200, None, tag)


def abort(task: str, key: str, **changes: Any) -> dict[str, Any]:
    """An abort Task of the sender."""
    code = {"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "abort"}
    why = {
        "system": "https://cauce.example/fhir/CodeSystem/referral-reason-code",
        "code": "duplicate",
    }
    return {
        "resourceType": "Task",
        "identifier": [{"system": "urn:x-ong-norte", "value": key}],
        "status": "requested",
        "intent": "order",
        "code": {"coding": [code]},
        "focus": {"reference": f"Task/{task}"},
        "reasonCode": {"coding": [why]},
    } | changes


async def post(world: World, document: dict[str, Any], **headers: str) -> tuple[int, Any, Any]:
    return await world.call("POST", "/fhir/Task", "ong-norte", document, **headers)


async def test_an_abort_before_acceptance_cancels_and_once_is_once(world: World) -> None:
    ids = await world.refer(person=person(85))
    await world.task_of(ids)
    status, body, headers = await post(world, abort(ids["Task"], "a-85"))
    assert (status, body["status"]) == (201, "completed"), body
    Task.model_validate(body)
    assert headers["location"].endswith(f"/fhir/Task/{body['id']}")
    status, again, _ = await post(world, abort(ids["Task"], "a-85"))
    assert (status, again) == (201, body)
    status, body, _ = await post(world, abort(ids["Task"], "a-85", owner={}))
    assert status == 422, body
    other = abort(ids["Task"], "a-85", owner={"reference": "Organization/refugio-sur"})
    assert (await post(world, other))[0] == 409
    assert (await post(world, abort(ids["Task"], "b-85")))[0] == 422
    _, task, _ = await world.call("GET", f"/fhir/Task/{ids['Task']}", "ong-norte")
    assert task["status"] == "cancelled"


async def test_an_abort_after_acceptance_follows_what_the_recipient_answers(world: World) -> None:
    ids = await world.refer(person=person(86))
    task = await world.task_of(ids, "refugio-sur")
    assert (await world.answer(task, "refugio-sur", status="accepted"))[0] == 200
    status, made, _ = await post(world, abort(ids["Task"], "a-86"), Prefer="return=representation")
    assert (status, made["status"]) == (201, "requested"), made
    path = f"/fhir/Task/{made['id']}"
    assert (await world.call("GET", path, "refugio-sur"))[0] == 404
    task = await world.task_of(ids, "refugio-sur")
    assert task["businessStatus"]["coding"][0]["code"] == "cancellation-requested"
    why = made["reasonCode"]
    answered = await world.answer(task, "refugio-sur", status="accepted", statusReason=why)
    assert answered[0] == 200, answered
    _, body, _ = await world.call("GET", path, "ong-norte")
    assert body["status"] == "rejected"
    status, body, headers = await post(world, abort(ids["Task"], "b-86"), Prefer="return=minimal")
    assert (status, body) == (201, None)
    second = headers["location"].removeprefix(world.url)
    task = await world.task_of(ids, "refugio-sur")
    assert (await world.answer(task, "refugio-sur", status="cancelled"))[0] == 200
    _, body, _ = await world.call("GET", second, "ong-norte")
    assert body["status"] == "completed"
    _, body, _ = await world.call("GET", path, "ong-norte")
    assert body["status"] == "rejected"


async def test_an_abort_that_is_none_is_refused_by_name(world: World) -> None:
    ids = await world.refer(person=person(87))
    await world.task_of(ids)
    good = abort(ids["Task"], "a-87")
    fulfill = {"coding": [{"system": good["code"]["coding"][0]["system"], "code": "fulfill"}]}
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"code": fulfill}, "not-in-list", "Task.code"),
        ({"status": "accepted"}, "fixed-value", "Task.status"),
        ({"intent": "proposal"}, "fixed-value", "Task.intent"),
        ({"description": "Maria"}, "element", "Task.description"),
        ({"focus": {"reference": "ServiceRequest/1"}}, "target", "Task.focus"),
        ({"reasonCode": {"coding": [{"code": "x"}]}}, "not-in-list", "Task.reasonCode"),
        ({"reasonCode": {"text": "Maria"}}, "element", "Task.reasonCode.text"),
        ({"owner": {"reference": "Organization/otra"}}, "fixed-value", "Task.owner"),
        ({"requester": {"reference": "Organization/otra"}}, "fixed-value", "Task.requester"),
    ]
    for change, rule, field in wrong:
        status, body, _ = await post(world, good | change)
        said = body["issue"][0]["details"]["coding"][1]["code"], body["issue"][0]["expression"]
        assert (status, said) == (422, (rule, [field])), body
    for name, rule in (("identifier", "idempotency-key"), ("reasonCode", "status-reason")):
        lacking = {k: v for k, v in good.items() if k != name}
        status, body, _ = await post(world, lacking)
        assert (status, body["issue"][0]["details"]["coding"][1]["code"]) == (422, rule)
    unknown = good | {"focus": {"reference": "Task/6f1a0a52-95a1-4f0e-8f6f-0d7d3a3f1b11"}}
    assert (await post(world, unknown))[0] == 404
    status, _, _ = await world.call("POST", "/fhir/Task", "refugio-sur", good)
    assert status == 403


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_an_answer_repeated_under_one_key_counts_once_and_another_is_refused(
    world: World, method: str
) -> None:
    org, number = "refugio-sur", {"PATCH": 88, "PUT": 89}[method]
    task = await world.task_of(await world.refer(person=person(number)), org)

    def answer(status: str, read: Any) -> Any:
        if method == "PATCH":
            return [{"op": "replace", "path": "/status", "value": status}]
        whole = {name: value for name, value in read.items() if name != "etag"}
        return {**whole, "status": status}

    async def give(status: str, tag: str, key: str, read: Any = task) -> tuple[int, Any]:
        kind = "application/json-patch+json" if method == "PATCH" else "application/fhir+json"
        found = await world.call(
            method, f"/fhir/Task/{task['id']}", org, answer(status, read),
            If_Match=tag, Content_Type=kind, Idempotency_Key=key,
        )  # fmt: skip
        return found[:2]

    first, tag = await give("accepted", task["etag"], "k-1"), task["etag"]
    assert (first[0], first[1]["status"]) == (200, "accepted")
    newer = f'W/"{first[1]["meta"]["versionId"]}"'
    assert await give("accepted", tag, " k-1") == first
    for version in (tag, newer):
        status, body = await give("in-progress", version, "k-1")
        coding = body["issue"][0]["details"]["coding"]
        assert (status, [c["code"] for c in coding[:2]]) == (409, ["duplicate", "other-content"])
    assert (await give("in-progress", tag, "k-2"))[0] == 412
    moved = await give("in-progress", newer, "k-3", first[1])
    assert (moved[0], moved[1]["status"]) == (200, "in-progress")
    late = await give("accepted", tag, "k-1")
    assert (late[0], late[1]["status"]) == (200, "in-progress"), "a late repeat undoes nothing"
    status, body = await give("in-progress", newer, "k" * 300)
    assert (status, body["issue"][0]["details"]["coding"][1]["code"]) == (422, "idempotency-key")
