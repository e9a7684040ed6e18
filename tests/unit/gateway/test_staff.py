"""Who may operate the hub: registrations, assertions, sessions, duties, approvals."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.gateway.staff.domain import (
    OPENING_LIFE,
    approval_fault,
    assertion_fault,
    registration,
)
from services.kit.crypto import CryptoError, jwk_of, make_token, new_es384_pem
from services.kit.staff import (
    DUTIES,
    ROLES,
    SESSION_SECONDS,
    StaffMember,
    audience,
    issue_session,
    read_session,
    session_key,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN_KEY = bytes(range(32))
KEY = session_key(TOKEN_KEY)
PEM = new_es384_pem()
JWK = jwk_of(PEM)
OFFICER = StaffMember(
    staff_id="officer-1", organisation="red-a", roles=frozenset({"protection_officer"})
)


def body(**changes: Any) -> dict[str, Any]:
    whole = {
        "staff_id": "operator-1",
        "organisation": "red-a",
        "roles": ["operator"],
        "jwk": JWK,
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def test_a_whole_registration_is_taken() -> None:
    person, faults = registration(body())
    assert faults == []
    assert person is not None
    assert person.member.may("staff.change")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"staff_id": "Operator One"}, ("staff_id", "format")),
        ({"staff_id": None}, ("staff_id", "format")),
        ({"organisation": "x"}, ("organisation", "format")),
        ({"roles": []}, ("roles", "code")),
        ({"roles": ["operator", "king"]}, ("roles", "code")),
        ({"roles": "operator"}, ("roles", "code")),
        ({"jwk": None}, ("jwk", "required")),
        ({"jwk": {**JWK, "d": "AAAA"}}, ("jwk", "private-or-unknown-member")),
        ({"jwk": {**JWK, "x": "AAAA"}}, ("jwk", "key")),
        ({"jwk": {**JWK, "kid": None}}, ("jwk", "kid")),
        ({"status": "active"}, ("status", "unknown")),
    ],
)
def test_a_faulty_registration_names_field_and_rule(
    changes: dict[str, Any], fault: tuple[str, str]
) -> None:
    person, faults = registration(body(**changes))
    assert person is None
    assert faults == [fault]


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "iss": "operator-1",
        "sub": "operator-1",
        "aud": audience("cell-a"),
        "exp": NOW.timestamp() + 60,
        "jti": "0123456789abcdef",
    }
    return good | changes


def test_a_fresh_assertion_for_this_cell_is_taken() -> None:
    assert assertion_fault(claims(), "operator-1", audience("cell-a"), NOW) is None


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"iss": "operator-2"}, "issuer"),
        ({"sub": None}, "issuer"),
        ({"aud": audience("cell-b")}, "audience"),
        ({"aud": None}, "audience"),
        ({"exp": NOW.timestamp() - 61}, "expiry"),
        ({"exp": NOW.timestamp() + 3600}, "expiry"),
        ({"exp": True}, "expiry"),
        ({"exp": "soon"}, "expiry"),
        ({"jti": None}, "jti"),
        ({"jti": "short"}, "jti"),
        ({"jti": "x" * 200}, "jti"),
    ],
)
def test_any_other_assertion_is_refused(changes: dict[str, Any], rule: str) -> None:
    assert assertion_fault(claims(**changes), "operator-1", audience("cell-a"), NOW) == rule


def test_a_session_says_who_it_is_until_it_ends() -> None:
    header = f"Bearer {issue_session(KEY, OFFICER, NOW)}"
    assert read_session(KEY, header, NOW) == OFFICER
    with pytest.raises(CryptoError, match="expired"):
        read_session(KEY, header, NOW + timedelta(seconds=SESSION_SECONDS))


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic eDp5", "Bearer x.y.z"])
def test_no_session_is_nobody(header: str | None) -> None:
    with pytest.raises(CryptoError):
        read_session(KEY, header, NOW)


def test_a_token_under_the_partners_key_is_no_session() -> None:
    partner = make_token(
        TOKEN_KEY,
        {"sub": "operator-1", "org": "red-a", "roles": ["operator"], "exp": NOW.timestamp() + 60},
    )
    with pytest.raises(CryptoError, match="signature"):
        read_session(KEY, f"Bearer {partner}", NOW)


def test_unknown_roles_in_a_session_are_none() -> None:
    token = make_token(
        KEY, {"sub": "a", "org": "b", "roles": ["king", 3], "exp": NOW.timestamp() + 60}
    )
    assert read_session(KEY, f"Bearer {token}", NOW).roles == frozenset()


def test_every_duty_has_roles_that_exist() -> None:
    assert all(roles and roles <= ROLES for roles in DUTIES.values())


def test_no_role_alone_opens_an_identity_for_everything() -> None:
    assert not DUTIES["opening.request"] & {"operator"}
    assert not DUTIES["opening.approve"] & {"operator"}


@pytest.mark.parametrize(
    ("by", "org", "later", "rule"),
    [
        ("officer-2", "red-b", timedelta(0), None),
        ("officer-1", "red-b", timedelta(0), "same-person"),
        ("officer-2", "red-a", timedelta(0), "same-organisation"),
        ("officer-2", "red-b", OPENING_LIFE + timedelta(seconds=1), "opening-expired"),
    ],
)
def test_an_opening_is_approved_in_time_by_another_person_of_another_organisation(
    by: str, org: str, later: timedelta, rule: str | None
) -> None:
    member = StaffMember(staff_id=by, organisation=org, roles=OFFICER.roles)
    assert (
        approval_fault(
            requested_by="officer-1",
            requested_org="red-a",
            requested_at=NOW,
            by=member,
            now=NOW + later,
        )
        == rule
    )
