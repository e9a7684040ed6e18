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


def submission_mac(keys: Keys, org: str, header: str | None, bundle: Mapping[str, Any]) -> bytes:
    """The key of a submission: header, else Bundle.identifier, else Task.identifier.

    Refused `required` when there is none of them, `value-invalid` for a header that is no key.
    """
    if header is not None:
        text = normal(header)
        if not text or len(text) > MAX_KEY:
            raise Refused.of("value-invalid", "idempotency-key")
        return hmac_sha256(keys.index, b"key", org.encode(), b"header", text.encode())
    found = _identifier(bundle.get("identifier")) or _task_identifier(bundle)
    if found is None:
        raise Refused.of("required", "idempotency-key")
    return identifier_mac(keys, org, *found)


def identifier_mac(keys: Keys, org: str, system: str, value: str) -> bytes:
    """A partner's own identifier as the hub may remember it."""
    parts = (normal(system).encode(), normal(value).encode())
    return hmac_sha256(keys.index, b"identifier", org.encode(), *parts)


def content_digest(keys: Keys, org: str, bundle: Mapping[str, Any]) -> bytes:
    """Keyed digest of the canonical content; ValueError when there is no canonical form."""
    return hmac_sha256(keys.digest, b"content", org.encode(), canonical(bundle))


def body_digest(keys: Keys, org: str, body: bytes) -> bytes:
    """Keyed digest of what could not even be read as JSON."""
    return hmac_sha256(keys.digest, b"body", org.encode(), body)


def _task_identifier(bundle: Mapping[str, Any]) -> tuple[str, str] | None:
    entries = bundle.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and resource.get("resourceType") == "Task":
            given = resource.get("identifier")
            return _identifier(given[0]) if isinstance(given, list) and given else None
    return None


def _identifier(node: Any) -> tuple[str, str] | None:
    if not isinstance(node, dict):
        return None
    system, value = node.get("system", ""), node.get("value")
    if not isinstance(value, str) or not isinstance(system, str) or not normal(value):
        return None
    return system, value
