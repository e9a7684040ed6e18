"""The rarer ways of the main job, live: emergency, minors, time, partial withdrawal, opening.

One hub, with its demo people and partners, under epochs of a few seconds: all of this goes on while
keys are wrapped anew and old ones destroyed.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from services.console.local.place import Place
from services.kit.settings import Settings
from tests.support import servers
from tests.support.bundles import cut, extension, resource
from tests.support.hub import Hub
from tests.support.special import (
    Special,
    born_months_before,
    ends,
    less,
    sample,
    short_epochs,
    special_world,
)
from tests.support.withdrawal_world import Referred, until

EMERGENCY: dict[str, Any] = {
    "purpose": "emergency",
    "legal_basis": "vital_interest",
    "basis_reason": "danger_to_life",
    "approver": "jefa-de-turno",
}


@pytest.fixture(scope="module")
def settings(secrets: Place, pg: servers.Databases, kafka: servers.Kafka) -> Settings:
    return short_epochs(secrets, servers.settings_for(secrets, pg, kafka))


@pytest.fixture
async def world(hub: Hub, pg: servers.Databases) -> AsyncIterator[Special]:
    async with special_world(hub, pg) as made:
        yield made


def number_of(bundle: dict[str, Any]) -> str:
    """The sender's own number of the person."""
    found: str = resource(bundle, "Patient")["identifier"][0]["value"]
    return found


def language_of(patient: dict[str, Any]) -> str:
    found: str = patient["communication"][0]["language"]["coding"][0]["code"]
    return found


def identifier_of(task: dict[str, Any]) -> str:
    found: str = task["identifier"][0]["value"]
    return found


async def etag(world: Special, referred: Referred) -> str:
    """Version of a consent as its sender reads it."""
    path = f"/fhir/Consent/{referred.ids['Consent']}"
    _, _, headers = await world.call("ong-norte", "GET", path)
    return {name.lower(): value for name, value in headers.items()}["etag"]


# --- emergency ----------------------------------------------------------------------------------


async def test_an_emergency_carries_core_and_contact_and_is_told_to_the_person_later(
    world: Special,
) -> None:
    referred = await world.refer(sample(**EMERGENCY).bundle())
    await world.becomes(referred, "accepted")
    await world.shows(referred, "Patient", "telecom")

    async def told() -> bool:
        leaves = [x for x in await world.leaves(referred.case_ref) if x["kind"] == "disclosed"]
        return {c for leaf in leaves for c in leaf["categories"]} == {
            "pseudonymous_core",
            "contact",
        }

    await until(told, "not core and contact alone", 5)
    (due,) = [
        one
        for one in world.answer("consent", "notices")["notices"]
        if one["about_ref"] == str(referred.referral_ref)
    ]
    assert (due["cause"], due["status"], due["case_ref"]) == (
        "emergency", "due", str(referred.case_ref),
    )  # fmt: skip

    async def counted() -> bool:
        return bool(await world.metric('cauce_notices{cause="emergency"}'))

    await until(counted, "no metric", 5)
    close = ("consent", "close-notice", due["notice_ref"], "--outcome", "told")
    assert world.cauce(*close)[2] == (
        "cauce: your roles do not allow this: see `cauce staff list`\n"
    )
    assert world.answer(*close, who="officer-norte")["status"] == "told"
    assert world.cauce(*close, who="officer-sur")[2] == "cauce: the notice was closed before\n"
    assert due["notice_ref"] not in world.cauce("consent", "notices")[1]
    assert due["notice_ref"] in world.cauce("consent", "notices", "--all")[1]
    kinds = await world.kinds(referred.case_ref)
    assert (kinds.count("notice_due"), kinds.count("notice_closed")) == (1, 1)


async def test_an_emergency_with_anything_more_or_less_is_refused_by_name(world: Special) -> None:
    more = sample(**EMERGENCY, categories=("pseudonymous_core", "contact", "health"))
    (fault,) = await world.refused(more.bundle())
    assert fault[0] == "not-permitted"
    assert "health" in fault[1]
    for missing in ("legal-basis-reason", "approver"):
        bundle = sample(**EMERGENCY).bundle()
        extension("Consent", missing)(bundle)
        assert {code for code, _ in await world.refused(bundle)} == {"consent-basis"}
    usual = sample(**{**EMERGENCY, "purpose": "service_referral"})
    assert {code for code, _ in await world.refused(usual.bundle())} == {"consent-basis"}
    by_consent = sample(purpose="emergency")
    assert {code for code, _ in await world.refused(by_consent.bundle())} == {"consent-basis"}


# --- minors -------------------------------------------------------------------------------------


