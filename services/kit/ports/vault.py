"""What services ask of the vault, the only place with identity.

The values here hold no identity: a person's record crosses as bytes that only gateway, vault and
delivery can read (`connectors.sdk.types`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup:
    """A person as one organisation knows them: `(system, value)` pairs in its own systems."""

    org: str
    identifiers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PutItem:
    """One accepted-to-be record.

    `record` is canonical JSON (`sdk.types.split` + originals, see CONTRACT).
    """

    attempt: UUID
    org: str
    identifiers: tuple[tuple[str, str], ...]
    case_ref: UUID
    subject_seen: UUID | None
    key_versions: tuple[tuple[str, int], ...]
    """(purpose, key_version) pairs under which the record may be released and facts are sealed."""
    record: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataKey:
    """The key of a case and purpose; `key` is 32 bytes, cached at most 5 s by its reader."""

    purpose: str
    version: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PutResult:
    """Where the record went, or the `rule` for which nothing was stored (version 0, no keys).

    Rules: `subject-changed` (another subject, the one given, holds these identifiers than the
    caller saw: decide again), `key-dead` (a key version is dead by now: decide again),
    `subject-conflict` (the identifiers belong to several people), `attempt-forgotten`.
    """

    subject_ref: UUID
    vault_version: int
    keys: tuple[DataKey, ...]
    subject_changed: bool = False
    rule: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AmendItem:
    """What is put right in the records of a case, under an attempt of its own.

    `changes` is JSON of `sdk.amending.Changes` and of the cell's day, `today`.
    """

    attempt: UUID
    org: str
    case_ref: UUID
    changes: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Amended:
    """A record as a referral names it, and the version that stands in its place."""

    first_version: int
    vault_version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AmendResult:
    """The new versions, the live keys they are under, and which fields (`part.field`) differ now.

    None of these where nothing differs. Rules: `key-dead` (no record of the case can be read),
    `subject-conflict`, `contradiction` (`faults` name code, native field and rule of the refusal
    catalogue), `attempt-forgotten`.
    """

    amended: tuple[Amended, ...] = ()
    keys: tuple[DataKey, ...] = ()
    changed: tuple[str, ...] = ()
    rule: str | None = None
    faults: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyQuery:
    """Which key: `version` None means the live one."""

    case_ref: UUID
    purpose: str
    version: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """The signed form of a decision: what may leave, to whom, until when. Used once."""

    grant_ref: UUID
    case_ref: UUID
    vault_version: int
    to_org: str
    purpose: str
    key_version: int
    categories: tuple[str, ...]
    start: datetime
    deadline: datetime
    consent_ref: UUID
    consent_version: int
    rule: str
    policy_version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedGrant:
    """A grant's canonical JSON and its Ed25519 signature by the deciding service."""

    grant: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseResult:
    """Content under the recipient's own pseudonym, or the rule that forbade it (`content` None)."""

    rule: str
    content: bytes | None = field(default=None, repr=False)
    pseudonym: str | None = None
    patient_id: UUID | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GrantState:
    """What the vault knows of a grant:

    `used_at` None and past its deadline means nothing was released.
    """

    grant_ref: UUID
    used_at: datetime | None
    now: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class OpeningRequest:
    """Opening an identity outside a grant:

    two approvers of different organisations, a reason, a leaf.
    """

    opening_ref: UUID
    case_ref: UUID
    reason_code: str
    approvers: tuple[tuple[str, str], ...]
    """(staff id, organisation), exactly two and of different organisations."""
    leaf_ref: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class CopiedVersion:
    """One accepted version of a case's record; `record` is None once its keys are destroyed."""

    vault_version: int
    stored_at: datetime
    record: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyResult:
    """All versions of a case's record, oldest first, or the rule that forbade it (no versions).

    `other_cases` counts the person's cases that this opening does not reach.
    """

    rule: str
    versions: tuple[CopiedVersion, ...] = ()
    other_cases: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayResult:
    """What replaying a parked case did; `rule` is `not-parked` or what still forbids it."""

    handled: int
    rule: str | None = None


class Vault(Protocol):
    """The only place with identity."""

    async def resolve(self, items: Sequence[Lookup]) -> list[UUID | None]:
        """Subject of a person known to an organisation, else None."""

    async def put(self, items: Sequence[PutItem]) -> list[PutResult]:
        """Append a version of the record; make missing keys; answer subject, version and keys."""

    async def amend(self, items: Sequence[AmendItem]) -> list[AmendResult]:
        """Append a new version of each record of a case that can still be read."""

    async def forget(self, items: Sequence[UUID]) -> list[bool]:
        """Delete the versions of attempts that no accepted submission names."""

    async def keep(self, items: Sequence[UUID]) -> list[bool]:
        """Mark the versions of accepted attempts, so that no sweep forgets them."""

    async def keys(self, items: Sequence[KeyQuery]) -> list[DataKey | None]:
        """Keys for sealing and unsealing facts; None when the key is dead or never was."""

    async def release(self, items: Sequence[SignedGrant]) -> list[ReleaseResult]:
        """Record the grant's use, then give exactly what it names."""

    async def grants(self, items: Sequence[UUID]) -> list[GrantState]:
        """Whether each grant was used."""

    async def open(self, items: Sequence[OpeningRequest]) -> list[ReleaseResult]:
        """Open an identity outside a grant."""

    async def copy(self, items: Sequence[OpeningRequest]) -> list[CopyResult]:
        """The person's whole record of a case, in all versions, for their own access report."""

    async def replay(self, items: Sequence[UUID]) -> list[ReplayResult]:
        """Handle again the cases at which the vault's own consumer stopped."""
