"""A referral by FHIR at the edge, into PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from connectors.sandbox.samples import bundle, full_bundle
from services.console.local.place import Place
from services.gateway.intake.keys import Keys, content_digest, submission_mac
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, edge


@pytest.fixture(scope="module")
def edge_settings(secrets: Place, pg: servers.Databases) -> Settings:

    return servers.settings_for(secrets, pg)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(edge_settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with edge(edge_settings, pg.admin_dsn) as made:
        yield made


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_referral_is_accepted_with_everything_that_belongs_to_it(world: World) -> None:
    ids = await world.refer(person=person(11))
    assert set(ids) == {"Patient", "ServiceRequest", "Consent", "Task"}
    found = await world.admin.fetchrow(
        "select r.* from gateway.alias a join gateway.referral r using (referral_ref)"
        " where a.alias = $1::uuid and a.org = 'ong-norte'",
        ids["Task"],
    )
    assert found is not None
    assert (found["from_org"], found["to_org"]) == ("ong-norte", "refugio-sur")
    events = await world.admin.fetch(
        "select type, seq, facts is not null as facts from bus.event where key = $1 order by seq",
        found["case_ref"],
    )
    assert [tuple(e) for e in events] == [
        ("consent.given", 1, False),
        ("case.opened", 2, True),
        ("referral.requested", 3, True),
    ]
    leaves = await world.admin.fetch(
        "select kind from custody.leaf where body like $1", f"%{found['referral_ref']}%".encode()
    )
    assert [leaf["kind"] for leaf in leaves] == ["accepted"]


async def test_a_repeat_gets_the_stored_answer_and_other_content_is_a_conflict(
    world: World,
) -> None:
    sent, key = bundle(person=person(12)), str(uuid4())
    first = await world.call("POST", "/fhir", "ong-norte", sent, Idempotency_Key=key)
    again = await world.call("POST", "/fhir", "ong-norte", sent, Idempotency_Key=key)
    assert first[0] == again[0] == 200, first
    assert first[1] == again[1]
    other = bundle(person=person(13))
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", other, Idempotency_Key=key)
    assert status == 409
    assert body["issue"][0]["details"]["coding"][0]["code"] == "duplicate"


async def test_the_same_person_again_is_the_same_case(world: World) -> None:
    first = await world.refer(person=person(14))
    second = await world.refer(person=person(14))
    assert first["Patient"] == second["Patient"]
    cases = await world.admin.fetch(
        "select distinct r.case_ref from gateway.alias a join gateway.referral r"
        " using (referral_ref) where a.alias = any($1::uuid[])",
        [first["Task"], second["Task"]],
    )
    assert len(cases) == 1


async def test_two_referrals_of_one_person_at_once_are_both_accepted(world: World) -> None:
    many = await asyncio.gather(*(world.refer(person=person(15)) for _ in range(5)))
    assert len({ids["Patient"] for ids in many}) == 1
    assert len({ids["Task"] for ids in many}) == 5


async def test_a_full_referral_to_a_legal_service_is_accepted(world: World) -> None:
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", full_bundle(person=person(16)))
    assert status == 200, body
    assert body["entry"][0]["response"]["outcome"]["resourceType"] == "OperationOutcome"


async def test_of_a_refused_submission_a_digest_and_the_reasons_are_kept(world: World) -> None:
    before = await world.admin.fetchval("select count(*) from gateway.refusal")
    sent = bundle(person=person(17), to_org="nadie-conocido")
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", sent)
    assert status == 422
    assert body["issue"][0]["details"]["coding"][1]["code"] == "recipient-agreement"
    rows = await world.admin.fetch("select reasons from gateway.refusal order by at desc")
    assert len(rows) == before + 1
    assert rows[0]["reasons"] == ["not-permitted/recipient-agreement"]


async def test_no_token_no_answer(world: World) -> None:
    status, body, headers = await world.call("POST", "/fhir", None, bundle())
    assert status == 401
    assert headers["www-authenticate"] == "Bearer"
    assert body["issue"][0]["code"] == "login"


async def test_an_assertion_is_good_once(world: World) -> None:
    assert (await world.token("ong-norte", jti="uno"))[0] == 200
    status, body = await world.token("ong-norte", jti="uno")
    assert (status, body["error_rule"]) == (401, "jti-replayed")


async def test_too_broad_a_scope_is_refused(world: World) -> None:
    status, body = await world.token("refugio-sur", scope="system/Task.cruds")
    assert (status, body["error"]) == (400, "invalid_scope")


async def test_a_wrong_method_and_an_unknown_path_are_told_apart(world: World) -> None:
    assert (await world.call("DELETE", "/fhir", "ong-norte"))[0] == 405
    assert (await world.call("GET", "/nada", "ong-norte"))[0] == 404


async def test_the_vault_is_told_what_to_keep(world: World) -> None:
    await world.refer(person=person(18))
    for _ in range(50):
        left = await world.admin.fetchval("select count(*) from gateway.submission where not kept")
        if left == 0:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("submissions were not kept")


async def _hold(world: World, settings: Settings, key: str, age: timedelta) -> UUID:
    """A reservation as an attempt leaves it that died at this age."""
    keys = Keys(settings.secret("index.key"), settings.secret("digest.key"))
    attempt = uuid4()
    await world.admin.execute(
        "insert into gateway.submission (org, key_mac, digest, attempt, status, started_at)"
        " values ('ong-norte', $1, $2, $3, 'running', now() - $4::interval)",
        submission_mac(keys, "ong-norte", key, None),
        content_digest(keys, "ong-norte", bundle(person=person(19), seed=19)),
        attempt,
        age,
    )
    return attempt


async def test_while_the_first_attempt_runs_a_repeat_waits(
    world: World, edge_settings: Settings
) -> None:
    sent, key = bundle(person=person(20)), str(uuid4())
    keys = Keys(edge_settings.secret("index.key"), edge_settings.secret("digest.key"))
    await world.admin.execute(
        "insert into gateway.submission (org, key_mac, digest, attempt, status)"
        " values ('ong-norte', $1, $2, $3, 'running')",
        submission_mac(keys, "ong-norte", key, None),
        content_digest(keys, "ong-norte", sent),
        uuid4(),
    )
    status, body, headers = await world.call(
        "POST", "/fhir", "ong-norte", sent, Idempotency_Key=key
    )
    assert (status, headers["retry-after"]) == (409, "1")
    assert body["issue"][0]["details"]["coding"][0]["code"] == "in-progress"


async def test_a_dead_attempt_is_taken_over_and_the_vault_forgets_it(
    world: World, edge_settings: Settings
) -> None:
    key = str(uuid4())
    dead = await _hold(world, edge_settings, key, timedelta(seconds=11))
    sent = bundle(person=person(19))
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", sent, Idempotency_Key=key)
    assert status == 200, body
    for _ in range(50):
        known = await world.admin.fetchval(
            "select count(*) from gateway.abandoned where attempt = $1", dead
        )
        if known == 0:
            break
        await asyncio.sleep(0.1)
    assert known == 0


async def test_several_open_cases_of_one_person_need_a_requisition(world: World) -> None:
    for number in ("C-1", "C-2"):
        await world.refer(person=person(21), requisition=number)
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", bundle(person=person(21)))
    assert status == 409
    assert body["issue"][0]["details"]["coding"][1]["code"] == "several-cases"
    other = bundle(person=person(22), requisition="C-1")
    await world.refer(person=person(22))
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", other)
    assert status == 409
    assert body["issue"][0]["details"]["coding"][1]["code"] == "case-of-another"
    nobody = bundle(person=person(2323), requisition="C-1")
    status, body, _ = await world.call("POST", "/fhir", "ong-norte", nobody)
    assert status == 409
    assert body["issue"][0]["details"]["coding"][1]["code"] == "case-of-another"
