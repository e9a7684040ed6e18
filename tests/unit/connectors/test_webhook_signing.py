"""Signatures of webhooks: the published vector, another's implementation, tampering, rotation."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from connectors.webhook import signing
from connectors.webhook.signing import Key, Signer, SigningError
from services.kit.crypto import (
    constant_equal,
    ed25519_public,
    mac_sha256,
    sign_ed25519,
    verify_ed25519,
)

AT = datetime(2026, 3, 2, 15, 4, 5, 600_000, tzinfo=UTC)
BODY = b'{"type":"cauce.referral.sent"}'
SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))
SEED, OTHER_SEED = bytes(range(2, 34)), bytes(range(3, 35))


def shared(secret: bytes = SECRET) -> tuple[Signer, Key]:
    return (
        signing.shared_signer(secret, mac_sha256),
        signing.shared_key(secret, mac_sha256, constant_equal),
    )


def own(seed: bytes = SEED) -> tuple[Signer, Key]:
    return (
        signing.own_signer(seed, sign_ed25519),
        signing.public_key(ed25519_public(seed), verify_ed25519),
    )


def rule_of(headers: dict[str, str], body: bytes, keys: list[Key], now: datetime = AT) -> str:
    with pytest.raises(SigningError) as caught:
        signing.verify(headers, body, keys, now)
    return caught.value.rule


def test_the_published_vector_is_what_we_make() -> None:
    secret = signing.key_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_")
    signer = signing.shared_signer(secret, mac_sha256)
    at = datetime.fromtimestamp(1614265330, UTC)
    made = signing.sign([signer], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_anothers_implementation_takes_ours_and_we_take_its() -> None:
    signer, key = shared()
    theirs = Webhook(signing.written("whsec_", SECRET))
    now = datetime.now(UTC)
    ours = signing.signed_headers([own()[0], signer], "msg_1", now, BODY)
    theirs.verify(BODY, ours)
    made = {**ours, "webhook-signature": theirs.sign("msg_1", now, BODY.decode())}
    assert signing.verify(made, BODY, [key], now) == "msg_1"


@pytest.mark.parametrize("pair", [shared(), own()], ids=["v1", "v1a"])
@given(data=st.data())
def test_one_changed_bit_anywhere_is_found(pair: tuple[Signer, Key], data: st.DataObject) -> None:
    signer, key = pair
    body = data.draw(st.binary(min_size=1, max_size=200))
    headers = signing.signed_headers([signer], "msg_1", AT, body)
    assert signing.verify(headers, body, [key], AT) == "msg_1"
    place = data.draw(st.integers(0, len(body) * 8 - 1))
    changed = bytearray(body)
    changed[place // 8] ^= 1 << place % 8
    assert rule_of(headers, bytes(changed), [key]) == "signature"
    assert rule_of({**headers, "webhook-id": "msg_2"}, body, [key]) == "signature"
    later = str(int(headers["webhook-timestamp"]) + 1)
    assert rule_of({**headers, "webhook-timestamp": later}, body, [key]) == "signature"


def test_while_keys_change_old_and_new_are_both_accepted_and_then_the_old_no_more() -> None:
    (old, old_key), (new, new_key) = own(SEED), own(OTHER_SEED)
    both = signing.signed_headers([new, old], "msg_1", AT, BODY)
    assert both["webhook-signature"].count("v1a,") == 2
    assert signing.verify(both, BODY, [old_key], AT) == "msg_1"
    assert signing.verify(both, BODY, [new_key], AT) == "msg_1"
    alone = signing.signed_headers([old], "msg_1", AT, BODY)
    assert signing.verify(alone, BODY, [new_key, old_key], AT) == "msg_1"
    assert rule_of(alone, BODY, [new_key]) == "signature"


def test_a_key_of_one_kind_accepts_no_signature_of_the_other() -> None:
    signer, _ = shared()
    headers = signing.signed_headers([signer], "msg_1", AT, BODY)
    renamed = headers["webhook-signature"].replace("v1,", "v1a,")
    assert rule_of({**headers, "webhook-signature": renamed}, BODY, [shared()[1]]) == "signature"
    assert rule_of(headers, BODY, [own()[1]]) == "signature"
    assert rule_of(headers, BODY, []) == "signature"


@pytest.mark.parametrize(("away", "accepted"), [(59, True), (60, True), (62, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_message_counts_for_a_minute_both_ways(away: int, accepted: bool, sign: int) -> None:
    signer, key = own()
    headers = signing.signed_headers([signer], "msg_1", AT, BODY)
    now = AT.replace(microsecond=0) + sign * timedelta(seconds=away)
    if accepted:
        assert signing.verify(headers, BODY, [key], now) == "msg_1"
    else:
        assert rule_of(headers, BODY, [key], now) == "timestamp"
    assert 2 * signing.LEEWAY < signing.REMEMBER


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": ""},
        {"webhook-id": "a b"},
        {"webhook-id": "x" * 129},
        {"webhook-timestamp": "1.5e9"},
        {"webhook-timestamp": "-5"},
        {"webhook-timestamp": "٣"},
    ],
)
def test_headers_of_another_form_are_refused_before_any_key_is_tried(
    changes: dict[str, str],
) -> None:
    signer, key = own()
    headers = signing.signed_headers([signer], "msg_1", AT, BODY)
    assert rule_of({**headers, **changes}, BODY, [key]) == "headers"


@pytest.mark.parametrize("text", ["", "v1a", "v1a,", "v1a,###", "v1a,QQ==", "v1a,é"])
def test_what_is_no_signature_is_none(text: str) -> None:
    _, key = own()
    headers = {"webhook-id": "m", "webhook-timestamp": str(int(AT.timestamp()))}
    assert rule_of({**headers, "webhook-signature": text}, BODY, [key]) == "signature"


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("whsec_" + base64.b64encode(b"short").decode(), "whsec_"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "whsec_"),
        ("whpk_" + base64.b64encode(bytes(31)).decode(), "whpk_"),
        ("whpk_" + base64.b64encode(bytes(32)).decode(), "whsec_"),
        ("whpk_not base64", "whpk_"),
    ],
)
def test_a_key_of_another_form_is_refused_without_showing_it(text: str, prefix: str) -> None:
    with pytest.raises(SigningError) as caught:
        signing.key_bytes(text, prefix)
    assert str(caught.value) == "key"
    assert "bytes" not in repr(shared()[0])
