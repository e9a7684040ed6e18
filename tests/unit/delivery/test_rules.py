"""Retries end, doubt is never called not sent, and nothing is sent beyond the need."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from connectors.sdk.errors import Refuse, Reject, Retry
from connectors.sdk.types import Case, Person, Release
from services.delivery.authority import signed
from services.delivery.domain import (
    ACCEPTED,
    CLOSED,
    FIRST_WAIT,
    LONGEST_WAIT,
    MAX_ATTEMPTS,
    Task,
    after_failure,
    categories_now,
    command_id,
    deadline_of,
    need_of,
    spent,
    trimmed,
    wait_after,
)
from services.kit.crypto import new_ed25519, verify_ed25519
from services.kit.needs import Need
from services.kit.ports.referral import ReferralState
from services.kit.ports.vault import Grant
from services.referral.domain import machine

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def task(attempts: int = 1) -> Task:
    return Task(
        task_id=uuid4(),
        kind="content",
        case_ref=uuid4(),
        referral_ref=uuid4(),
        to_org="refugio-sur",
        purpose="service_referral",
        source_org="ong-norte",
        confidentiality="restricted",
        version=1,
        again=False,
        doubtful=False,
        attempts=attempts,
        claim=uuid4(),
    )


def referral(**changed: Any) -> ReferralState:
    fields: dict[str, Any] = {
        "referral_ref": uuid4(),
        "case_ref": uuid4(),
        "from_org": "ong-norte",
        "to_org": "refugio-sur",
        "status": "sent",
        "version": 1,
        "purpose": "service_referral",
        "service_type": "shelter_temporary",
        "priority": "urgent",
        "special_requirements": (),
        "data_categories": ("contact", "pseudonymous_core"),
        "consent_ref": uuid4(),
        "vault_version": 1,
        "directory_entry": None,
        "response_due": None,
        "reason_code": None,
        "outcome": None,
        "appointment_outcome": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return ReferralState(**(fields | changed))


def need(state: ReferralState, org_type: str = "shelter") -> Need:
    found = need_of(state, org_type)
    assert found is not None
    return found


@given(st.integers(1, 1000), st.one_of(st.none(), st.floats(0, 10_000)))
def test_waits_grow_to_a_limit_and_never_exceed_it(attempts: int, asked: float | None) -> None:
    wait = wait_after(attempts, asked)
    assert FIRST_WAIT <= wait <= LONGEST_WAIT
    assert wait_after(attempts + 1, asked) >= wait


def test_retries_end() -> None:
    assert not spent(MAX_ATTEMPTS - 1)
    assert spent(MAX_ATTEMPTS)


def test_what_may_have_arrived_is_unknown_and_what_did_not_leave_is_not_sent() -> None:
    grant_ref = uuid4()
    results = {
        Retry("partner-500", unknown=True): "unknown",
        Retry("partner-unreachable", unknown=False): "not_sent",
        Reject("partner-422"): "rejected",
        Refuse("address-not-allowed", "connector.base_url"): "held",
    }
    for error, result in results.items():
        outcome = after_failure(task(), error, grant_ref)
        assert (outcome.result, outcome.rule) == (result, error.rule)
        assert outcome.grant_ref == grant_ref


def test_contact_is_for_after_acceptance() -> None:
    sent, accepted = referral(), referral(status="accepted")
    assert categories_now(sent, need(sent)) == ("pseudonymous_core",)
    assert categories_now(accepted, need(accepted)) == ("contact", "pseudonymous_core")


def test_every_state_is_open_accepted_or_closed_and_not_two_of_them() -> None:
    states = {source for source, _ in machine()} | {row.target for row in machine().values()}
    assert states >= ACCEPTED | CLOSED
    assert not ACCEPTED & CLOSED


def test_a_service_that_is_not_carried_needs_nothing() -> None:
    assert need_of(referral(service_type=None), "shelter") is None
    assert need_of(referral(service_type="rescue"), "shelter") is None


def test_fields_that_a_recipient_may_not_see_are_cut_out_of_a_granted_category() -> None:
    release = Release(person=Person(sex="female"), case=Case(risk_level="high", opened_month="x"))
    cut = trimmed(release, frozenset({"risk_level", "profile_flags", "confidentiality"}))
    assert (cut.case.risk_level, cut.case.opened_month) == (None, "x")
    assert cut.person.sex == "female"


def test_a_grant_ends_with_the_earliest_of_its_limits() -> None:
    soon, later = NOW + timedelta(seconds=1), NOW + timedelta(days=1)
    assert deadline_of(NOW, 2.0, later, None) == NOW + timedelta(seconds=2)
    assert deadline_of(NOW, 2.0, soon, later) == soon


def test_a_report_has_the_same_command_id_at_each_repeat_and_its_own() -> None:
    one = uuid4()
    assert command_id(one, "confirm") == command_id(one, "confirm")
    assert command_id(one, "confirm") != command_id(one, "fail")


def test_a_signed_grant_says_exactly_what_was_decided() -> None:
    seed, public = new_ed25519()
    grant = Grant(
        grant_ref=uuid4(),
        case_ref=uuid4(),
        vault_version=1,
        to_org="refugio-sur",
        purpose="service_referral",
        key_version=1,
        categories=("pseudonymous_core",),
        start=NOW,
        deadline=NOW + timedelta(seconds=2),
        consent_ref=uuid4(),
        consent_version=1,
        rule="permit",
        policy_version="1",
    )
    made = signed(grant, seed)
    assert verify_ed25519(public, made.grant, made.signature)
    assert not verify_ed25519(
        public, made.grant.replace(b"refugio-sur", b"otro-centro"), made.signature
    )
    assert "refugio" not in repr(made)
