"""What was put right in a case reaches who got it, on a whole hub with one recipient called."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from connectors.sandbox.samples import BASE
from services.gateway.cases import changing
from services.kit.crypto import jwk_of
from services.kit.settings import Settings
from tests.support import servers
from tests.support.delivery_world import held_by
from tests.support.gateway_world import SUR, World, whole
from tests.support.shelter import Shelter

SOURCE, CALLED, READER = "ong-norte", "refugio-sur", "casa-lejana"
LEJANA = SUR.replace(CALLED, READER).replace("org-beta", "org-gama").replace("Refugio Sur", "Casa")
CORE, CONTACT, IDENTITY = "pseudonymous_core", "contact", "identity"
ALL = (CORE, CONTACT, IDENTITY)
PEOPLE = iter(range(4_500_000, 4_600_000))
NAME = {"family": "Corregida", "given": ["Amaranta"]}
PHONE = "+57 000 5559911"
RIGHT = {"names": [NAME], "telecom": [{"system": "phone", "value": PHONE}]}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def shelter(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Shelter(tmp_path_factory.mktemp("shelter"))
    pem = settings.secret("client.es384")
    (made.folder / "jwks.json").write_bytes(orjson.dumps({"keys": [jwk_of(pem)]}))
    made.start()
    yield made
    made.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    settings: Settings, pg: servers.Databases, shelter: Shelter
) -> AsyncIterator[World]:
    async with whole(settings, pg.admin_dsn, {READER: LEJANA}) as made:
        called = {
            "transport": "push",
            "connector": {
                "name": "fhir_r4",
                "base_url": f"{shelter.base}/fhir",
                "token_url": f"{shelter.base}/oauth/token",
                "client_id": "cauce",
                "answers": "poll",
                "mapping_version": 1,
            },
        }
        await made.admin.execute(
            "update gateway.partner set version = version + 1, record = record || $2::jsonb"
            " where org = $1",
            CALLED,
            orjson.dumps(called).decode(),
        )
        yield made


async def until(found: Callable[[], Any], seconds: float = 15) -> Any:
    """What `found` answers, once it is something."""
    for _ in range(int(seconds / 0.05)):
        if answer := found():
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError("nothing came")


def patients(shelter: Shelter, phone: str) -> list[dict[str, Any]]:
    """Patients at the shelter who can be reached at a number."""
    return [p for p in held_by(shelter, "Patient").values() if phone in _phones(p)]


def _phones(patient: dict[str, Any]) -> list[str]:
    return [one["value"] for one in patient.get("telecom", [])]


async def refer(world: World, who: Any, org: str, categories: tuple[str, ...]) -> dict[str, str]:
    return await world.refer(
        person=who,
        requisition=None,
        to_org=org,
        entry=f"{org}-legal",
        service_type="legal_counsel",
        purpose="legal_assistance",
        categories=categories,
    )


async def accept(world: World, ids: dict[str, str], org: str) -> None:
    """The recipient accepts, once its delivery has arrived."""
    for _ in range(200):
        task = await world.task_of(ids, org)
        if task["status"] == "received" or org == READER:
            break
        await asyncio.sleep(0.05)
    status, body = await world.answer(task, org, status="accepted")
    assert status == 200, body


async def case_of(world: World, ids: dict[str, str]) -> str:
    status, consent, _ = await world.call("GET", f"/v1/consents/{ids['Consent']}", SOURCE)
    assert status == 200, consent
    return f"/v1/cases/{consent['case']}"


async def update(
    world: World, path: str, version: int = 1, **said: Any
) -> tuple[int, dict[str, Any]]:
    body = {"command": "update", "expected_version": version, **said}
    status, answer, _ = await world.call(
        "POST", f"{path}/commands", SOURCE, body, Content_Type="application/json"
    )
    return status, answer


async def data(world: World, ids: dict[str, str]) -> tuple[int, Any]:
    """What the reading recipient reads of a referral."""
    task = await world.task_of(ids, READER)
    status, body, _ = await world.call("GET", f"/v1/referrals/{task['id']}/data", READER)
    return status, body


async def changes(world: World, org: str) -> list[Any]:
    """What a recipient has yet to read anew."""
    status, body, _ = await world.call("GET", "/v1/data-changes", org)
    assert status == 200, body
    return list(body["data_changes"])


async def test_a_name_and_a_number_put_right_reach_who_got_them(
    world: World, shelter: Shelter
) -> None:
    who = person(next(PEOPLE))
    ids = await refer(world, who, CALLED, ALL)
    await accept(world, ids, CALLED)
    (before,) = await until(lambda: patients(shelter, who.phone))
    path = await case_of(world, ids)
    status, body = await update(world, path, person=RIGHT)
    assert (status, body["version"]) == (200, 2)
    (after,) = await until(lambda: patients(shelter, PHONE))
    assert after["id"] == before["id"]
    assert [name["family"] for name in after["name"]] == [NAME["family"]]
    assert _phones(after) == [PHONE]
    assert not patients(shelter, who.phone)
    status, body = await update(world, path, person=RIGHT)
    assert (status, body["faults"][0]["rule"]) == (409, "expected-version")


async def dealt_with(world: World, ids: dict[str, str]) -> list[tuple[str, str]]:
    """What was done about a referral's recipient for each change."""
    rows = await world.admin.fetch(
        "select r.result, r.rule from delivery.rectified r join gateway.alias a"
        " on a.target = r.referral_ref where a.alias = $1::uuid order by r.version",
        ids["Task"],
    )
    return [(row["result"], row["rule"]) for row in rows]


