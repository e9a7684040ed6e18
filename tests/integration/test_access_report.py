"""An access report over the admin port on real databases: who gets one, when, and what is in it."""

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from services.console.local.place import Place
from services.kit.crypto import verify_ed25519
from tests.integration.test_gateway_staff import Office, opened
from tests.support import servers

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERS, OTHERS = 4_400_001, 4_400_002
ASKER, APPROVER = "officer-a", "officer-b"
PATH = "/admin/access-reports"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    secrets: Place, pg: servers.Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    folder: Path = tmp_path_factory.mktemp("staff")
    services = ("vault", "consent", "referral", "gateway")
    async with opened(secrets, pg, folder, services) as made:
        for staff_id, org in ((ASKER, "red-a"), (APPROVER, "red-b")):
            body = made.body(staff_id, ["protection_officer"], org)
            assert (await made.by("operator-1", "POST", "/admin/staff", body))[0] == 200
        yield made


async def case_of(office: Office, number: int, **changes: Any) -> str:
    """A new referral of an invented person; the case it opened."""
    await office.world.refer(person=person(number), **changes)
    return str(
        await office.world.admin.fetchval(
            "select case_ref from gateway.referral order by accepted_at desc limit 1"
        )
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def case(office: Office) -> str:
    """Her case, beside another person's."""
    hers = await case_of(office, HERS)
    await case_of(office, OTHERS)
    return hers


async def asked(office: Office, case: str, reason: str = "subject_access") -> str:
    body = {"case_ref": case, "reason_code": reason}
    return str((await office.by(ASKER, "POST", "/admin/openings", body))[1]["opening_ref"])


async def approved(office: Office, case: str, reason: str = "subject_access") -> str:
    ref = await asked(office, case, reason)
    path = f"/admin/openings/{ref}/approval"
    assert (await office.by(APPROVER, "POST", path))[0] == 200
    return ref


async def report(office: Office, case: str, lang: str = "es", **more: str) -> Any:
    body = {"case_ref": case, "language": lang, **more}
    return await office.by(ASKER, "POST", PATH, body)


@pytest.mark.parametrize("lang", ["es", "en", "pt"])
async def test_a_report_tells_the_person_all_that_is_held_on_her_and_nothing_of_another(
    office: Office, case: str, lang: str
) -> None:
    ref = await approved(office, case)
    status, made = await report(office, case, lang)
    assert (status, made["opening_ref"], made["language"]) == (200, ref, lang)
    files = {name: base64.b64decode(text) for name, text in made["files"].items()}
    told = orjson.loads(files["report.json"])
    her, other = person(HERS), person(OTHERS)
    for file in ("report.html", "report.json"):
        text = files[file].decode()
        assert f'lang="{lang}"' in text or f'"language": "{lang}"' in text
        assert all(value in text for value in (her.number, her.family, her.phone))
        assert not any(value in text for value in (other.number, other.phone))
        assert ASKER not in text
        assert APPROVER not in text
        public = office.world.host.settings.secret("report.pub")
        assert verify_ed25519(public, files[file], files[f"{file}.sig"])
    assert told["sender"] == {"org": "ong-norte", "name": "ONG Norte"}
    assert told["openings"][-1]["reason"]["code"] == "subject_access"
    assert [c["what"]["code"] for c in told["consents"][0]["changes"]] == ["given"]
    (leaf,) = [x for x in await office.leaves("identity_opened") if x["opening_ref"] == ref]
    assert (leaf["reason_code"], leaf["approvers"]) == ("subject_access", [ASKER, APPROVER])
    due = (await office.by(ASKER, "GET", "/admin/notices"))[1]["notices"]
    assert ref in [one["about_ref"] for one in due]


async def test_a_person_with_two_cases_is_told_that_there_is_another(office: Office) -> None:
    first = await case_of(office, 4_400_003, requisition="A-1")
    second = await case_of(office, 4_400_003, requisition="A-2")
    assert first != second
    await approved(office, second)
    _, made = await report(office, second)
    assert made["other_cases"] == 1
    told = orjson.loads(base64.b64decode(made["files"]["report.json"]))
    assert len(told["record"]) == 1


async def test_what_was_taken_back_at_the_hub_is_in_the_report(office: Office) -> None:
    case = await case_of(office, 4_400_004)
    consent = await office.world.admin.fetchval(
        "select consent_ref from gateway.referral where case_ref = $1", UUID(case)
    )
    path = f"/admin/consents/{consent}/withdrawal"
    taken = await office.by(ASKER, "POST", path, {"status": "withdrawn", "to_org": "refugio-sur"})
    assert taken[0] == 200
    await approved(office, case)
    _, made = await report(office, case, "en")
    told = orjson.loads(base64.b64decode(made["files"]["report.json"]))
    (one,) = told["consents"]
    assert [c["what"]["code"] for c in one["changes"]] == ["given", "withdrawn"]
    assert one["changes"][1]["by"] == "by way of the network"
    assert not one["in_force"]


async def test_nobody_gets_a_report_without_an_opening_for_it(office: Office) -> None:
    case = await case_of(office, 4_400_005)
    needed = (409, {"code": "opening-needed"})
    assert await report(office, case) == needed
    other = await approved(office, case, "court_order")
    assert await report(office, case) == needed
    reason = await report(office, case, opening_ref=other)
    assert reason == (409, {"code": "opening-other-reason"})
    ref = await asked(office, case)
    assert await report(office, case) == (409, {"code": "opening-not-approved"})
    body = {"case_ref": case, "language": "es", "opening_ref": ref}
    theirs = await office.by(APPROVER, "POST", PATH, body)
    assert theirs == (404, {"code": "opening-unknown"})
    assert await office.by("operator-1", "POST", PATH, body) == (403, {"code": "role-missing"})
    told = [leaf for leaf in await office.leaves("identity_opened") if leaf["case_ref"] == case]
    assert told == []


async def test_an_opening_serves_once_in_time_for_its_case_and_for_what_it_was_approved(
    office: Office, case: str
) -> None:
    mine = await case_of(office, 4_400_006)
    ref = await approved(office, mine)
    wrong = await report(office, case, opening_ref=ref)
    assert wrong == (409, {"code": "opening-other-case"})
    identity = await office.by(ASKER, "POST", f"/admin/openings/{ref}/identity")
    assert identity == (409, {"code": "opening-is-for-report"})
    assert (await report(office, mine, opening_ref=ref))[0] == 200
    assert await report(office, mine, opening_ref=ref) == (409, {"code": "opening-used"})
    late = await approved(office, mine)
    await office.world.admin.execute(
        "update gateway.opening set requested_at = requested_at - $2::interval"
        " where opening_ref = $1",
        UUID(late),
        timedelta(hours=25),
    )
    assert await report(office, mine, opening_ref=late) == (409, {"code": "opening-expired"})


async def test_a_request_that_is_wrong_names_the_field_and_the_rule(
    office: Office, case: str
) -> None:
    for change, field, rule in (
        ({"case_ref": "x"}, "case_ref", "uuid"),
        ({"case_ref": None}, "case_ref", "required"),
        ({"language": "fr"}, "language", "code"),
        ({"language": ""}, "language", "required"),
        ({"opening_ref": "x"}, "opening_ref", "uuid"),
        ({"why": "x"}, "why", "unknown"),
    ):
        body = {"case_ref": case, "language": "es", **change}
        status, answer = await office.by(ASKER, "POST", PATH, body)
        assert (status, answer["faults"]) == (422, [{"field": field, "rule": rule}])
    assert await report(office, str(uuid4())) == (404, {"code": "case-unknown"})
