"""Idempotency: by which key a submission is known, and the digest of its content.

Pure. It guards that nothing a partner chose (a key, an identifier) stands outside the vault except
as HMAC, and that two texts of the same JSON have the same digest. Remembering them is the store's.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.kit.canonical import canonical
from services.kit.crypto import hmac_sha256
from services.kit.errors import Refused

MAX_KEY: Final = 255


@dataclass(frozen=True, slots=True)
class Keys:
    """The hub's keys of this folder's HMACs."""

    index: bytes
    digest: bytes


def normal(text: str) -> str:
    """How identifiers and keys are compared: NFC, without outer white space, case kept."""
    return unicodedata.normalize("NFC", text).strip()


def header_key(header: str | None) -> str | None:
    """The key in an Idempotency-Key header; None without one, Refused for one that is no key."""
    if header is None:
        return None
    text = normal(header)
    if not text or len(text) > MAX_KEY:
        raise Refused.of("value-invalid", "idempotency-key")
    return text


def submission_mac(
    keys: Keys, org: str, header: str | None, given: tuple[str, str] | None
) -> bytes:
    """The key of a submission: header, else an identifier that its format has for this.

    Refused `required` when there is none of them, `value-invalid` for a header that is no key.
    """
    if (text := header_key(header)) is not None:
        return hmac_sha256(keys.index, b"key", org.encode(), b"header", text.encode())
    if given is None:
        raise Refused.of("required", "idempotency-key")
    return identifier_mac(keys, org, *given)


def identifier_mac(keys: Keys, org: str, system: str, value: str) -> bytes:
    """A partner's own identifier as the hub may remember it."""
    parts = (normal(system).encode(), normal(value).encode())
    return hmac_sha256(keys.index, b"identifier", org.encode(), *parts)


def content_digest(keys: Keys, org: str, document: Mapping[str, Any]) -> bytes:
    """Keyed digest of the canonical content; ValueError when there is no canonical form."""
    return hmac_sha256(keys.digest, b"content", org.encode(), canonical(document))


def body_digest(keys: Keys, org: str, body: bytes) -> bytes:
    """Keyed digest of what could not even be read as JSON."""
    return hmac_sha256(keys.digest, b"body", org.encode(), body)