async def rounds(world: World, rows: int = 0) -> None:
    """Wait until every amendment has been looked at, and `rows` recipients dealt with in all."""
    for _ in range(300):
        seen = await world.admin.fetchval("select count(*) from delivery.rectified")
        lag = await world.admin.fetchval(
            "select count(*) from bus.event e where e.type = 'case.updated' and not exists ("
            " select from delivery.amendment a where a.case_ref = e.key)"
        )
        if seen >= rows and not lag:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.5)  # a whole round of the leader


async def test_who_never_got_the_category_gets_nothing(world: World, shelter: Shelter) -> None:
    who = person(next(PEOPLE))
    called = await refer(world, who, CALLED, ALL)
    await accept(world, called, CALLED)
    await until(lambda: patients(shelter, who.phone))
    reader = await refer(world, who, READER, (CORE,))
    assert (await data(world, reader))[0] == 200
    path = await case_of(world, called)
    assert await case_of(world, reader) == path
    status, _ = await update(
        world, path, person={"telecom": [{"system": "phone", "value": PHONE + "1"}]}
    )
    assert status == 200
    await until(lambda: patients(shelter, PHONE + "1"))
    assert await dealt_with(world, called) == [("queued", "amended")]
    assert await dealt_with(world, reader) == []
    assert "telecom" not in (await data(world, reader))[1]["person"]


async def test_who_reads_here_reads_what_is_right_also_after_the_end(world: World) -> None:
    who = person(next(PEOPLE))
    ids = await refer(world, who, READER, ALL)
    assert (await data(world, ids))[0] == 200
    await accept(world, ids, READER)
    old = (await data(world, ids))[1]["person"]
    assert (old["names"][0]["family"], old["telecom"][0]["value"]) == (who.family, who.phone)
    task = await world.task_of(ids, READER)
    said = coded("task-output", "referral-outcome"), coded("referral-outcome", "service_provided")
    output = [{"type": said[0], "valueCodeableConcept": said[1]}]
    status, body = await world.answer(task, READER, status="completed", output=output)
    assert status == 200, body
    path = await case_of(world, ids)
    status, _ = await update(world, path, person=RIGHT)
    assert status == 200
    await until_async(lambda: dealt_with(world, ids))
    assert await dealt_with(world, ids) == [("told", "amended")]
    (change,) = await changes(world, READER)
    assert change["data"] == f"/v1/referrals/{task['id']}/data"
    assert change["referral"] == task["id"]
    new = (await data(world, ids))[1]["person"]
    assert (new["names"], new["telecom"]) == ([NAME], RIGHT["telecom"])
    assert await changes(world, READER) == []


def coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": f"{BASE}/CodeSystem/{system}", "code": code}]}


async def until_async(found: Callable[[], Any]) -> None:
    for _ in range(300):
        if await found():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("nothing came")


async def test_who_may_know_it_no_more_gets_nothing(world: World, shelter: Shelter) -> None:
    who = person(next(PEOPLE))
    called = await refer(world, who, CALLED, ALL)
    await accept(world, called, CALLED)
    await until(lambda: patients(shelter, who.phone))
    reader = await refer(world, who, READER, ALL)
    assert (await data(world, reader))[0] == 200
    where = f"/v1/consents/{called['Consent']}/withdrawals"
    kind = {"Content_Type": "application/json"}
    assert (await world.call("POST", where, SOURCE, {}, **kind))[0] == 201
    path = await case_of(world, reader)
    status, _ = await update(world, path, person={"names": [NAME | {"family": "Rectificada"}]})
    assert status == 200
    await until_async(lambda: dealt_with(world, reader))
    await rounds(world)
    assert await dealt_with(world, called) == []
    written = orjson.dumps(shelter.journal("effect")).decode()
    assert "Rectificada" not in written
    where = f"/v1/consents/{reader['Consent']}/withdrawals"
    assert (await world.call("POST", where, SOURCE, {}, **kind))[0] == 201
    for version in range(2, 100):
        names = [NAME | {"family": f"Corregida {version}"}]
        status, body = await update(world, path, version, person={"names": names})
        if status != 200:
            break
        await asyncio.sleep(0.1)
    assert (status, body["faults"][0]["code"]) == (403, "suppressed")


