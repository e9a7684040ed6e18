"""Leaves of the custody log: what happened, in codes and ids, ready for the effect's transaction.

Pure but for `append_leaves`. It guards that a leaf says nothing beyond a closed list of fields and
that its hash is salted, so that an erased leaf cannot be guessed. Order and tree are custody's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, get_args
from uuid import UUID, uuid4

import asyncpg

from services.kit.canonical import canonical
from services.kit.crypto import random_bytes

LeafKind = Literal[
    "accepted",
    "refused",
    "disclosure_intent",
    "disclosed",
    "not_sent",
    "unknown",
    "suppressed",
    "withdrawn",
    "expired",
    "erasure_requested",
    "erasure_reported",
    "key_destroyed",
    "epoch_destroyed",
    "identity_opened",
    "notice_due",
    "notice_closed",
    "partner_changed",
    "staff_changed",
    "replayed",
    "given_up",
    "case_updated",
    "case_closed",
]
KINDS: Final[frozenset[str]] = frozenset(get_args(LeafKind))
FIELDS: Final = frozenset(
    {
        "actor",
        "case_ref",
        "referral_ref",
        "to_org",
        "categories",
        "purpose",
        "consent_ref",
        "consent_version",
        "legal_basis",
        "rule",
        "policy_version",
        "payload_sha256",
        "grant_ref",
        "delivery_ref",
        "disclosure_ref",
        "erasure_ref",
        "key_version",
        "approvers",
        "reason_code",
        "version",
        "status",
        "org",
        "staff_id",
        "opening_ref",
        "notice_ref",
    }
)
SALT_BYTES: Final = 16
LeafValue = str | int | UUID | datetime | Sequence[str] | None
_APPEND: Final = "select custody.append($1, $2, $3, $4, $5)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """One leaf; `hash` = SHA-256(00 ‖ salt ‖ body), the leaf hash of RFC 6962 over salt ‖ body."""

    ref: UUID
    kind: str
    body: bytes
    salt: bytes = field(repr=False)
    hash: bytes


def leaf_hash(salt: bytes, body: bytes) -> bytes:
    """The RFC 6962 leaf hash of `salt ‖ body`."""
    return hashlib.sha256(b"\x00" + salt + body).digest()


def leaf(kind: LeafKind, now: datetime, ref: UUID | None = None, **fields: LeafValue) -> Leaf:
    """Build a leaf; ValueError for an unknown kind or field. Fields that are None are left out."""
    if kind not in KINDS:
        raise ValueError("leaf kind")
    unknown = fields.keys() - FIELDS
    if unknown:
        raise ValueError(f"leaf field {min(unknown)}")
    content: dict[str, object] = {"time": _plain(now), "kind": kind}
    content |= {name: _plain(value) for name, value in fields.items() if value is not None}
    body, salt = canonical(content), random_bytes(SALT_BYTES)
    return Leaf(ref=ref or uuid4(), kind=kind, body=body, salt=salt, hash=leaf_hash(salt, body))


def _plain(value: LeafValue) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str | int):
        return value
    return list(value or ())


async def append_leaves(conn: asyncpg.Connection, leaves: Sequence[Leaf]) -> None:
    """Append up to 64 leaves in the caller's transaction."""
    if leaves:
        await conn.execute(
            _APPEND,
            [one.ref for one in leaves],
            [one.kind for one in leaves],
            [one.body for one in leaves],
            [one.salt for one in leaves],
            [one.hash for one in leaves],
        )
