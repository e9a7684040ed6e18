"""Facts about a person on the log: sealed under the key of their case and purpose.

The form is `key_version:int32 ‖ nonce:12 ‖ ciphertext`. Each event has a key of its own (HKDF), and
what surrounds the facts is associated data: moved to another event, case, type or purpose they do
not open. Encoding is `schemas.codec`'s, keys are the vault's.
"""

from struct import Struct
from uuid import UUID

from schemas.topics import event_types
from services.kit import crypto
from services.kit.ports.vault import DataKey

_VERSION = Struct(">i")


def seal_facts(
    key: DataKey, event_type: str, event_id: UUID, case_ref: UUID, purpose: str, plain: bytes
) -> bytes:
    """`plain` (a Confluent frame) sealed for one event; `purpose` must be the key's own."""
    if key.purpose != purpose:
        raise crypto.CryptoError("purpose")
    head = _VERSION.pack(key.version)
    aad = _associated(event_type, event_id, case_ref, purpose, head)
    return head + crypto.aead_seal(_event_key(key, event_type, event_id), None, plain, aad)


def open_facts(
    key: DataKey, event_type: str, event_id: UUID, case_ref: UUID, purpose: str, sealed: bytes
) -> bytes:
    """The plaintext of `seal_facts`; CryptoError when anything differs."""
    if key.purpose != purpose or key_version(sealed) != key.version:
        raise crypto.CryptoError("key-version")
    aad = _associated(event_type, event_id, case_ref, purpose, sealed[: _VERSION.size])
    event_key = _event_key(key, event_type, event_id)
    return crypto.aead_open(event_key, sealed[_VERSION.size :], aad)


def key_version(sealed: bytes) -> int:
    """Which version of the purpose's key opens these facts; CryptoError when cut short."""
    if len(sealed) < _VERSION.size:
        raise crypto.CryptoError("sealed-length")
    return int(_VERSION.unpack_from(sealed)[0])


def _topic(event_type: str) -> bytes:
    """The logical topic, as the schema names it, whatever the cluster calls it."""
    return event_types()[event_type].topic.encode()


def _event_key(key: DataKey, event_type: str, event_id: UUID) -> bytes:
    info = crypto.joined(_topic(event_type), event_type.encode(), event_id.bytes)
    return crypto.hkdf(key.key, info)


def _associated(
    event_type: str, event_id: UUID, case_ref: UUID, purpose: str, version: bytes
) -> bytes:
    parts = (event_type.encode(), event_id.bytes, case_ref.bytes, purpose.encode(), version)
    return crypto.joined(_topic(event_type), *parts)
