"""The directory on a running edge: who writes it, what everybody sees of it, what is proposed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from connectors.sandbox.samples import bundle
from schemas import decode, frame
from schemas.models import DirectoryEntryChanged
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, whole

HOUSE = "/v1/directory/services/refugio-sur-casa"
LEGAL = "/v1/directory/services/refugio-sur-legal"
HOURS = {
    "time_zone": "America/Bogota",
    "weekly": [
        {"day": day, "opens": "00:00", "closes": "24:00"}
        for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    ],
    "exceptions": [{"from": "2031-12-24", "to": "2032-01-02"}],
}
ENTRY: dict[str, Any] = {
    "name": "Asesoria",
    "service_types": ["legal_counsel"],
    "country": "COL",
    "admin1": ["CO-ANT"],
    "age_min": 14,
    "population_served": ["women", "girls"],
    "languages": ["es", "pt"],
    "capacity_status": "limited",
    "capacity_free": 3,
    "opening_hours": HOURS,
    "accepts_children_with_adult": True,
    "gender_approach": True,
    "specialised_in": ["trafficking", "gbv"],
    "intake_channels": ["hub", "phone"],
    "response_time_hours": 12,
    "address_confidentiality": "partners_only",
    "address": {"lines": ["Calle 10 # 4-20"], "city": "Medellín", "postal_code": "050010"},
    "assured_date": "2026-03-01",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with whole(settings, pg.admin_dsn) as made:
        yield made


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def put(world: World, path: str, body: Any, org: str = "refugio-sur", **headers: str) -> Any:
    """PUT at the version that stands, unless a header says another."""
    if "If_Match" not in headers:
        found = await world.call("GET", path.removesuffix("/capacity"), org)
        headers["If_Match"] = found[2]["etag"]
    return await world.call("PUT", path, org, body, **headers)


async def events(world: World, entry_id: str) -> list[DirectoryEntryChanged]:
    """What the log has been told of an entry, oldest first."""
    rows = await world.admin.fetch(
        "select b.schema_id, b.seq, b.body from bus.event b join gateway.entry e"
        " on e.entry_ref = b.key where e.id = $1 and b.topic = 'cauce.directory' order by b.seq",
        entry_id,
    )
    found = [decode(frame(row["schema_id"], row["seq"], row["body"])) for row in rows]
    return [one for one in found if isinstance(one, DirectoryEntryChanged)]


async def test_an_owner_writes_the_whole_entry_and_everybody_reads_it(world: World) -> None:
    status, body, headers = await put(world, LEGAL, ENTRY)
    assert status == 200, body
    assert {name: body[name] for name in ENTRY} == {
        **ENTRY,
        "specialised_in": ["gbv", "trafficking"],
        "population_served": ["girls", "women"],
    }
    assert (body["stale"], body["open_now"]) == (False, True)
    status, read, again = await world.call("GET", LEGAL, "ong-norte")
    assert (status, read["name"], again["etag"]) == (200, "Asesoria", headers["etag"])
    told = (await events(world, "refugio-sur-legal"))[-1]
    assert (told.version, told.admin1, told.capacity_free) == (body["version"], ("CO-ANT",), 3)


async def test_the_entry_is_a_whole_healthcare_service(world: World) -> None:
    await put(world, LEGAL, ENTRY)
    status, found, _ = await world.call(
        "GET", "/fhir/HealthcareService/refugio-sur-legal", "ong-norte"
    )
    assert status == 200
    assert found["availableTime"] == [
        {"daysOfWeek": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "allDay": True}
    ]
    assert found["notAvailable"][0]["during"] == {"start": "2031-12-24", "end": "2032-01-02"}
    assert found["contained"][0]["address"]["city"] == "Medellín"
    assert [c["coding"][0]["code"] for c in found["characteristic"]] == [
        "gender-approach",
        "children-with-adult",
    ]
    assert {p["coding"][0]["code"] for p in found["program"]} == {"gbv", "trafficking"}
    says = {e["url"].rpartition("/")[2]: e for e in found["extension"]}
    assert says["capacity-stale"]["valueBoolean"] is False
    assert says["capacity-free"]["valueUnsignedInt"] == 3


async def test_no_place_of_a_secret_service_is_taken_or_shown(world: World) -> None:
    secret = {**ENTRY, "address_confidentiality": "secret", "service_types": ["legal_counsel"]}
    status, body, _ = await put(world, HOUSE, secret)
    assert status == 422
    assert {(f["rule"], f["field"]) for f in body["faults"]} == {
        ("secret-address", "address"),
        ("secret-place", "admin1"),
    }
    hidden = {k: v for k, v in secret.items() if k not in ("address", "admin1")}
    hidden["service_types"] = ["shelter_specialized"]
    status, body, _ = await put(world, HOUSE, hidden)
    assert (status, body["address"], body["admin1"]) == (200, None, [])
    assert (await events(world, "refugio-sur-casa"))[-1].admin1 == ()


async def test_what_was_told_of_a_place_goes_when_the_service_becomes_secret(world: World) -> None:
    await put(world, LEGAL, ENTRY)
    hidden = {**ENTRY, "address_confidentiality": "secret"}
    del hidden["address"], hidden["admin1"]
    assert (await put(world, LEGAL, hidden))[0] == 200
    for path in (LEGAL, "/fhir/HealthcareService/refugio-sur-legal"):
        shown = orjson.dumps((await world.call("GET", path, "ong-norte"))[1]).decode()
        assert "Calle" not in shown
        assert "CO-ANT" not in shown
    row = await world.admin.fetchval("select record from gateway.entry where id like '%legal'")
    assert "Calle" not in row
    await put(world, LEGAL, ENTRY)


async def test_only_the_owner_writes_and_only_at_the_version_it_saw(world: World) -> None:
    assert (await world.call("PUT", LEGAL, "refugio-sur", ENTRY))[0] == 428
    status, body, _ = await put(world, LEGAL, ENTRY, If_Match='W/"999"')
    assert (status, body["faults"][0]["code"]) == (412, "conflict")
    status, body, _ = await world.call("PUT", LEGAL, "ong-norte", ENTRY, If_Match='W/"1"')
    assert (status, body["faults"][0]["rule"]) == (403, "scope")
    unknown = "/v1/directory/services/nadie"
    assert (await world.call("PUT", unknown, "refugio-sur", ENTRY, If_Match='W/"1"'))[0] == 404
    assert (await world.call("GET", unknown, "ong-norte"))[0] == 404


BAD = [
    ({"service_types": ["magic"]}, 422, "not-in-list", "service_types[0]"),
    ({"service_types": []}, 422, "item-count", "service_types"),
    ({"age_min": 30, "age_max": 18}, 422, "age-order", "age_max"),
    ({"age_min": "30"}, 400, "wrong-type", "age_min"),
    ({"admin1": ["PE-LIM"]}, 422, "admin1-of-country", "admin1[0]"),
    ({"capacity_status": "full", "capacity_free": 2}, 422, "contradiction", "capacity_free"),
    ({"capacity_free": -1}, 400, "bad-format", "capacity_free"),
    ({"colour": "red"}, 400, "unknown-element", ""),
    ({"name": None}, 400, "null-value", "name"),
    (
        {"opening_hours": {**HOURS, "time_zone": "Mars/Olympus"}},
        422, "time-zone", "opening_hours.time_zone",
    ),
    (
        {"opening_hours": {**HOURS, "exceptions": [{"from": "2026-02-02", "to": "2026-02-01"}]}},
        422, "hours-order", "opening_hours.exceptions[0]",
    ),
    (
        {"opening_hours": {**HOURS, "weekly": [{"day": "mon", "opens": "9", "closes": "10:00"}]}},
        400, "bad-format", "opening_hours.weekly[0].opens",
    ),
    (
        {"opening_hours": {**HOURS, "weekly": [*HOURS["weekly"], HOURS["weekly"][0]]}},
        422, "hours-overlap", "opening_hours.weekly[7]",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "http", "rule", "field"), BAD, ids=lambda v: str(v)[:24])
async def test_a_faulty_entry_is_refused_by_field_and_rule_and_changes_nothing(
    world: World, change: dict[str, Any], http: int, rule: str, field: str
) -> None:
    before = await world.admin.fetch("select * from gateway.entry order by id")
    status, body, _ = await put(world, LEGAL, {**ENTRY, **change})
    assert (status, [(f["rule"], f["field"]) for f in body["faults"]]) == (http, [(rule, field)])
    assert await world.admin.fetch("select * from gateway.entry order by id") == before


async def test_capacity_alone_counts_as_said_now_and_is_announced(world: World) -> None:
    await put(world, LEGAL, ENTRY)
    full = {"capacity_status": "full", "capacity_free": 0}
    status, body, _ = await world.call("PUT", f"{LEGAL}/capacity", "refugio-sur", full)
    assert (status, body["capacity_status"], body["languages"]) == (200, "full", ["es", "pt"])
    told = await events(world, "refugio-sur-legal")
    assert (told[-1].capacity_status, told[-1].version) == ("full", body["version"])
    versions = [event.version for event in told]
    assert versions == sorted(set(versions))
    status, body, _ = await world.call(
        "PUT", f"{LEGAL}/capacity", "refugio-sur", {"capacity_status": "roomy"}
    )
    assert (status, body["faults"][0]["field"]) == (422, "capacity_status")


def ids(page: Any) -> list[str]:
    return [one["id"] for one in page["services"]]


async def test_the_list_is_filtered_and_paged(world: World) -> None:
    await put(world, LEGAL, ENTRY)
    base = "/v1/directory/services"
    query = "?service_type=legal_counsel&country=COL&age=20&language=pt&open_now=true&capacity="
    status, body, _ = await world.call("GET", f"{base}{query}limited", "ong-norte")
    assert (status, ids(body), body["next"]) == (200, ["refugio-sur-legal"], None)
    assert ids((await world.call("GET", f"{base}{query}full", "ong-norte"))[1]) == []
    assert ids((await world.call("GET", f"{base}?age=13&org=refugio-sur", "ong-norte"))[1]) == []
    seen: list[str] = []
    path: str | None = f"{base}?limit=1"
    while path:
        _, body, _ = await world.call("GET", path, "ong-norte")
        seen += ids(body)
        path = body["next"]
    assert seen == sorted(seen) == ["refugio-sur-casa", "refugio-sur-legal"]
    for wrong in ("?age=old", "?colour=red", "?open_now=yes", "?service_type=magic", "?cursor=x"):
        assert (await world.call("GET", base + wrong, "ong-norte"))[0] == 400


async def test_proposals_give_reasons_and_say_who_is_left_out_and_keep_nothing(
    world: World,
) -> None:
    await put(world, LEGAL, ENTRY)
    needs = {
        "service_type": "legal_counsel",
        "country": "COL",
        "admin1": "CO-ANT",
        "age": 30,
        "languages": ["pt-BR"],
        "special_requirements": ["with_children"],
        "priority": "urgent",
    }
    counts = "select (select count(*) from bus.event), (select count(*) from gateway.refusal)"
    before = await world.admin.fetchrow(counts)
    status, body, _ = await world.call(
        "POST", "/v1/directory/proposals", "ong-norte", needs, Accept_Language="en"
    )
    assert status == 200, body
    (only,) = body["proposals"]
    said = {reason["code"]: reason["text"] for reason in only["reasons"]}
    assert only["service"]["id"] == "refugio-sur-legal"
    assert said["near"] == "Serves the same part of the country."
    assert said["answers-late"].startswith("Answers within 12 h")
    assert {"language-yes", "hours-open", "children-yes", "capacity-limited"} <= set(said)
    assert only["points"] == sum(reason["points"] for reason in only["reasons"])
    young = {**needs, "age": 9}
    _, body, _ = await world.call("POST", "/v1/directory/proposals", "ong-norte", young)
    assert (body["proposals"], [e["code"] for e in body["excluded"]]) == ([], ["entry-age"])
    assert await world.admin.fetchrow(counts) == before


async def test_proposals_are_refused_to_who_may_not_refer_that(world: World) -> None:
    path, needs = "/v1/directory/proposals", {"service_type": "legal_counsel"}
    status, body, _ = await world.call("POST", path, "refugio-sur", needs)
    assert (status, body["faults"][0]["rule"]) == (422, "source-role")
    status, body, _ = await world.call("POST", path, "ong-norte", {"service_type": "education"})
    assert (status, body["faults"][0]["rule"]) == (422, "source-service-type")
    for wrong, rule in (({"name": "x"}, "unknown-element"), ({"priority": "soon"}, "not-in-list")):
        status, body, _ = await world.call("POST", path, "ong-norte", {**needs, **wrong})
        assert body["faults"][0]["rule"] == rule


async def test_a_full_service_takes_no_new_referral_and_keeps_the_one_it_accepted(
    world: World,
) -> None:
    await world.call("PUT", f"{HOUSE}/capacity", "refugio-sur", {"capacity_status": "accepting"})
    ids = await world.refer(person=person(71))
    task = await world.task_of(ids, "refugio-sur")
    assert (await world.answer(task, "refugio-sur", status="accepted"))[0] == 200
    await world.call("PUT", f"{HOUSE}/capacity", "refugio-sur", {"capacity_status": "full"})
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", bundle(person=person(72)))
    assert status == 422
    assert body["issue"][0]["details"]["coding"][1]["code"] == "entry-capacity"
    task = await world.task_of(ids, "refugio-sur")
    status, answer = await world.answer(task, "refugio-sur", status="in-progress")
    assert (status, answer["status"]) == (200, "in-progress")
    await world.call("PUT", f"{HOUSE}/capacity", "refugio-sur", {"capacity_status": "accepting"})
    await world.refer(person=person(72))


async def test_what_grew_stale_is_flagged_everywhere_and_told_once(world: World) -> None:
    await put(world, LEGAL, ENTRY)
    old = datetime.now(UTC) - timedelta(days=4)
    await world.admin.execute(
        "update gateway.entry set capacity_updated_at = $1, version = version + 1"
        " where id = 'refugio-sur-legal'",
        old,
    )
    for _ in range(100):
        told = (await events(world, "refugio-sur-legal"))[-1]
        shown = (await world.call("GET", LEGAL, "ong-norte"))[1]
        if told.capacity_stale and shown["stale"]:
            break
        await asyncio.sleep(0.1)
    assert told.capacity_stale
    assert shown["stale"]
    _, found, _ = await world.call("GET", "/fhir/HealthcareService/refugio-sur-legal", "ong-norte")
    says = {e["url"].rpartition("/")[2]: e for e in found["extension"]}
    assert says["capacity-stale"]["valueBoolean"] is True
    _, listed, _ = await world.call("GET", "/v1/directory/services?stale=true", "ong-norte")
    assert [one["id"] for one in listed["services"]] == ["refugio-sur-legal"]


async def test_a_partner_file_changes_what_it_says_anew_and_leaves_the_owners_word(
    world: World,
) -> None:
    await put(world, LEGAL, ENTRY)
    record = orjson.loads(
        await world.admin.fetchval("select record from gateway.partner where org = 'refugio-sur'")
    )
    legal = next(s for s in record["services"] if s["id"] == "refugio-sur-legal")
    legal["name"] = "Asesoria nueva"
    await _store(world, record)
    shown = (await world.call("GET", LEGAL, "ong-norte"))[1]
    assert (shown["name"], shown["languages"], shown["capacity_free"]) == (
        "Asesoria nueva",
        ["es", "pt"],
        3,
    )
    without = {**record, "services": [s for s in record["services"] if s is not legal]}
    await _store(world, without)
    assert (await world.call("GET", LEGAL, "ong-norte"))[0] == 404
    for _ in range(100):
        if (await events(world, "refugio-sur-legal"))[-1].directory_status == "defunct":
            break
        await asyncio.sleep(0.1)
    assert (await events(world, "refugio-sur-legal"))[-1].directory_status == "defunct"
    await _store(world, record)
    assert (await world.call("GET", LEGAL, "ong-norte"))[1]["directory_status"] == "active"


async def _store(world: World, record: dict[str, Any]) -> None:
    await world.admin.execute(
        "update gateway.partner set record = $1, version = version + 1 where org = 'refugio-sur'",
        orjson.dumps(record).decode(),
    )
    await asyncio.sleep(1.2)
