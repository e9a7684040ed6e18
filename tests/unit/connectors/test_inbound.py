"""FHIR Bundle → submission: what is read, what each refusal names, and nothing else."""

import copy
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.fhir_r4.mapping import Context, Mapped, to_submission, warm_up
from connectors.sdk.faults import Fault, Faults
from connectors.sdk.strict import parse_strict
from connectors.sdk.times import age_band, youngest_age
from connectors.sdk.types import categories_of
from services.kit.errors import catalogue
from tests.support.bundles import (
    BASE,
    MUTATIONS,
    Mutation,
    Sample,
    bundle,
    extension,
    full_bundle,
    put,
    resource,
)

NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
CONTEXT = Context("ong-norte", NOW, "America/Bogota", BASE)


def sample(**changes: Any) -> Any:
    return full_bundle(now=NOW, seed=7, **changes)


def mapped(document: Any) -> Mapped:
    return to_submission(parse_strict(json.dumps(document).encode()), CONTEXT)


def refused(document: Any) -> Any:
    with pytest.raises(Faults) as caught:
        mapped(document)
    return {(fault.code, fault.rule, fault.field) for fault in caught.value.faults}


def test_the_full_sample_fills_every_category_it_may_hold() -> None:
    found = mapped(sample()).submission
    assert categories_of(found.person, found.case) == (
        "biometric_or_image", "contact", "ethnicity", "experience_narrative",
        "exploitation_details", "family", "gender_identity_orientation", "health", "identity",
        "location_precise", "migration_status", "pseudonymous_core", "sexual_violence",
    )  # fmt: skip


def test_what_is_not_kept_is_said_and_display_and_profile_are_not() -> None:
    document = sample()
    resource(document, "Patient")["meta"] = {"profile": ["http://x.example/p"], "tag": []}
    resource(document, "Task")["owner"]["display"] = "nadie"
    resource(document, "Task")["groupIdentifier"] = {"value": "g"}
    assert mapped(document).dropped == ("Patient.text", "Task.groupIdentifier")


def test_absent_stays_absent() -> None:
    document = bundle(now=NOW)
    for name in ("gender", "birthDate", "address", "telecom"):
        del resource(document, "Patient")[name]
    person = mapped(document).submission.person
    assert (person.sex, person.age_band, person.is_minor, person.country) == (None,) * 4


def test_free_text_becomes_narrative_in_document_order() -> None:
    assert len(mapped(sample()).submission.case.narratives) == 3


def test_the_idempotency_candidates_are_the_bundles_and_the_tasks_identifiers() -> None:
    found = mapped(sample())
    assert found.bundle_identifier is not None
    assert found.task_identifier is not None
    assert found.entries[:4] == ("Patient", "ServiceRequest", "Consent", "Task")


def test_a_date_only_end_includes_that_day_in_the_cells_zone() -> None:
    document = sample()
    resource(document, "Consent")["provision"]["period"]["end"] = "2026-06-30"
    valid_to = mapped(document).submission.consent.valid_to
    assert valid_to == datetime(2026, 7, 1, 5, tzinfo=UTC)


def test_a_minor_with_caregiver_and_assent_is_taken() -> None:
    found = mapped(sample(minor=True)).submission
    assert found.person.is_minor
    assert (found.consent.giver, found.consent.giver_relative) == ("caregiver", 0)


def test_an_emergency_needs_no_giver_but_reason_and_approver() -> None:
    document = bundle(
        now=NOW, legal_basis="vital_interest", purpose="emergency",
        basis_reason="danger_to_life", approver="ana.coord",
    )  # fmt: skip
    del resource(document, "Consent")["performer"]
    assert mapped(document).submission.consent.legal_basis == "vital_interest"


def test_a_deny_may_name_an_organisation_or_a_kind() -> None:
    denies = (("kind:police", ("contact",)), ("otra-org", ("health",)))
    items = mapped(bundle(now=NOW, denies=denies)).submission.consent.items
    assert [(i.decision, i.to_org, i.to_kind) for i in items[1:]] == [
        ("deny", None, "police"),
        ("deny", "otra-org", None),
    ]


def test_a_partner_code_is_read_through_the_crosswalk() -> None:
    document = bundle(now=NOW)
    coding = {"system": f"{BASE}/CodeSystem/primero-service-type", "code": "food_service"}
    resource(document, "ServiceRequest")["code"] = {"coding": [coding]}
    assert mapped(document).submission.referral.service_type == "food"


def test_priorities_are_read_by_their_table() -> None:
    found = {
        code: mapped(bundle(now=NOW, priority=code)).submission.referral.priority
        for code in ("stat", "asap", "urgent", "routine")
    }
    assert found == {"stat": "immediate", "asap": "urgent", "urgent": "high", "routine": "routine"}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_one_mutation_gets_its_refusal(mutation: Mutation) -> None:
    document = sample(minor=mutation.minor)
    mapped(copy.deepcopy(document))
    mutation.change(document)
    found = refused(document)
    assert found == {(mutation.code, mutation.rule, mutation.field)}


