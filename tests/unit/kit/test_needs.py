"""Service type → purpose and need-to-know row (`wire.md` §3), every row of it."""

import pytest

from schemas.codes import codes
from services.kit.needs import Need, NoNeed, need_for, service_types

LEGAL = {"legal_counsel", "legal_representation", "documentation_regularization"}
CHILD = {"child_protection", "best_interests", "alternative_care", "family_mediation"}
SHELTER = {"shelter_specialized", "shelter_temporary"}
PSYCHOSOCIAL = {"psychosocial", "mental_health", "gbv_services"}
HEALTH = {"health_medical", "sexual_reproductive_health"}
LIVELIHOODS = {
    *("livelihoods", "education", "cash_assistance", "food", "nfi", "wash", "safe_transport"),
    *("interpretation", "information_counselling"),
}
CASE = {"case_management", "reintegration", "voluntary_return"}
NOT_REFERRED = {"rescue", "other"}
PACKET = {"justice_access_prosecution", "police_protection"}

ROWS = [
    *((s, "ngo", "legal_assistance", "legal_counsel") for s in sorted(LEGAL)),
    ("asylum", "un_agency", "international_protection", "un_agency"),
    ("family_tracing_reunification", "ngo", "family_tracing", "child_protection"),
    *(
        (s, "child_protection_authority", "service_referral", "child_protection")
        for s in sorted(CHILD)
    ),
    *((s, "ngo", "service_referral", "shelter_without_health") for s in sorted(CHILD)),
    *((s, "shelter", "service_referral", "shelter") for s in sorted(SHELTER)),
    *((s, "ngo", "service_referral", "psychosocial") for s in sorted(PSYCHOSOCIAL)),
    *((s, "health_provider", "service_referral", "health") for s in sorted(HEALTH)),
    *((s, "ngo", "service_referral", "livelihoods") for s in sorted(LIVELIHOODS)),
    *((s, "ngo", "service_referral", "case_management") for s in sorted(CASE)),
]


@pytest.mark.parametrize(("service", "org_type", "purpose", "row"), ROWS)
def test_every_service_type_leads_to_its_purpose_and_row(
    service: str, org_type: str, purpose: str, row: str
) -> None:
    need = need_for(service, org_type)
    assert isinstance(need, Need)
    assert (need.purpose, need.row) == (purpose, row)


def test_the_table_knows_every_service_type_and_no_other() -> None:
    assert set(service_types()) == set(codes("service_type"))
    assert {r[0] for r in ROWS} | NOT_REFERRED | PACKET == set(codes("service_type"))


@pytest.mark.parametrize("service", sorted(NOT_REFERRED))
def test_rescue_and_other_are_not_permitted(service: str) -> None:
    assert need_for(service, "ngo") == NoNeed(
        code="not-permitted", rule="service-type-not-referred"
    )


@pytest.mark.parametrize("service", sorted(PACKET))
@pytest.mark.parametrize("emergency", [False, True])
def test_prosecutors_and_police_get_packets_even_in_an_emergency(
    service: str, emergency: bool
) -> None:
    found = need_for(service, "ngo", emergency=emergency)
    assert found == NoNeed(code="use-packet", rule="service-type-not-referred")


def test_an_unknown_service_type_is_not_permitted() -> None:
    assert isinstance(need_for("astrology", "ngo"), NoNeed)


def test_asylum_goes_to_a_un_agency_only() -> None:
    assert need_for("asylum", "ngo") == NoNeed(code="not-permitted", rule="org-type-of-service")


def test_all_categories_of_the_matrix_are_codes() -> None:
    for service in service_types():
        for org_type in codes("org_type"):
            need = need_for(service, org_type)
            if isinstance(need, Need):
                assert need.categories <= set(codes("data_category"))
                assert need.purpose in codes("purpose")
                assert "pseudonymous_core" in need.categories
                assert "biometric_or_image" not in need.categories
                assert "perpetrator" not in need.categories


def test_an_emergency_carries_core_and_contact_only() -> None:
    need = need_for("shelter_specialized", "shelter", emergency=True)
    assert isinstance(need, Need)
    assert need.purpose == "emergency"
    assert need.categories == {"pseudonymous_core", "contact"}


def test_an_excess_is_named() -> None:
    need = need_for("food", "ngo")
    assert isinstance(need, Need)
    asked = ("pseudonymous_core", "health", "exploitation_details")
    assert need.excess(asked) == ("exploitation_details", "health")


def test_livelihoods_see_no_sign_of_what_happened() -> None:
    need = need_for("food", "ngo")
    assert isinstance(need, Need)
    assert not need.may_know_phenomenon
    assert {"risk_level", "profile_flags"} <= need.withheld_fields


def test_contact_is_held_until_acceptance() -> None:
    need = need_for("shelter_temporary", "shelter")
    assert isinstance(need, Need)
    asked = ("contact", "family", "identity")
    assert need.releasable(asked, accepted=False) == ("family",)
    assert need.releasable(asked, accepted=True) == ("contact", "family")
