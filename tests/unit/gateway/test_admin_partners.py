"""A partner's file: what is taken, and each fault by its place and rule."""

from uuid import UUID, uuid4

import pytest

from connectors.registry import manifests
from services.console.local.world import partner_files
from services.gateway.partners.domain import Known, proposed_view, read_file, record_of
from services.kit.crypto import jwk_of, new_es384_pem
from services.kit.partners import read_partner
from services.kit.settings import Settings

JWK = jwk_of(new_es384_pem())
JWKS = {"keys": [JWK]}
KNOWN = Known(manifests=manifests(), private_networks="127.0.0.0/8", entry_ids={})
FILES = partner_files(Settings())
REFUGIO = FILES["refugio-sur"]
SERVER = "http://127.0.0.1:8091"


@pytest.mark.parametrize("org", sorted(FILES))
def test_the_demo_partners_have_no_fault_and_read_back(org: str) -> None:
    read = read_file(FILES[org], JWKS, KNOWN)
    assert read.faults == []
    assert read.table is not None
    partner = read_partner(org, 1, record_of(read.table, {}, uuid4))
    assert partner.status == "active"
    assert partner.jwks["keys"] == [JWK]


FAULTS = [
    ('org = "refugio-sur"', 'org = "Refugio"', "org", "string-pattern-mismatch"),
    ('"shelter"', '"spaceship"', "org_type", "code"),
    ('["recipient"]', "[]", "roles", "too-short"),
    ('["recipient"]', '["recipient", "owner"]', "roles.1", "literal-error"),
    ("labels =", "secret_word =", "secret_word", "extra-forbidden"),
    ('"case_management", ', '"mining", ', "agreement.purposes.0", "code"),
    ("to = 2035-12-31", "to = 2025-12-31", "agreement.to", "before-from"),
    ("days = 15", "days = 0", "agreement.erasure_days", "greater-than-equal"),
    ('name = "fhir_r4"', 'name = "fax"', "connector.name", "code"),
    ("version = 1", "version = 9", "connector.mapping_version", "unknown"),
    (f"{SERVER}/fhir", "file:///etc", "connector.base_url", "address-not-allowed"),
    (f'token_url = "{SERVER}/oauth/token"', "", "connector.token_url", "required"),
    ('"accepting"', '"roomy"', "services.0.capacity_status", "code"),
    ('"secret"', '"secret"\nadmin1 = ["CO-ANT"]', "services.0.admin1", "secret-has-no-place"),
    ('["es", "en"]', "[]\nage_min = 30\nage_max = 18", "services.0.age_max", "below-age-min"),
    ("[agreement]", "[agreement", "", "toml"),
]


@pytest.mark.parametrize(("old", "new", "place", "rule"), FAULTS)
def test_each_fault_is_named_by_place_and_rule(old: str, new: str, place: str, rule: str) -> None:
    assert old in REFUGIO
    read = read_file(REFUGIO.replace(old, new, 1), JWKS, KNOWN)
    assert read.table is None
    assert [(one.field, one.rule) for one in read.faults] == [(place, rule)]


@pytest.mark.parametrize(
    ("jwks", "fault"),
    [
        ({}, ("jwks.keys", "required")),
        ({"keys": []}, ("jwks.keys", "required")),
        ({"keys": ["x"]}, ("jwks.keys.0", "object")),
        ({"keys": [{**JWK, "d": "AAAA"}]}, ("jwks.keys.0", "key")),
        ({"keys": [{**JWK, "crv": "P-256"}]}, ("jwks.keys.0", "key")),
        ({"keys": [JWK, JWK]}, ("jwks.keys.1", "kid-repeated")),
        ({"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}, ("jwks.keys.0", "key")),
    ],
)
def test_only_public_keys_of_the_two_algorithms_are_taken(
    jwks: object, fault: tuple[str, str]
) -> None:
    read = read_file(REFUGIO, jwks, KNOWN)
    assert [(one.field, one.rule) for one in read.faults] == [fault]


def test_plain_http_is_refused_where_no_private_network_is_listed() -> None:
    known = Known(manifests=manifests(), private_networks="", entry_ids={})
    read = read_file(REFUGIO, JWKS, known)
    assert {(one.field, one.rule) for one in read.faults} == {
        ("connector.base_url", "address-not-allowed"),
        ("connector.token_url", "address-not-allowed"),
    }


def test_an_entry_id_of_another_partner_is_taken() -> None:
    known = Known(
        manifests=manifests(),
        private_networks="127.0.0.0/8",
        entry_ids={"refugio-sur-casa": "albergue-oeste"},
    )
    read = read_file(REFUGIO, JWKS, known)
    assert [(one.field, one.rule) for one in read.faults] == [("services.0.id", "taken")]


def test_an_unknown_name_is_not_repeated() -> None:
    read = read_file('"Ana María" = 1\n' + REFUGIO, JWKS, KNOWN)
    assert [(one.field, one.rule) for one in read.faults] == [("?", "extra-forbidden")]


def test_an_entry_keeps_its_reference_over_versions() -> None:
    read = read_file(REFUGIO, JWKS, KNOWN)
    assert read.table is not None
    ref = UUID("7d7c5e0e-53b5-4b6c-9d5e-3f3a7a8f0a11")
    record = record_of(read.table, {"refugio-sur-casa": ref}, uuid4)
    assert record["services"][0]["entry_ref"] == str(ref)


def test_people_see_key_ids_for_keys() -> None:
    read = read_file(REFUGIO, JWKS, KNOWN)
    assert read.table is not None
    shown = proposed_view(record_of(read.table, {}, uuid4))
    assert shown["kids"] == [JWK["kid"]]
    assert "jwks" not in shown