async def test_a_minor_needs_a_caregiver_and_assent_and_no_giver_linked_to_the_perpetrator(
    world: Special,
) -> None:
    referred = await world.refer(sample(minor=True).bundle())
    await world.becomes(referred, "accepted")
    stored = await world.admin.fetchrow(
        "select giver, assent from consent.record where consent_ref = $1", referred.consent_ref
    )
    assert tuple(stored or ()) == ("caregiver", "assented")

    linked = extension("Consent", "linked-to-perpetrator", valueBoolean=True)
    for change, code in (
        (extension("Consent", "assent"), "consent-assent"),
        (extension("Consent", "assent", valueCode="dissented"), "consent-assent"),
        (linked, "consent-perpetrator"),
    ):
        bundle = sample(minor=True).bundle()
        change(bundle)
        assert {one for one, _ in await world.refused(bundle)} == {code}


async def test_who_may_still_be_seventeen_in_the_cells_calendar_is_a_minor(world: Special) -> None:
    now = datetime.now(UTC) - timedelta(hours=5)  # the cell's clock
    maybe = born_months_before(sample().bundle(), now, 18)
    assert "consent-minor-giver" in {code for code, _ in await world.refused(maybe)}
    certainly = born_months_before(sample().bundle(), now, 19)
    assert (await world.agency.refer(certainly))["status"] == 200


async def test_a_minor_in_danger_needs_no_assent(world: Special) -> None:
    bundle = sample(**EMERGENCY, minor=True).bundle()
    extension("Consent", "assent")(bundle)
    cut("Consent", "performer")(bundle)
    referred = await world.refer(bundle)
    await world.becomes(referred, "accepted")


# --- opening an identity ------------------------------------------------------------------------


async def test_an_identity_is_opened_by_two_organisations_leaf_first_and_told_later(
    world: Special,
) -> None:
    referred = await world.refer(sample().bundle())
    await world.becomes(referred, "accepted")
    case = str(referred.case_ref)
    ask = ("identity", "request", case, "--reason", "risk_to_life")
    ref = world.answer(*ask, who="officer-norte")["opening_ref"]
    approve, read = ("identity", "approve", ref), ("identity", "read", ref)
    same = world.cauce(*approve, who="operator-norte")
    assert same[:1] + same[2:] == (1, "cauce: a person of another organisation must approve\n")
    assert world.cauce(*read, who="officer-norte")[0] == 1
    assert "identity_opened" not in await world.kinds(referred.case_ref)

    assert world.cauce(*approve, who="officer-sur")[0] == 0
    opened = world.answer(*read, who="officer-norte")
    assert opened["identity"]
    assert world.cauce(*read, who="officer-norte")[0] == 1
    written = await world.admin.fetchrow(
        "select at, body from custody.leaf where leaf_ref = $1", UUID(opened["leaf_ref"])
    )
    shown = await world.in_vault("select at from vault.opening where opening_ref = $1", UUID(ref))
    assert written is not None
    assert written["at"] < shown[0]["at"], "the leaf comes before the answer"
    assert json.loads(written["body"])["approvers"] == ["officer-norte", "officer-sur"]
    causes = {n["about_ref"]: n["cause"] for n in world.answer("consent", "notices")["notices"]}
    assert causes[ref] == "identity_opened"


# --- what changes later at the recipient --------------------------------------------------------


async def test_a_second_referral_of_a_person_updates_one_patient_and_a_part_taken_back_goes(
    world: Special,
) -> None:
    await world.behave(answers=[["received", 50]])
    first_bundle = sample().bundle()
    first = await world.refer(first_bundle)
    await world.becomes(first, "under_review")
    await world.lacks(first, "Patient", "telecom")
    patient = (await world.held(first))["Patient"]

    again = sample(person=sample().person)
    again.person = replace(again.person, number=number_of(first_bundle), language="pt")
    await world.behave(answers=[["received", 50], ["accepted", 50]])
    second = await world.refer(again.bundle())
    assert second.case_ref == first.case_ref
    await world.becomes(second, "accepted")
    await world.shows(second, "Patient", "telecom")
    held = (await world.held(second))["Patient"]
    assert held["id"] == patient["id"], "one Patient"
    assert language_of(held) == "pt", "updated, not kept"
    assert (await world.held(first))["Task"]["id"] != (await world.held(second))["Task"]["id"]

    consent = less(again.bundle(), second.ids, "contact")
    path, headers = (
        f"/fhir/Consent/{second.ids['Consent']}",
        {"If_Match": await etag(world, second)},
    )
    put = await world.call(
        "ong-norte", "PUT", path, consent, **headers, Content_Type="application/fhir+json"
    )
    assert put[0] == 200, put[1]
    await world.lacks(second, "Patient", "telecom")
    await world.answered(second)
    (asked,) = [e for e in await world.erasures(second) if e["data_categories"]]
    assert (asked["data_categories"], asked["effect"]) == (["contact"], "deleted")
    there = [e for e in world.erasures_there() if identifier_of(e) == str(asked["task_id"])]
    assert [one["valueCodeableConcept"]["coding"][0]["code"] for one in there[0]["input"]] == [
        "contact"
    ]
    assert there[0]["status"] == "completed"
    assert await world.status(second) == "accepted"
    assert set(await world.held(second)) == {"Task", "Patient", "ServiceRequest", "Consent"}
    assert await world.erasures(first) == [], "it never had the contact"
    leaves = [x for x in await world.leaves(first.case_ref) if x["kind"] == "erasure_requested"]
    assert [leaf["categories"] for leaf in leaves] == [["contact"]]


