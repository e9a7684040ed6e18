"""Single decisions, withdrawals and expiries, each with its rule."""

from dataclasses import replace

import pytest

from services.consent import domain
from services.consent.domain import RULES, Change, Refusal, evaluate, expire, withdraw
from services.kit.bases import record_fault
from services.kit.ports.consent import ConsentRecord, Decision, Question, Withdrawal
from tests.unit.consent.records import CATEGORIES, NOW, day, deny, permit, question, record

ID = record().case_ref


def decide(*records: ConsentRecord, ask: Question | None = None) -> Decision:
    return evaluate(records, ask or question(), NOW, version=3, key_version=2)


def ask_back(*items: tuple[str, str, tuple[str, ...]], status: str = "withdrawn") -> Withdrawal:
    return Withdrawal(
        command_id=ID,
        consent_ref=record().consent_ref,
        by_org="ong-norte",
        status=status,
        items=items,
    )


def take_back(*records: ConsentRecord, request: Withdrawal | None = None) -> Change | Refusal:
    return withdraw(records, request or ask_back(), NOW, {"legal_assistance": 4}, cell="cell-demo")


def changed(*records: ConsentRecord, request: Withdrawal | None = None) -> Change:
    change = take_back(*records, request=request)
    assert isinstance(change, Change)
    return change


def test_a_matching_permit_allows_until_the_earlier_of_its_own_and_its_records_end() -> None:
    held = record(permit(end=30), end=20)
    decision = decide(held)
    assert decision.allowed
    assert decision.rule == "permit"
    assert decision.categories == tuple(sorted(CATEGORIES))
    assert decision.deadline == day(20)
    assert decision.consent_ref == held.consent_ref
    assert (decision.consent_version, decision.key_version) == (3, 2)
    assert decision.policy_version == domain.POLICY_VERSION
    assert decision.legal_basis == "consent"


@pytest.mark.parametrize(
    ("records", "asked", "rule"),
    [
        ((), question(), "no-record"),
        ((record(permit()),), question(categories=()), "no-categories"),
        ((record(permit("clinica-norte")),), question(), "no-permit"),
        ((record(permit(purpose="legal_assistance")),), question(), "no-permit"),
        ((record(permit(), deny("refugio-sur")),), question(), "deny-org"),
        ((record(permit()), record(deny(None, "shelter"), ref=2)), question(), "deny-kind"),
        ((record(permit(start=-9, end=-1)),), question(), "expired"),
        ((record(permit(), end=0),), question(), "expired"),
        ((record(permit(start=1)),), question(), "not-yet-valid"),
        ((record(permit(), status="withdrawn"),), question(), "withdrawn"),
        ((record(status="withdrawn"),), question(), "withdrawn"),
        ((record(status="expired"),), question(), "expired"),
        ((record(permit(categories=("health",))),), question(categories=("contact",)),
         "category-not-consented"),
        ((record(permit(), basis="contract"),), question(), "basis-not-allowed"),
        ((record(permit(), basis="vital_interest"),), question(), "basis-not-allowed"),
    ],
)  # fmt: skip
def test_whatever_is_not_permitted_is_denied_with_its_rule(
    records: tuple[ConsentRecord, ...], asked: Question, rule: str
) -> None:
    decision = decide(*records, ask=asked)
    assert not decision.allowed
    assert decision.rule == rule
    assert rule in RULES
    assert decision.categories == ()
    assert decision.consent_ref is None
    assert decision.deadline is None


def test_an_excess_over_the_permit_is_named() -> None:
    decision = decide(record(permit(categories=("contact",))))
    assert decision.rule == "permit-part"
    assert decision.categories == ("contact",)
    assert decision.refused_categories == ("health", "pseudonymous_core")


def test_a_deny_of_one_category_takes_only_that_one() -> None:
    decision = decide(record(permit(), deny("refugio-sur", categories=("health",))))
    assert decision.categories == ("contact", "pseudonymous_core")


def test_two_permits_are_never_added_up() -> None:
    decision = decide(
        record(permit(categories=("contact",))), record(permit(categories=("health",)), ref=2)
    )
    assert len(decision.categories) == 1


def test_vital_interest_carries_an_emergency_with_core_and_contact_only() -> None:
    held = record(permit(purpose="emergency"), basis="vital_interest")
    decision = decide(held, ask=question(purpose="emergency"))
    assert decision.categories == ("contact", "pseudonymous_core")
    assert record_fault(held) == "emergency-core-and-contact-only"


def test_an_emergency_needs_vital_interest() -> None:
    held = record(permit(purpose="emergency", categories=("contact",)))
    assert decide(held, ask=question(purpose="emergency")).rule == "basis-not-allowed"
    assert record_fault(held) == "emergency-is-vital-interest"


