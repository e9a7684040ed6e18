"""A person's record as bytes: sealed under a key of its own, and the part that a grant names.

Pure over `kit.crypto`. It guards that a record opens only as the version of the case it was stored
as, that only the granted categories come out, and that the originals never do.
"""

from collections.abc import Iterable
from uuid import UUID

import orjson

from connectors.sdk.types import select
from services.kit import crypto


def _where(case_ref: UUID, vault_version: int, attempt: UUID) -> bytes:
    number = vault_version.to_bytes(4, "big")
    return crypto.joined(b"record", case_ref.bytes, number, attempt.bytes)


def seal(own_key: bytes, case_ref: UUID, vault_version: int, attempt: UUID, record: bytes) -> bytes:
    """The record under its own key, bound to its place."""
    return crypto.aead_seal(own_key, None, record, _where(case_ref, vault_version, attempt))


def unseal(
    own_key: bytes, case_ref: UUID, vault_version: int, attempt: UUID, sealed: bytes
) -> bytes:
    """The record; CryptoError when key or place differ."""
    return crypto.aead_open(own_key, sealed, _where(case_ref, vault_version, attempt))


def released(record: bytes, categories: Iterable[str]) -> bytes:
    """JSON of `sdk.types.Release` with the named categories and nothing else."""
    chosen = select(orjson.loads(record)["split"], categories)
    return chosen.model_dump_json(exclude_defaults=True).encode()