async def test_a_repeat_and_what_was_right_already_change_nothing(world: World) -> None:
    ids = await refer(world, person(next(PEOPLE)), READER, ALL)
    assert (await data(world, ids))[0] == 200
    path = await case_of(world, ids)
    body = {
        "command": "update",
        "expected_version": 1,
        "person": RIGHT,
        "facts": {"risk_level": "high"},
    }
    kind = {"Content_Type": "application/json", "Idempotency_Key": "right"}
    first = await world.call("POST", f"{path}/commands", SOURCE, body, **kind)
    again = await world.call("POST", f"{path}/commands", SOURCE, body, **kind)
    assert (first[:2], first[0]) == (again[:2], 200)
    status, answer = await update(world, path, 2, person=RIGHT)
    assert (status, answer["version"]) == (200, 2)
    events = await world.admin.fetchval(
        "select count(*) from bus.event e join gateway.alias a on a.target = e.key"
        " where a.alias = $1::uuid and e.type = 'case.updated'",
        path.rpartition("/")[2],
    )
    assert events == 1
    status, answer = await update(world, path, 2, remove=["person.telecom", "facts.risk_level"])
    assert (status, answer["version"]) == (200, 3)
    shown = (await data(world, ids))[1]
    assert "telecom" not in shown["person"]
    assert shown["person"]["names"] == [NAME]


async def test_a_change_that_dies_before_its_commit_never_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await refer(world, person(next(PEOPLE)), READER, ALL)
    path = await case_of(world, ids)
    body = {"command": "update", "expected_version": 1, "person": RIGHT}
    kind = {"Content_Type": "application/json", "Idempotency_Key": "once"}

    async def dies(*_: Any) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(changing, "put_events", dies)
        assert (await world.call("POST", f"{path}/commands", SOURCE, body, **kind))[0] == 503
    assert (await data(world, ids))[1]["person"]["names"] != [NAME]
    status, answer, _ = await world.call("POST", f"{path}/commands", SOURCE, body, **kind)
    assert (status, answer["version"]) == (200, 2)
    for _ in range(100):
        if (await data(world, ids))[1]["person"]["names"] == [NAME]:
            break
        await asyncio.sleep(0.05)
    assert (await data(world, ids))[1]["person"]["names"] == [NAME]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, ("required", "element", "person")),
        ({"person": {"sex": "blue"}}, ("code-invalid", "not-in-list", "person.sex")),
        ({"person": {"hair": "red"}}, ("structure", "unknown-element", "person")),
        ({"facts": {"risk_level": "x"}}, ("code-invalid", "not-in-list", "facts.risk_level")),
        (
            {"facts": {"confidentiality": "public"}},
            ("unsupported", "element", "facts.confidentiality"),
        ),
        (
            {"person": {"age_band": "age_61_plus"}},
            ("value-invalid", "contradiction", "person.birth_date"),
        ),
        (
            {"person": {"birth_date": "2020-01-01"}},
            ("consent-minor-giver", "minor-giver", "person.is_minor"),
        ),
        (
            {"facts": {"narratives": ["She said"]}},
            ("consent-narrative", "narrative", "facts.narratives[0]"),
        ),
        ({"remove": ["person.soul"]}, ("code-invalid", "not-in-list", "remove[0]")),
        ({"remove": "person.telecom"}, ("structure", "wrong-type", "remove")),
        (
            {"closure_reason": "moved", "person": RIGHT},
            ("structure", "unknown-element", "closure_reason"),
        ),
    ],
)
async def test_what_is_wrong_is_named(
    world: World, said: Any, expected: tuple[str, str, str]
) -> None:
    path = await case_of(world, await refer(world, person(4_599_999), READER, ALL))
    _, shown, _ = await world.call("GET", path, SOURCE)
    status, answer = await update(world, path, shown["version"], **said)
    assert status in {400, 422}, answer
    assert [(f["code"], f["rule"], f["field"]) for f in answer["faults"]] == [expected]


async def test_no_value_stands_in_the_hub(world: World) -> None:
    """Whatever the tests before put right is nowhere but in the vault."""
    tables = await world.admin.fetch(
        "select format('%I.%I', n.nspname, c.relname) as name from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r'"
        " and n.nspname in ('gateway', 'delivery', 'referral', 'consent', 'custody', 'bus')"
    )
    for word in (NAME["family"], NAME["given"][0], PHONE):
        for table in tables:
            rows = await world.admin.fetch(
                f"select t::text from {table['name']} t"
                " where position($1 in t::text) > 0 or position($2 in t::text) > 0",
                word,
                str(word).encode().hex(),
            )
            assert not rows, table["name"]