def test_withdrawing_all_ends_every_permit_and_kills_its_keys() -> None:
    held = record(permit(), permit("clinica-norte", "legal_assistance"), deny("refugio-sur"))
    change = changed(held)
    assert change.status == "withdrawn"
    assert change.ended == (0, 1)
    assert [(a.to_org, a.purpose) for a in change.affected] == [
        ("clinica-norte", "legal_assistance"),
        ("refugio-sur", "service_referral"),
    ]
    assert [(k.purpose, k.key_version) for k in change.dead_keys] == [
        ("legal_assistance", 4),
        ("service_referral", 1),
    ]


def test_a_part_is_withdrawn_and_the_rest_kept() -> None:
    part = ask_back(("refugio-sur", "service_referral", ("health",)))
    change = changed(record(permit()), request=part)
    assert change.status == "given"
    assert [r.data_categories for r in change.kept] == [("contact", "pseudonymous_core")]
    assert [a.data_categories for a in change.affected] == [("health",)]
    assert change.dead_keys == ()


def test_the_last_part_withdrawn_ends_the_record() -> None:
    part = ask_back(("refugio-sur", "service_referral", ()))
    change = changed(record(permit()), request=part)
    assert change.status == "withdrawn"
    assert len(change.dead_keys) == 1


def test_a_key_lives_while_another_record_permits_the_purpose() -> None:
    change = changed(record(permit()), record(permit("clinica-norte"), ref=2))
    assert change.dead_keys == ()


def test_taking_back_what_time_had_ended_still_reaches_who_received_it() -> None:
    """Expiry asks nobody to delete; the person may, and then also for parts ended earlier."""
    gone = permit("clinica-norte", end=-1)
    change = withdraw(
        (record(status="expired"),), ask_back(), NOW, {}, cell="cell-demo", over=(gone,)
    )
    assert isinstance(change, Change)
    assert (change.status, change.ended, change.dead_keys) == ("withdrawn", (), ())
    assert [one.to_org for one in change.affected] == ["clinica-norte"]
    both = withdraw((record(permit()),), ask_back(), NOW, {}, cell="cell-demo", over=(gone,))
    assert isinstance(both, Change)
    assert [one.to_org for one in both.affected] == ["clinica-norte", "refugio-sur"]


@pytest.mark.parametrize(
    ("held", "request_", "rule"),
    [
        (record(permit(), ref=2), ask_back(), "unknown-consent"),
        (record(permit(), status="withdrawn"), ask_back(), "already-inactive"),
        (record(permit()), ask_back(status="given"), "withdrawal-status"),
        (record(permit()), ask_back(("nadie-org", "service_referral", ())), "unknown-item"),
        (
            record(permit(categories=("contact",))),
            ask_back(("refugio-sur", "service_referral", ("health",))),
            "unknown-item",
        ),
    ],
)
def test_a_withdrawal_that_names_nothing_live_is_refused(
    held: ConsentRecord, request_: Withdrawal, rule: str
) -> None:
    refusal = take_back(held, request=request_)
    assert isinstance(refusal, Refusal)
    assert refusal.rule == rule
    assert refusal.already is (rule == "already-inactive")


@pytest.mark.parametrize(("by_org", "may"), [("refugio-sur", False), ("cell-demo", True)])
def test_only_the_source_or_the_cell_takes_back(by_org: str, may: bool) -> None:
    request = Withdrawal(
        command_id=ID, consent_ref=record().consent_ref, by_org=by_org, status="withdrawn"
    )
    change = take_back(record(permit()), request=request)
    assert isinstance(change, Change) is may
    if isinstance(change, Refusal):
        assert change.rule == "not-source"


def test_what_is_over_ends_and_the_rest_goes_on() -> None:
    held = record(permit(end=0), permit("clinica-norte", "legal_assistance", end=5))
    change = expire((held,), held, NOW, {})
    assert change is not None
    assert change.status == "given"
    assert change.ended == (0,)
    assert [k.purpose for k in change.dead_keys] == ["service_referral"]


def test_a_record_with_nothing_left_is_expired() -> None:
    held = record(permit(end=0))
    change = expire((held,), held, NOW, {})
    assert change is not None
    assert change.status == "expired"


def test_nothing_expires_before_its_time() -> None:
    held = record(permit(end=1))
    assert expire((held,), held, NOW, {}) is None


@pytest.mark.parametrize(
    ("reason", "approver", "rule"),
    [
        (None, "staff-7", "basis-needs-reason"),
        ("court-order", None, "basis-needs-approver"),
        ("court-order", "staff-7", None),
    ],
)
def test_another_basis_needs_a_reason_and_an_approver(
    reason: str | None, approver: str | None, rule: str | None
) -> None:
    held = replace(
        record(permit(), basis="legal_obligation"), reason_code=reason, approver_ref=approver
    )
    assert record_fault(held) == rule
    assert decide(held).allowed is (rule is None)
