"""The native door to the intake: accepted, repeated, refused, and tried without a trace."""

import copy
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from connectors.sandbox.samples import bundle, full_bundle
from schemas.codec import decode, frame
from schemas.codes import code_lists
from services.console.local.place import Place
from services.kit.errors import catalogue
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, edge
from tests.support.natives import twin

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = "application/json"
NAMES = ("vault", "consent", "referral", "gateway")


@pytest.fixture(scope="module")
def edge_settings(secrets: Place, pg: servers.Databases) -> Settings:
    return servers.settings_for(secrets, pg)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(edge_settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with edge(edge_settings, pg.admin_dsn, NAMES) as made:
        yield made


async def submit(
    world: World, body: Any, path: str = "/v1/referrals", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    headers = {"Content_Type": JSON, **headers}
    return await world.call("POST", path, "ong-norte", body, **headers)


async def kept(world: World) -> list[Any]:
    """A digest of every table of the hub's database but for the counted requests."""
    names = await world.admin.fetch(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n"
        " on n.oid = c.relnamespace where c.relkind in ('r', 'p') and not c.relispartition"
        " and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1"
    )
    query = " union all ".join(
        f"select '{r[0]}', count(*), coalesce(md5(string_agg(h, '' order by h)), '')"
        f" from (select md5(x::text) as h from {r[0]} x) t"
        for r in names
        if "rate" not in r[0] and "request_count" not in r[0]
    )
    return sorted(tuple(row) for row in await world.admin.fetch(query))


async def test_a_native_referral_is_accepted_and_read_under_the_callers_own_ids(
    world: World,
) -> None:
    status, body, _ = await submit(world, twin(full_bundle(person=person(7001))))
    assert status == 201, body
    task = body["referral"]["id"]
    assert body["referral"] == {"id": task, "href": f"/v1/referrals/{task}", "status": "sent"}
    assert body["dropped"] == []
    kinds = {"task": task, "case": body["case"]["id"], "consent": body["consent"]["id"]}
    for kind, name in kinds.items():
        found = await world.admin.fetchval(
            "select kind from gateway.alias where alias = $1::uuid and org = 'ong-norte'", name
        )
        assert found == kind
    status, shown, _ = await world.call("GET", f"/fhir/Task/{task}", "ong-norte")
    assert status == 200, shown


async def test_a_repeat_gets_the_stored_answer_and_one_key_is_one_submission_on_both_surfaces(
    world: World,
) -> None:
    sent, key = bundle(person=person(7002)), str(uuid4())
    first = await submit(world, twin(sent), Idempotency_Key=key)
    again = await submit(world, twin(sent), Idempotency_Key=key)
    assert first[0] == again[0] == 201, first
    assert first[1] == again[1]
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", sent, Idempotency_Key=key)
    assert status == 409
    assert body["issue"][0]["details"]["coding"][0]["code"] == "duplicate"


async def test_the_same_person_by_either_surface_is_the_same_case(world: World) -> None:
    await world.refer(person=person(7003))
    _, one, _ = await submit(world, twin(bundle(person=person(7003))))
    _, other, _ = await submit(world, twin(bundle(person=person(7003))))
    assert one["case"] == other["case"]
    assert one["referral"] != other["referral"]


async def _events(world: World, task: str) -> list[Any]:
    """What the log says of a referral's case, without ids, times and what is sealed."""
    rows = await world.admin.fetch(
        "select e.type, e.topic, e.schema_id, e.seq, e.purpose, e.body, e.facts, e.stats_facts"
        " from gateway.alias a join gateway.referral r using (referral_ref)"
        " join bus.event e on e.key = r.case_ref where a.alias = $1::uuid and a.org = 'ong-norte'"
        " order by e.seq",
        task,
    )
    told = []
    for row in rows:
        event = decode(frame(row["schema_id"], row["seq"], row["body"]))
        plain = {k: v for k, v in asdict(event).items() if not isinstance(v, UUID | datetime)}
        told.append((row["type"], row["topic"], row["purpose"], row["facts"] is None, plain))
    return told


async def test_twins_are_told_of_in_the_same_events(world: World) -> None:
    now = datetime.now(UTC)
    sent = full_bundle(person=person(7006), now=now)
    ids = dict(
        entry["response"]["location"].split("/")
        for entry in (await world.call("POST", "/fhir", "ong-norte", sent))[1]["entry"]
        if "location" in entry["response"]
    )
    document = twin(full_bundle(person=person(7006), now=now))
    for identifier in document["person"]["identifiers"]:
        identifier["value"] += "-2"
    status, body, _ = await submit(world, document)
    assert status == 201, body
    by_fhir = await _events(world, ids["Task"])
    assert [event[0] for event in by_fhir] == ["consent.given", "case.opened", "referral.requested"]
    assert by_fhir == await _events(world, body["referral"]["id"])


def _put(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "status", "code", "rule", "field"),
    [
        (_put("person", "zzqx", value=1), 400, "structure", "unknown-element", "person"),
        (_put("referral", "to_org", value="nadie"), 422, "not-permitted", "recipient-agreement",
         "referral.to_org"),
        (_put("consent", "items", 0, "data_categories", value=["migration_status", "contact"]), 422,
         "not-permitted", "category-needed", "consent.items.data_categories[migration_status]"),
        (_put("referral", "replaces", value=str(uuid4())), 422, "reference-invalid", "target",
         "referral.replaces"),
        (_put("consent", "valid_to", value="2020-01-01"), 422, "invariant", "period-order",
         "consent.valid_to"),
    ],
)  # fmt: skip
async def test_a_refusal_names_the_native_field_in_the_readers_language(
    world: World, change: Any, status: int, code: str, rule: str, field: str
) -> None:
    document = twin(bundle(person=person(7004)))
    change(document)
    got, body, headers = await submit(world, document, Accept_Language="pt")
    assert headers["content-type"] == "application/problem+json"
    text = catalogue()[code, rule].texts["pt"]
    assert body["faults"] == [{"code": code, "rule": rule, "field": field, "text": text}]
    assert (got, body["status"]) == (status, status)
    assert "zzqx" not in str(body)


async def test_a_dry_run_tells_what_would_be_done_and_keeps_nothing(world: World) -> None:
    sent = full_bundle(person=person(7005))
    document = twin(sent)
    broken = copy.deepcopy(document)
    broken["person"]["sex"] = "zzqx"
    broken["consent"].pop("language")
    before = await kept(world)
    fhir = "application/fhir+json"
    by_fhir = await world.call("POST", "/v1/validate", "ong-norte", sent, Content_Type=fhir)
    natively = await submit(world, document, "/v1/validate")
    named = await submit(world, sent, "/v1/validate?format=fhir")
    faulty = await submit(world, broken, "/v1/validate", Accept_Language="en")
    not_json = await submit(world, b"{", "/v1/validate")
    elsewhere = copy.deepcopy(document)
    elsewhere["referral"]["to_org"] = "nadie"
    planned = await submit(world, elsewhere, "/v1/validate")
    assert await kept(world) == before
    assert natively[0] == by_fhir[0] == named[0] == 200, natively
    assert natively[1]["valid"] is by_fhir[1]["valid"] is named[1]["valid"] is True
    assert natively[1]["would"]["purpose"] == "legal_assistance"
    assert natively[1]["would"]["categories"] == by_fhir[1]["would"]["categories"]
    assert by_fhir[1]["dropped"] == ["Patient.text"]
    assert [(f["code"], f["field"]) for f in faulty[1]["faults"]] == [
        ("code-invalid", "person.sex"),
        ("required", "consent.language"),
    ]
    assert faulty[1]["would"] is None
    assert not_json[1]["faults"][0]["code"] == "malformed"
    assert planned[1]["faults"][0]["field"] == "referral.to_org"


async def test_a_dry_run_of_no_known_format_is_refused(world: World) -> None:
    status, body, _ = await submit(world, {}, "/v1/validate?format=xml")
    assert (status, body["faults"][0]["rule"]) == (400, "parameter")


async def test_code_lists_are_read_with_labels_and_not_twice(world: World) -> None:
    status, body, _ = await world.call("GET", "/v1/codelists", "refugio-sur")
    assert (status, body["codelists"]) == (200, sorted(code_lists()))
    status, body, headers = await world.call("GET", "/v1/codelists/priority", "refugio-sur")
    assert [c["code"] for c in body["codes"]] == ["immediate", "urgent", "high", "routine"]
    assert all(c["es"] and c["en"] and c["pt"] for c in body["codes"])
    again = await world.call(
        "GET", "/v1/codelists/priority", "refugio-sur", If_None_Match=headers["etag"]
    )
    assert (again[0], again[1]) == (304, None)
    status, body, _ = await world.call("GET", "/v1/codelists/zzqx", "refugio-sur")
    assert (status, body["faults"][0]["rule"]) == (404, "resource")
