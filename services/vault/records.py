"""A person's record as bytes: sealed under a key of its own, and the part that a grant names.

Pure over `kit.crypto`. It guards that a record opens only as the version of the case it was stored
as, that only the granted categories come out, and that the originals never do.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

import orjson

from connectors.sdk.amending import Changes, differences
from connectors.sdk.amending import amended as amend
from connectors.sdk.report import Report
from connectors.sdk.types import select, split
from services.kit import crypto
from services.kit.canonical import canonical


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


@dataclass(frozen=True, slots=True)
class New:
    """A record after changes: what differs, or the rules that the changes break."""

    record: bytes = field(repr=False)
    changed: tuple[str, ...]
    faults: tuple[tuple[str, str, str], ...] = ()


def amended(record: bytes, changes: bytes) -> New:
    """The record with the changes; what goes back only to its sender stays as it is."""
    whole, said, report = orjson.loads(record), orjson.loads(changes), Report()
    old = select(whole["split"], whole["split"])
    named = Changes(said["person"], said["case"], tuple(said["removed"]))
    new = amend(old, named, date.fromisoformat(said["today"]), report)
    faults = tuple((fault.code, fault.field, fault.rule) for fault in report.faults)
    made = canonical({**whole, "split": split(new.person, new.case)})
    return New(made, differences(old, new), faults)


def identifiers(record: bytes) -> tuple[tuple[str, str], ...]:
    """The person's identifiers in a record: (system, value) each."""
    known = select(orjson.loads(record)["split"], ("identity",)).person.identifiers
    return tuple((one.system or "", one.value) for one in known)


def released(record: bytes, categories: Iterable[str]) -> bytes:
    """JSON of `sdk.types.Release` with the named categories and nothing else."""
    chosen = select(orjson.loads(record)["split"], categories)
    return chosen.model_dump_json(exclude_defaults=True).encode()
