"""Standard Webhooks signatures, made and checked. Pure.

It guards that a message counts only when one of its signatures is by a key we know, over exactly
the id, time and bytes that came, and not older or newer than `LEEWAY`; all checks are over bytes
and in constant time (the functions passed in are). That an id is taken once is the caller's to
remember, for at least `REMEMBER`. Keys are named `whsec_` (shared secret), `whsk_` (our Ed25519
seed) and `whpk_` (an Ed25519 public key), each with its bytes in base64; several at once are a
rotation.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

LEEWAY: Final = timedelta(seconds=60)
"""How far a message's time may be from ours, both ways."""
REMEMBER: Final = 3 * LEEWAY
"""How long an id has to be remembered, so that its message cannot be accepted twice."""
MOST_SIGNATURES: Final = 8
MIN_SECRET: Final = 24
MAX_SECRET: Final = 64
ED25519_BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9_.:~-]{1,128}")
_SECONDS: Final = re.compile(r"[0-9]{1,12}")

Scheme = Literal["v1", "v1a"]
Mac = Callable[[bytes, bytes], bytes]
"""HMAC-SHA-256 of (key, message)."""
Equal = Callable[[bytes, bytes], bool]
"""Whether two byte strings are equal, in constant time."""
SignEd25519 = Callable[[bytes, bytes], bytes]
"""Signature of (seed, message)."""
CheckEd25519 = Callable[[bytes, bytes, bytes], bool]
"""Whether (public key, message, signature) belong together."""


class SigningError(Exception):
    """A key or a message is not what it should be; `rule` says which check, never a value."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


@dataclass(frozen=True, kw_only=True, slots=True)
class Signer:
    """A key that we sign with."""

    scheme: Scheme
    make: Callable[[bytes], bytes] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key whose signatures we accept."""

    scheme: Scheme
    check: Callable[[bytes, bytes], bool] = field(repr=False)
    """Whether (message, signature) belong together."""


def key_bytes(text: str, prefix: str) -> bytes:
    """The bytes of a key in its written form; SigningError (`key`) for any other form."""
    if not text.startswith(prefix):
        raise SigningError("key")
    try:
        found = base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise SigningError("key") from None
    shared = prefix == "whsec_"
    if not (MIN_SECRET <= len(found) <= MAX_SECRET if shared else len(found) == ED25519_BYTES):
        raise SigningError("key")
    return found


def written(prefix: str, key: bytes) -> str:
    """The written form of a key."""
    return prefix + base64.b64encode(key).decode()


def shared_signer(secret: bytes, mac: Mac) -> Signer:
    """Signs with a secret that the receiver knows too (`v1`)."""
    return Signer(scheme="v1", make=lambda message: mac(secret, message))


def own_signer(seed: bytes, sign_ed25519: SignEd25519) -> Signer:
    """Signs with our own key, whose public half the receiver knows (`v1a`)."""
    return Signer(scheme="v1a", make=lambda message: sign_ed25519(seed, message))


def shared_key(secret: bytes, mac: Mac, equal: Equal) -> Key:
    """Accepts what was signed with a shared secret (`v1`)."""
    return Key(scheme="v1", check=lambda message, given: equal(mac(secret, message), given))


def public_key(public: bytes, check: CheckEd25519) -> Key:
    """Accepts what was signed by the holder of a public key (`v1a`)."""
    return Key(scheme="v1a", check=lambda message, given: check(public, message, given))


def sign(signers: Sequence[Signer], mark: str, at: datetime, body: bytes) -> str:
    """The `webhook-signature` of a message: one for each key, the newest first."""
    message = _signed(mark, int(at.timestamp()), body)
    return " ".join(
        f"{one.scheme},{base64.b64encode(one.make(message)).decode()}" for one in signers
    )


def signed_headers(
    signers: Sequence[Signer], mark: str, at: datetime, body: bytes
) -> dict[str, str]:
    """The three headers of a message; `mark` is its id and stays the same in a repeat."""
    return {
        "webhook-id": mark,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": sign(signers, mark, at, body),
    }


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[Key], now: datetime) -> str:
    """The id of a message that is signed by one of `keys`, in time; names of headers in lower case.

    SigningError: `headers` (one is missing or has another form), `timestamp` (too far from now),
    `signature` (by none of the keys).
    """
    mark = headers.get("webhook-id", "")
    seconds = headers.get("webhook-timestamp", "")
    if _ID.fullmatch(mark) is None or _SECONDS.fullmatch(seconds) is None:
        raise SigningError("headers")
    if abs(now.timestamp() - int(seconds)) > LEEWAY.total_seconds():
        raise SigningError("timestamp")
    message = _signed(mark, int(seconds), body)
    given = _signatures(headers.get("webhook-signature", ""))
    checks = [
        key.check(message, signature)
        for scheme, signature in given
        for key in keys
        if key.scheme == scheme
    ]
    if not any(checks):
        raise SigningError("signature")
    return mark


def _signatures(text: str) -> list[tuple[str, bytes]]:
    """The schemes and bytes of a header's signatures; what has another form is none."""
    found = []
    for one in text.split(" ")[:MOST_SIGNATURES]:
        scheme, _, encoded = one.partition(",")
        try:
            found.append((scheme, base64.b64decode(encoded, validate=True)))
        except (binascii.Error, ValueError):
            continue
    return found


def _signed(mark: str, seconds: int, body: bytes) -> bytes:
    return b".".join((mark.encode(), str(seconds).encode(), body))
