"""The crypto module: what was sealed opens, and nothing else does."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from services.kit import crypto
from services.kit.crypto import CryptoError
from services.kit.ports.vault import DataKey
from services.kit.seal import open_facts, seal_facts

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(plain=st.binary(max_size=300), aad=st.binary(max_size=50), other=st.binary(max_size=50))
def test_sealed_bytes_open_with_the_same_key_and_associated_data_only(
    plain: bytes, aad: bytes, other: bytes
) -> None:
    sealed = crypto.aead_seal(KEY, None, plain, aad)
    assert crypto.aead_open(KEY, sealed, aad) == plain
    with pytest.raises(CryptoError):
        crypto.aead_open(OTHER, sealed, aad)
    if other != aad:
        with pytest.raises(CryptoError):
            crypto.aead_open(KEY, sealed, other)


def test_a_changed_byte_anywhere_does_not_open() -> None:
    sealed = crypto.aead_seal(KEY, None, b"facts", b"where")
    for place in range(len(sealed)):
        broken = bytearray(sealed)
        broken[place] ^= 1
        with pytest.raises(CryptoError):
            crypto.aead_open(KEY, bytes(broken), b"where")
    for length in (0, 5, 12, len(sealed) - 1):
        with pytest.raises(CryptoError):
            crypto.aead_open(KEY, sealed[:length], b"where")


@given(st.lists(st.binary(max_size=5), max_size=5), st.lists(st.binary(max_size=5), max_size=5))
def test_two_lists_of_parts_never_give_the_same_mac(left: list[bytes], right: list[bytes]) -> None:
    same = crypto.hmac_sha256(KEY, *left) == crypto.hmac_sha256(KEY, *right)
    assert same == (left == right)


def test_a_wrapped_key_opens_under_its_own_kek_only() -> None:
    wrapped = crypto.wrap(KEY, OTHER)
    assert crypto.unwrap(KEY, wrapped) == OTHER
    with pytest.raises(CryptoError):
        crypto.unwrap(OTHER, wrapped)
    with pytest.raises(CryptoError):
        crypto.unwrap(KEY, b"short")


def test_an_ed25519_signature_speaks_for_one_message_and_one_key() -> None:
    seed, public = crypto.new_ed25519()
    signature = crypto.sign_ed25519(seed, b"grant")
    assert crypto.verify_ed25519(public, b"grant", signature)
    assert not crypto.verify_ed25519(public, b"other", signature)
    assert not crypto.verify_ed25519(crypto.new_ed25519()[1], b"grant", signature)
    assert not crypto.verify_ed25519(public, b"grant", b"")


def test_a_uuid_from_bytes_is_a_version_4() -> None:
    made = crypto.uuid4_from(crypto.sha256(b"x"))
    assert made.version == 4
    with pytest.raises(CryptoError):
        crypto.uuid4_from(b"short")


# --- tokens -------------------------------------------------------------------------------------


def assertion(pem: bytes, **header: object) -> str:
    return crypto.make_jwt_es384(pem, {"kid": "k1", "typ": "JWT", **header}, {"iss": "ong"})


def jwks(pem: bytes, kid: str = "k1") -> dict[str, Any]:
    return {"keys": [{**crypto.jwk_of(pem), "kid": kid}]}


def test_a_partners_es384_assertion_is_read_by_its_registered_key() -> None:
    pem = crypto.new_es384_pem()
    header, claims = crypto.verify_client_assertion(assertion(pem), jwks(pem))
    assert (header["alg"], header["kid"], claims) == ("ES384", "k1", {"iss": "ong"})


@pytest.mark.filterwarnings("ignore:Key size:joserfc.errors.SecurityWarning")
def test_a_partners_rs384_assertion_is_read_too_and_a_weak_key_is_not() -> None:
    for bits, good in ((2048, True), (1024, False)):
        private = rsa.generate_private_key(65537, bits).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        key = RSAKey.import_key(private)
        token = jwt.encode({"alg": "RS384", "kid": "r"}, {"iss": "x"}, key, algorithms=["RS384"])
        keys = {"keys": [{**key.as_dict(private=False), "kid": "r"}]}
        if good:
            assert crypto.verify_client_assertion(token, keys)[1] == {"iss": "x"}
        else:
            with pytest.raises(CryptoError, match="key"):
                crypto.verify_client_assertion(token, keys)


def test_an_assertion_by_another_key_kid_or_algorithm_is_refused() -> None:
    pem = crypto.new_es384_pem()
    token = assertion(pem)
    cases = {
        "signature": jwks(crypto.new_es384_pem()),
        "kid": jwks(pem, kid="k2"),
    }
    for rule, keys in cases.items():
        with pytest.raises(CryptoError, match=rule):
            crypto.verify_client_assertion(token, keys)
    with pytest.raises(CryptoError, match="kid"):
        crypto.verify_client_assertion(token, {"keys": jwks(pem)["keys"] * 2})
    with pytest.raises(CryptoError, match="kid"):
        crypto.verify_client_assertion(token, {})
    hs = crypto.make_token(KEY, {"exp": 1})
    with pytest.raises(CryptoError, match="algorithm"):
        crypto.verify_client_assertion(hs, jwks(pem))


def test_a_p256_key_cannot_pass_for_es384() -> None:
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    small = {**ECKey.import_key(private).as_dict(private=False), "kid": "k1"}
    with pytest.raises(CryptoError, match="key"):
        crypto.verify_client_assertion(assertion(crypto.new_es384_pem()), {"keys": [small]})


@given(st.text(max_size=80))
def test_no_text_makes_token_reading_fail_with_anything_but_its_own_error(text: str) -> None:
    for read in (
        lambda: crypto.read_token(KEY, text),
        lambda: crypto.verify_client_assertion(text, {"keys": []}),
    ):
        with pytest.raises(CryptoError) as caught:
            read()
        assert len(text) < 3 or text not in str(caught.value)


def test_our_own_token_ends_at_its_expiry_and_needs_its_key() -> None:
    expires = int(NOW.timestamp()) + 60
    token = crypto.make_token(KEY, {"sub": "delivery", "exp": expires})
    assert crypto.read_token(KEY, token, NOW)["sub"] == "delivery"
    with pytest.raises(CryptoError, match="expired"):
        crypto.read_token(KEY, token, NOW + timedelta(seconds=60))
    with pytest.raises(CryptoError, match="signature"):
        crypto.read_token(OTHER, token, NOW)
    with pytest.raises(CryptoError, match="expired"):
        crypto.read_token(KEY, crypto.make_token(KEY, {"sub": "x"}), NOW)


def test_an_unsigned_token_is_refused() -> None:
    none = "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTl9."
    with pytest.raises(CryptoError, match="algorithm"):
        crypto.read_token(KEY, none, NOW)


# --- canonical JSON and sealed facts ------------------------------------------------------------


EVENT, CASE = uuid4(), uuid4()
DATA_KEY = DataKey(purpose="shelter", version=3, key=KEY)


def test_facts_open_in_their_own_event_only() -> None:
    from schemas.topics import event_types

    gated = sorted(name for name, event in event_types().items() if event.facts)
    one, two = gated[:2]
    sealed = seal_facts(DATA_KEY, one, EVENT, CASE, "shelter", b"frame")
    assert sealed[:4] == b"\x00\x00\x00\x03"
    assert open_facts(DATA_KEY, one, EVENT, CASE, "shelter", sealed) == b"frame"
    wrong = [
        (DATA_KEY, two, EVENT, CASE, "shelter", sealed),
        (DATA_KEY, one, uuid4(), CASE, "shelter", sealed),
        (DATA_KEY, one, EVENT, uuid4(), "shelter", sealed),
        (DATA_KEY, one, EVENT, CASE, "legal", sealed),
        (DataKey(purpose="legal", version=3, key=KEY), one, EVENT, CASE, "legal", sealed),
        (DataKey(purpose="shelter", version=4, key=KEY), one, EVENT, CASE, "shelter", sealed),
        (DataKey(purpose="shelter", version=3, key=OTHER), one, EVENT, CASE, "shelter", sealed),
        (DATA_KEY, one, EVENT, CASE, "shelter", sealed[:3]),
        (DATA_KEY, one, EVENT, CASE, "shelter", sealed[:-1]),
    ]
    for arguments in wrong:
        with pytest.raises(CryptoError):
            open_facts(*arguments)


def test_a_data_key_shows_nothing_in_its_repr() -> None:
    assert KEY.hex() not in repr(DATA_KEY)
    assert "key=" not in repr(DATA_KEY)