async def test_deleting_one_referral_leaves_the_person_as_the_other_allows(world: Special) -> None:
    shelter = sample()
    first = await world.refer(shelter.bundle())
    await world.becomes(first, "accepted")
    await world.shows(first, "Patient", "telecom")
    legal = sample(
        person=shelter.person,
        service_type="legal_counsel",
        purpose="legal_assistance",
        categories=("pseudonymous_core", "contact", "identity"),
    )
    second = await world.refer(legal.bundle())
    await world.becomes(second, "accepted")
    await world.shows(second, "Patient", "birthDate")

    assert (await world.agency.withdraw(second.ids["Consent"]))["status"] == 200
    await world.becomes(second, "revoked")
    await world.answered(second)
    assert await world.held(second) == {}
    await world.lacks(first, "Patient", "birthDate")
    assert "telecom" in (await world.held(first))["Patient"]
    assert await world.status(first) == "accepted"


# --- time ---------------------------------------------------------------------------------------


async def test_consent_that_ends_by_time_stops_all_and_asks_nobody_to_delete(
    world: Special,
) -> None:
    end = datetime.now(UTC) + timedelta(seconds=6)
    made = sample()
    first = await world.refer(ends(made.bundle(), end))
    await world.becomes(first, "accepted")
    await world.shows(first, "Patient", "telecom")
    await world.behave(fault="unavailable")
    second = await world.refer(ends(sample(person=made.person).bundle(), end))

    async def tried() -> bool:
        query = "select attempts from delivery.task where referral_ref = $1"
        return (await world.admin.fetchval(query, second.referral_ref) or 0) > 1

    await until(tried, "never tried", 5)
    assert await world.status(second) == "sent"
    for referred in (first, second):
        await world.becomes(referred, "revoked")
    await world.behave(fault="")
    tasks = await world.admin.fetch(
        "select state, rule from delivery.task where referral_ref = $1", second.referral_ref
    )
    assert {row["state"] for row in tasks} == {"suppressed"}
    kinds = await world.kinds(first.case_ref)
    assert {"expired", "suppressed"} <= set(kinds)
    assert "erasure_requested" not in kinds
    assert await world.erasures(first) + await world.erasures(second) == []

    async def dead() -> bool:
        rows = await world.in_vault(
            "select wrapped from keys.data_key where case_ref = $1", first.case_ref
        )
        return bool(rows) and all(row["wrapped"] is None for row in rows)

    await until(dead, "the key lives on", 10)
    status, task, _ = await world.call("ong-norte", "GET", f"/fhir/Task/{first.ids['Task']}")
    assert (status, task["status"]) == (200, "cancelled")
    assert task["businessStatus"]["coding"][0]["code"] == "consent-withdrawn"


async def test_a_request_to_delete_that_is_not_answered_in_time_is_shown(world: Special) -> None:
    referred = await world.refer(sample().bundle())
    await world.becomes(referred, "accepted")
    await world.behave(erasure_after_ms=4000)
    await world.agency.withdraw(referred.ids["Consent"])

    async def state(wanted: str) -> bool:
        return [e["state"] for e in await world.erasures(referred)] == [wanted]

    await until(partial(state, "sent"), "never sent", 10)
    (asked,) = await world.erasures(referred)
    left = asked["due_at"] - asked["requested_at"]
    assert abs(left - timedelta(days=15)) < timedelta(minutes=1), "the agreement's"
    await world.admin.execute(
        "update delivery.erasure set due_at = due_at - interval '16 days' where referral_ref = $1",
        referred.referral_ref,
    )
    await until(partial(state, "overdue"), "never overdue", 5)
    (shown,) = [
        one
        for one in world.answer("consent", "erasures")["erasures"]
        if one["case_ref"] == str(referred.case_ref)
    ]
    assert (shown["state"], shown["to_org"]) == ("overdue", "refugio-sur")

    async def alarm() -> bool:
        return await world.metric('cauce_erasures{state="overdue"}') == 1

    await until(alarm, "no metric", 5)
    await world.answered(referred)
