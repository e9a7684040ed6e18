"""The vault's rules: grants, pseudonyms, approvals, identities."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.kit import crypto
from services.kit.ports.vault import Grant, OpeningRequest, SignedGrant, Vault
from services.vault import domain
from services.vault.domain import Identities, Person

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEED, PUBLIC = crypto.new_ed25519()
LONGEST = timedelta(seconds=2)
KEY = bytes(range(32))
ORGS = st.from_regex(r"[a-z][a-z0-9-]{2,31}", fullmatch=True)
SUBJECTS = st.uuids(version=4)

GRANT = Grant(
    grant_ref=uuid4(),
    case_ref=uuid4(),
    vault_version=1,
    to_org="refugio-sur",
    purpose="service_referral",
    key_version=1,
    categories=("identity",),
    start=NOW,
    deadline=NOW + LONGEST,
    consent_ref=uuid4(),
    consent_version=1,
    rule="permit",
    policy_version="1",
)


def signed(grant: Grant, seed: bytes = SEED) -> SignedGrant:
    text = TypeAdapter(Grant).dump_json(grant)
    return SignedGrant(grant=text, signature=crypto.sign_ed25519(seed, text))


def check(one: SignedGrant, now: datetime = NOW) -> Grant | str:
    return domain.check_grant(one, PUBLIC, now, LONGEST)


def test_a_signed_grant_in_its_time_is_read_back() -> None:
    assert check(signed(GRANT)) == GRANT


@pytest.mark.parametrize(
    ("seconds", "rule"), [(-2.1, "grant-early"), (-1.9, None), (1.9, None), (2, "grant-late")]
)
def test_a_grant_holds_from_its_start_until_just_before_its_deadline(
    seconds: float, rule: str | None
) -> None:
    result = check(signed(GRANT), NOW + timedelta(seconds=seconds))
    assert result == (rule or GRANT)


def test_a_grant_that_another_signed_or_that_was_changed_is_refused() -> None:
    assert check(signed(GRANT, crypto.new_ed25519()[0])) == "grant-signature"
    honest = signed(GRANT)
    changed = replace(honest, grant=honest.grant.replace(b"identity", b"contacts"))
    assert check(changed) == "grant-signature"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"deadline": NOW + timedelta(seconds=3)}, "grant-too-long"),
        ({"categories": ()}, "grant-malformed"),
        ({"deadline": NOW - timedelta(seconds=1)}, "grant-late"),
    ],
)
def test_a_signed_grant_that_asks_too_much_is_refused(
    change: dict[str, Any], rule: str | None
) -> None:
    assert check(signed(replace(GRANT, **change))) == rule


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"grant_ref": 1}', b"\xff"])
def test_signed_nonsense_is_refused(text: bytes) -> None:
    nonsense = SignedGrant(grant=text, signature=crypto.sign_ed25519(SEED, text))
    assert check(nonsense) == "grant-malformed"


# --- pseudonyms ---------------------------------------------------------------------------------


@given(subject=SUBJECTS, other=SUBJECTS, org=ORGS, another=ORGS)
def test_a_pseudonym_is_stable_and_differs_by_person_and_by_organisation(
    subject: UUID, other: UUID, org: str, another: str
) -> None:
    one = domain.pseudonym(KEY, subject, org)
    assert one == domain.pseudonym(KEY, subject, org)
    assert re.fullmatch(r"PE(-[A-Z2-7]{4}){4}-[A-Z2-7]", one.text)
    assert one.patient_id.version == 4
    different = []
    if other != subject:
        different.append(domain.pseudonym(KEY, other, org))
    if another != org:
        different.append(domain.pseudonym(KEY, subject, another))
    different.append(domain.pseudonym(bytes(32), subject, org))
    for pseudonym in different:
        assert pseudonym.text != one.text
        assert pseudonym.patient_id != one.patient_id


@given(subject=SUBJECTS, place=st.integers(0, 15), letter=st.sampled_from("ABCXYZ234"))
def test_one_wrong_letter_in_a_pseudonym_is_found(subject: UUID, place: int, letter: str) -> None:
    text = domain.pseudonym(KEY, subject, "refugio-sur").text.replace("-", "")[2:]
    body, check_letter = text[:16], text[16]
    wrong = body[:place] + letter + body[place + 1 :]
    assert (domain.check_character(wrong) == check_letter) == (wrong == body)


@given(org=ORGS, system=st.text(max_size=20), value=st.text(max_size=20))
def test_an_identifier_is_compared_after_nfc_and_without_outer_white_space(
    org: str, system: str, value: str
) -> None:
    digest = domain.identifier_digest(KEY, org, system, value)
    assert digest == domain.identifier_digest(KEY, org, f" {system}", f"{value}\n")
    assert digest != domain.identifier_digest(KEY, org + "x", system, value)
    assert digest != domain.identifier_digest(KEY, org, system, value + "x")
    assert domain.identifier_digest(KEY, org, "s", "A\u0301") == domain.identifier_digest(
        KEY, org, "s", "\u00c1"
    )
    assert domain.identifier_digest(KEY, org, "s", "a") != domain.identifier_digest(
        KEY, org, "s", "A"
    )


# --- who somebody is ----------------------------------------------------------------------------

A, B, C = (UUID(int=n) for n in (1, 2, 3))


def person(*digests: bytes, seen: UUID | None = None) -> Person:
    return Person("ong-norte", digests, seen)


def test_a_known_identifier_gives_its_subject_and_takes_the_new_ones_with_it() -> None:
    known = Identities({("ong-norte", b"1"): A})
    assert known.subject_of(person(b"1", b"2"), C) == A
    assert known.new_identifiers == [("ong-norte", b"2", A)]
    assert known.new_subjects == []
    assert known.subject_of(person(b"2"), C) == A


def test_two_new_records_of_one_person_in_one_batch_are_one_subject() -> None:
    known = Identities({})
    assert known.subject_of(person(b"1"), B) == B
    assert known.subject_of(person(b"1"), C) == B
    assert known.new_subjects == [B]


def test_identifiers_of_two_people_are_never_joined() -> None:
    known = Identities({("ong-norte", b"1"): A, ("ong-norte", b"2"): B})
    assert known.subject_of(person(b"1", b"2", b"3"), C) is None
    assert known.new_identifiers == []


def test_the_same_number_at_another_organisation_is_somebody_else() -> None:
    known = Identities({("ong-norte", b"1"): A})
    assert known.subject_of(Person("refugio-sur", (b"1",), None), C) == C


def test_the_subject_the_caller_saw_loses_to_who_holds_the_identifiers() -> None:
    known = Identities({("ong-norte", b"1"): A})
    assert known.subject_of(person(b"1", b"8", seen=B), C) == A
    assert known.new_identifiers == []
    assert known.subject_of(person(b"1", b"8", seen=A), C) == A
    assert known.new_identifiers == [("ong-norte", b"8", A)]


def test_a_case_never_gives_its_person_identifiers_of_which_none_is_theirs() -> None:
    """A mistyped case number must not make two people one."""
    known = Identities({("ong-norte", b"1"): A})
    assert known.subject_of(person(b"9", seen=A), C) == C
    assert known.new_identifiers == known.new_subjects == []
    assert known.subject_of(person(seen=A), C) == A


# --- opening and callers ------------------------------------------------------------------------


def opening(*approvers: tuple[str, str], reason: str = "court_order") -> OpeningRequest:
    return OpeningRequest(
        opening_ref=uuid4(),
        case_ref=uuid4(),
        reason_code=reason,
        approvers=approvers,
        leaf_ref=uuid4(),
    )


def test_two_people_of_two_organisations_may_open_an_identity() -> None:
    assert domain.check_opening(opening(("ana", "ong-norte"), ("luis", "refugio-sur"))) is None


@pytest.mark.parametrize(
    "request_",
    [
        opening(),
        opening(("ana", "ong-norte")),
        opening(("ana", "ong-norte"), ("luis", "ong-norte")),
        opening(("ana", "ong-norte"), ("ana", "refugio-sur")),
        opening(("ana", "ong-norte"), ("", "refugio-sur")),
        opening(("a", "ong-norte"), ("b", "refugio-sur"), ("c", "fiscalia")),
        opening(("ana", "ong-norte"), ("luis", "refugio-sur"), reason=""),
    ],
)
def test_anything_less_does_not_open_it(request_: OpeningRequest) -> None:
    assert domain.check_opening(request_) == "approvals"


def test_every_method_that_a_caller_may_call_is_one_of_the_port_and_nobody_has_all() -> None:
    methods = {name for name in vars(Vault) if not name.startswith("_")}
    for allowed in domain.CALLERS.values():
        assert allowed < methods
    assert set().union(*domain.CALLERS.values()) == methods