def test_every_fault_has_a_row_in_the_catalogue() -> None:
    assert {(m.code, m.rule) for m in MUTATIONS} <= set(catalogue())


def test_no_submitted_name_or_value_is_in_a_fault() -> None:
    secret = "Zenobia Marquesado"
    for change in (
        put("Patient", secret, value=secret),
        put("Patient", "gender", value=secret),
        put("Patient", "birthDate", value=secret),
        put("Patient", "name", 0, secret, value=secret),
        put("Patient", "extension", "+", value={"url": secret, secret: secret}),
        put("Task", "groupIdentifier", value={secret: secret}),
        put("Task", "focus", "reference", value=secret),
        put("Bundle", "entry", 0, "resource", "resourceType", value=secret),
        put("Bundle", secret, value=secret),
    ):
        document = sample()
        change(document)
        with pytest.raises(Faults) as caught:
            mapped(document)
        assert secret not in str(caught.value) + repr(caught.value.faults)


@pytest.mark.parametrize(
    ("birth", "age"),
    [
        ("2008-03-05", 17), ("2008-03-04", 18), ("2008-03", 17), ("2008", 17), ("2026", 0),
        ("2027", None), ("1926-03-04", 100),
    ],
)  # fmt: skip
def test_a_partial_birth_date_counts_as_the_youngest_age_it_allows(birth: Any, age: Any) -> None:
    assert youngest_age(birth, date(2026, 3, 4)) == age


@pytest.mark.parametrize(
    ("now", "minor"),
    [
        (datetime(2026, 3, 4, 4, 59, tzinfo=UTC), True),
        (datetime(2026, 3, 4, 5, 0, tzinfo=UTC), False),
    ],
)
def test_somebody_comes_of_age_with_the_cells_day_and_not_with_utcs(
    now: datetime, minor: bool
) -> None:
    document = bundle(now=now, seed=7)
    resource(document, "Patient")["birthDate"] = "2008-03-04"
    context = replace(CONTEXT, now=now)
    if minor:
        with pytest.raises(Faults) as caught:
            to_submission(document, context)
        assert "consent-minor-giver" in {fault.code for fault in caught.value.faults}
    else:
        assert to_submission(document, context).submission.person.is_minor is False


def test_assent_stands_beside_consent_and_no_other_basis_waits_for_it() -> None:
    document = bundle(
        now=NOW, seed=7, minor=True, purpose="emergency", legal_basis="vital_interest",
        basis_reason="danger_to_life", approver="jefa-de-turno",
    )  # fmt: skip
    extension("Consent", "assent")(document)
    assert mapped(document).submission.consent.assent is None
    extension("Consent", "assent", valueCode="dissented")(document)
    assert {code for code, _, _ in refused(document)} == {"consent-assent"}


def test_the_bands_meet_without_gaps() -> None:
    ages = (0, 5, 6, 11, 12, 14, 15, 17, 18, 25, 26, 40, 41, 60, 61, 99)
    bands = [age_band(age) for age in ages]
    assert bands[::2] == bands[1::2]
    assert len(set(bands)) == 8


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=8), st.just([]), st.just({}),
    st.just([None]), st.just({"reference": "x/y"}), st.just("0000-13-99"), st.just("2026-02-30"),
    st.just({"coding": [{}]}), st.just([{"coding": [{"code": 1}]}]), st.just("9999-12-31"),
    st.just("0000"), st.just("2026-01-01T24:61:61Z"), st.just("0001-01-01T00:00:00+14:00"),
)  # fmt: skip


def places(node: Any, found: Any) -> Any:
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in pairs:
        found.append((node, key))
        if isinstance(value, dict | list):
            places(value, found)
    return found


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_mutation_maps_or_is_refused_and_never_fails_otherwise(data: Any) -> None:
    document = copy.deepcopy(RICH)
    for _ in range(data.draw(st.integers(1, 3))):
        node, key = data.draw(st.sampled_from(places(document, [])))
        action = data.draw(st.sampled_from(("junk", "cut", "name", "copy")))
        if action == "junk":
            node[key] = copy.deepcopy(data.draw(JUNK))
        elif action == "cut":
            del node[key]
        elif action == "name" and isinstance(node, dict):
            node[data.draw(st.text(max_size=6))] = copy.deepcopy(data.draw(JUNK))
        elif action == "copy":
            other, at = data.draw(st.sampled_from(places(document, [])))
            node[key] = copy.deepcopy(other[at])
    faults: tuple[Fault, ...] = ()
    try:
        mapped(document)
    except Faults as caught:
        faults = caught.faults
    assert all((fault.code, fault.rule) in catalogue() for fault in faults)


RICH = Sample(now=NOW, seed=3, rich=True, minor=True).bundle()


def test_warming_up_needs_nothing() -> None:
    warm_up()


def test_the_strictest_confidentiality_label_counts() -> None:
    document = sample()
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "V"}
    resource(document, "Patient")["meta"] = {"security": [label]}
    assert mapped(document).submission.case.confidentiality == "strictly_confidential"
