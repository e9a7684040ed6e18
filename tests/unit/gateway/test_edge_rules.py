"""Assertions, scopes, searches, written answers and consent changes, as pure rules."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sdk.faults import Faults
from services.gateway.auth import domain as auth
from services.gateway.consents.domain import compare
from services.gateway.fhir import writing
from services.gateway.fhir.search import make_cursor, open_cursor, read_search
from services.gateway.intake import formats
from services.gateway.intake import keys as keying
from services.kit.errors import Refused
from services.kit.ports.consent import ConsentRule

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = b"k" * 32
AUDIENCE = "https://hub.example/oauth/token"
CLAIMS = {"iss": "org", "sub": "org", "aud": AUDIENCE, "exp": NOW.timestamp() + 300, "jti": "1"}


def rule_of(call: Callable[[], object]) -> str:
    with pytest.raises((Refused, Faults)) as refused:
        call()
    error: Any = refused.value
    return str(error.faults[0].rule)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"iss": "otra"}, "subject"),
        ({"sub": None}, "subject"),
        ({"aud": "https://otra.example"}, "audience"),
        ({"exp": NOW.timestamp() - 61}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": True}, "expired"),
        ({"exp": NOW.timestamp() + 361}, "too-long"),
        ({"iat": NOW.timestamp() + 61}, "not-yet"),
        ({"jti": ""}, "jti"),
        ({"jti": 7}, "jti"),
        ({"jti": "x" * 256}, "jti"),
    ],
)
def test_an_assertion_is_refused_by_the_rule_it_breaks(change: dict[str, Any], rule: str) -> None:
    assert auth.check_claims(CLAIMS, "org", AUDIENCE, NOW) == "1"
    assert rule_of(lambda: auth.check_claims({**CLAIMS, **change}, "org", AUDIENCE, NOW)) == rule


def test_clocks_may_differ_by_a_minute() -> None:
    auth.check_claims({**CLAIMS, "exp": NOW.timestamp() - 59}, "org", AUDIENCE, NOW)
    auth.check_claims({**CLAIMS, "exp": NOW.timestamp() + 359}, "org", AUDIENCE, NOW)


def test_a_scope_is_granted_whole_or_refused() -> None:
    assert auth.granted("system/Task.rs", ["recipient"]) == "system/Task.rs"
    for wanted, rule in [
        ("system/Task.cruds", "over-broad"),
        ("system/Task.d", "over-broad"),
        ("system/*.rs", "malformed"),
        ("system/Task.read", "malformed"),
        ("patient/Task.r", "malformed"),
        ("system/Task.", "malformed"),
    ]:
        assert rule_of(lambda wanted=wanted: auth.granted(wanted, ["source"])) == rule  # type: ignore[misc]


@given(st.text(max_size=40))
def test_a_scope_never_gives_more_than_the_role_has(text: str) -> None:
    try:
        scope = auth.granted(text, ["recipient"])
    except Refused:
        return
    assert not auth.covers(scope, "Task", "c")
    assert not auth.covers(scope, "Patient", "u")


@pytest.mark.parametrize(
    "items",
    [
        [("patient", "x")],
        [("_lastUpdated", "ge2026-01-01")],
        [("_lastUpdated", "eq2026-01-01T00:00:00Z")],
        [("status", "done")],
        [("_count", "0")],
        [("_count", "²")],
        [("owner", "Patient/x")],
        [("status", "requested"), ("status", "accepted")],
        [("_cursor", "AAAA")],
        [("_cursor", "ñ")],
    ],
)
def test_a_search_that_is_not_understood_is_refused(items: list[tuple[str, str]]) -> None:
    assert rule_of(lambda: read_search(items, "org", KEY)) == "parameter"


def test_a_cursor_serves_its_organisation_alone() -> None:
    after = (NOW, uuid4())
    cursor = make_cursor(after, "org", KEY)
    assert open_cursor(cursor, "org", KEY) == after
    assert rule_of(lambda: open_cursor(cursor, "otra", KEY)) == "parameter"


def test_a_search_by_role_looks_at_one_side() -> None:
    assert read_search([("owner", "Organization/org")], "org", KEY).query.side == "to"
    assert read_search([("requester", "org")], "org", KEY).query.side == "from"
    assert read_search([("owner", "otra")], "org", KEY).query.side == "from"
    assert read_search([], "org", KEY).query.side is None


SHOWN = {"resourceType": "Task", "id": "1", "status": "requested", "intent": "order"}


@pytest.mark.parametrize(
    ("patch", "rule"),
    [
        (b"{}", "operation"),
        (b"[]", "operation"),
        (b'[{"op":"remove","path":"/status"}]', "operation"),
        (b'[{"op":"add","path":"/a/b/c","value":1}]', "operation"),
        (b'[{"op":"add","path":"/owner","value":{}}]', "field"),
        (b'[],"patch":[]', "duplicate-key"),
        (b'[{"op":"add","path":"/status","value":"accepted"}],"x":1', "operation"),
        (b"[", "json"),
    ],
)
def test_a_patch_changes_answering_elements_alone(patch: bytes, rule: str) -> None:
    assert rule_of(lambda: writing.patched_task(patch, SHOWN)) == rule


def test_the_name_of_a_field_that_fhir_does_not_know_is_not_repeated() -> None:
    patch = b'[{"op":"add","path":"/Yurleidys","value":1}]'
    with pytest.raises(Refused) as refused:
        writing.patched_task(patch, SHOWN)
    assert refused.value.faults[0].field == "Task"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"id": "2"}, "fixed-value"),
        ({"intent": "plan"}, "field"),
        ({"note": [{"text": "x"}]}, "element"),
        ({"nombre": 1}, "unknown-element"),
    ],
)
def test_a_whole_task_is_as_it_was_read(change: dict[str, Any], rule: str) -> None:
    good = {**SHOWN, "status": "accepted"}
    assert writing.put_task(good, SHOWN) == {"status": "accepted"}
    assert rule_of(lambda: writing.put_task({**good, **change}, SHOWN)) == rule


@pytest.mark.parametrize(
    ("header", "rule"),
    [(None, "if-match"), ("*", "version"), ('"1"', "version"), ("W/1", "version")],
)
def test_if_match_names_a_version_of_ours(header: str | None, rule: str) -> None:
    assert writing.expected_version('W/"12"') == 12
    assert rule_of(lambda: writing.expected_version(header)) == rule


PERMIT = ConsentRule(
    decision="permit",
    purpose="service_referral",
    to_org="recibe",
    to_kind=None,
    data_categories=("contact", "pseudonymous_core"),
    valid_from=NOW,
    valid_to=NOW + timedelta(days=10),
)
DENY = replace(PERMIT, decision="deny", purpose=None, to_org=None, to_kind="police")


def test_less_is_a_withdrawal_of_what_is_missing() -> None:
    changes = compare([PERMIT], [replace(PERMIT, data_categories=("contact",))])
    assert changes.removed == (("recibe", "service_referral", ("pseudonymous_core",)),)
    assert not changes.widened
    assert compare([PERMIT], []).removed[0][2] == ("contact", "pseudonymous_core")


@pytest.mark.parametrize(
    "new",
    [
        [replace(PERMIT, data_categories=(*PERMIT.data_categories, "identity"))],
        [PERMIT, replace(PERMIT, to_org="otra")],
        [PERMIT, replace(PERMIT, purpose="legal_assistance")],
        [replace(PERMIT, valid_to=PERMIT.valid_to + timedelta(days=1))],
    ],
)
def test_more_is_widening(new: list[ConsentRule]) -> None:
    assert compare([PERMIT], new).widened


def test_a_deny_taken_away_is_widening_and_one_added_is_not() -> None:
    assert compare([PERMIT, DENY], [PERMIT]).widened
    added = compare([PERMIT], [PERMIT, DENY])
    assert added.other
    assert not added.widened


KEYS = keying.Keys(b"i" * 32, b"d" * 32)


def test_a_key_is_the_same_in_every_unicode_form_and_another_for_another_partner() -> None:
    composed, decomposed = "clave-\u00f1", " clave-n\u0303 "
    first = keying.submission_mac(KEYS, "org", composed, None)
    assert first == keying.submission_mac(KEYS, "org", decomposed, None)
    assert first != keying.submission_mac(KEYS, "otra", composed, None)
    assert first != keying.submission_mac(KEYS, "org", composed.upper(), None)


def test_the_key_is_the_header_then_the_bundle_then_the_task() -> None:
    task = {"resourceType": "Task", "identifier": [{"system": "s", "value": "t"}]}
    body: dict[str, Any] = {"entry": [{"resource": task}]}
    both = {**body, "identifier": {"system": "s", "value": "b"}}
    assert formats.fhir_key(body) == ("s", "t")
    assert formats.fhir_key(both) == ("s", "b")
    assert formats.fhir_key({}) is None
    by_task = keying.submission_mac(KEYS, "org", None, ("s", "t"))
    assert by_task != keying.submission_mac(KEYS, "org", "h", ("s", "t"))
    assert rule_of(lambda: keying.submission_mac(KEYS, "org", None, None)) == "idempotency-key"
    assert rule_of(lambda: keying.submission_mac(KEYS, "org", " ", None)) == "idempotency-key"


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"referral": {"task_identifiers": [{"system": "s", "value": "t"}]}}, ("s", "t")),
        ({"referral": {"task_identifiers": [{"value": "t"}]}}, ("", "t")),
        ({"referral": {"task_identifiers": [{"value": " "}]}}, None),
        ({"referral": {"task_identifiers": [7]}}, None),
        ({"referral": {"task_identifiers": 7}}, None),
        ({"referral": []}, None),
        ({}, None),
    ],
)
def test_the_key_of_a_native_referral_is_its_first_task_identifier(document: Any, key: Any) -> None:
    assert formats.native_key(document) == key


def test_the_digest_is_of_the_content_not_of_its_order() -> None:
    one = keying.content_digest(KEYS, "org", {"a": 1, "b": [2]})
    assert one == keying.content_digest(KEYS, "org", {"b": [2], "a": 1})
    assert one != keying.content_digest(KEYS, "org", {"a": 1, "b": [3]})
