"""Keys of webhooks: by scheme, from files, changed without a restart, and none when malformed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.webhook import signing
from connectors.webhook.signing import SigningError, signed_headers, verify, written
from services.kit.crypto import ed25519_public, new_ed25519, sign_ed25519, verify_ed25519
from services.kit.hookkeys import FRESH_SECONDS, HookKeys
from services.kit.partner import Webhook

AT = datetime(2026, 3, 2, tzinfo=UTC)
OWN = Webhook(url="https://b.example", scheme="v1a")
SHARED = Webhook(url="https://b.example", scheme="v1")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_old_key_signs_beside_the_new_one_until_its_file_goes(tmp_path: Path) -> None:
    (old, old_public), (new, new_public) = new_ed25519(), new_ed25519()
    (tmp_path / "webhook.ed25519").write_bytes(old)
    keys = HookKeys(tmp_path, clock := Clock())
    assert keys.public() == [written("whpk_", old_public)]
    (tmp_path / "webhook.old.ed25519").write_bytes(old)
    (tmp_path / "webhook.ed25519").write_bytes(new)
    assert len(keys.signers("b", OWN)) == 1, "known for five seconds"
    clock.now += FRESH_SECONDS
    headers = signed_headers(keys.signers("b", OWN), "m", AT, b"x")
    for public in (old_public, new_public):
        assert verify(headers, b"x", [signing.public_key(public, verify_ed25519)], AT) == "m"


def test_a_shared_secret_signs_and_is_known_again(tmp_path: Path) -> None:
    first, second = (written("whsec_", bytes([n]) * 32) for n in (1, 2))
    (tmp_path / "webhook.clinica").write_text(f"{first}\n{second}\n")
    keys = HookKeys(tmp_path)
    headers = signed_headers(keys.signers("clinica", SHARED), "m", AT, b"x")
    assert headers["webhook-signature"].count("v1,") == 2
    assert verify(headers, b"x", keys.keys("clinica", SHARED), AT) == "m"
    with pytest.raises(SigningError):
        verify(headers, b"x", keys.keys("otra", SHARED), AT)


def test_without_a_key_nothing_is_signed_and_nothing_counts(tmp_path: Path) -> None:
    keys = HookKeys(tmp_path)
    for hook in (OWN, SHARED):
        with pytest.raises(SigningError):
            keys.signers("clinica", hook)
        assert keys.keys("clinica", hook) == []


def test_a_partners_answers_are_known_by_its_own_keys_alone(tmp_path: Path) -> None:
    seed, public = new_ed25519()
    (tmp_path / "webhook.ed25519").write_bytes(new_ed25519()[0])
    hook = Webhook(url="u", scheme="v1a", public_keys=(written("whpk_", public),))
    keys = HookKeys(tmp_path)
    theirs = signed_headers([signing.own_signer(seed, sign_ed25519)], "m", AT, b"x")
    assert verify(theirs, b"x", keys.keys("b", hook), AT) == "m"
    ours = signed_headers(keys.signers("b", hook), "m", AT, b"x")
    with pytest.raises(SigningError):
        verify(ours, b"x", keys.keys("b", hook), AT)
    assert ed25519_public(seed) == public


@pytest.mark.parametrize("content", [b"short", b"whsec_?", b"\xff\xfe"])
def test_a_malformed_file_is_an_error_and_no_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "webhook.ed25519").write_bytes(content)
    (tmp_path / "webhook.clinica").write_bytes(content)
    keys = HookKeys(tmp_path)
    with pytest.raises(SigningError):
        keys.own()
    with pytest.raises(SigningError):
        keys.signers("clinica", SHARED)
