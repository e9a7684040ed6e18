"""The few questions that services ask one another and need answered now.

A port is a Protocol whose methods are batch-shaped: a sequence in, a list of the same length and
order out. Inside a process it is a function call; between processes `kit.rpc` carries it as `POST
/port/method`. The values here hold no identity: a person's record crosses as sealed-in-transit
bytes that only gateway, vault and delivery can read (`connectors.sdk.types`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

MAX_BATCH = 64
"""Most items one call may carry (PostgreSQL advisory locks, latency)."""


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

    async def replay(self, items: Sequence[UUID]) -> list[ReplayResult]:
        """Handle again the cases at which the vault's own consumer stopped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsentRule:
    """One item of a consent:

    `permit` names org, purpose, categories; `deny` names an org or a kind.
    """

    decision: str
    purpose: str | None
    to_org: str | None
    to_kind: str | None
    data_categories: tuple[str, ...]
    valid_from: datetime
    valid_to: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsentRecord:
    """A consent of one case without identity: giver and approver are codes."""

    consent_ref: UUID
    case_ref: UUID
    source_org: str
    status: str
    legal_basis: str
    reason_code: str | None
    approver_ref: str | None
    notice: str
    language: str
    form: str
    giver: str
    assent: str | None
    given_at: datetime
    valid_from: datetime
    valid_to: datetime
    version: int
    rules: tuple[ConsentRule, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """May these categories of this case go to this organisation for this purpose, now?"""

    case_ref: UUID
    to_org: str
    to_kind: str
    purpose: str
    categories: tuple[str, ...]
    overlay: ConsentRecord | None = None
    """A submitted record not yet stored, weighed as if it were live."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The answer, always with its rule.

    `categories` are those allowed; `deadline` when it stops being true.
    """

    allowed: bool
    rule: str
    categories: tuple[str, ...]
    refused_categories: tuple[str, ...]
    consent_ref: UUID | None
    consent_version: int
    """Version of the case's consent (0: none yet) the decision was taken on."""
    key_version: int
    """Current key version of (case, purpose), 1 when no key has died."""
    deadline: datetime | None
    policy_version: str
    legal_basis: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawal:
    """Take consent back:

    all of it (`items` empty) or the named `(to_org, purpose, categories)` parts.
    """

    command_id: UUID
    consent_ref: UUID
    by_org: str
    status: str
    """withdrawn, revoked or invalidated."""
    items: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawn:
    """`effective_at` = commit + 2 s. `already` true: the consent was inactive before."""

    effective_at: datetime | None
    version: int
    already: bool = False
    rule: str | None = None
    """Set when refused: unknown consent, not the source, unknown item."""


class Consent(Protocol):
    """Decides, records and takes back consent."""

    async def decide(self, items: Sequence[Question]) -> list[Decision]:
        """Decide over all live records of each case plus the overlay. Default deny."""

    async def withdraw(self, items: Sequence[Withdrawal]) -> list[Withdrawn]:
        """Withdraw under the exclusive lock of the case; a repeat of a command changes nothing."""

    async def read(self, items: Sequence[UUID]) -> list[ConsentRecord | None]:
        """Records by consent_ref, whatever their status."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command to the state machine. `command_id` repeats change nothing."""

    command_id: UUID
    referral_ref: UUID
    command: str
    actor_org: str
    actor_role: str
    """sender, recipient, hub or consent."""
    expected_version: int | None = None
    reason_code: str | None = None
    outcome: str | None = None
    appointment_outcome: str | None = None
    synthesised: bool = False
    attempts: int = 1
    """Of a delivery report: how often the partner was called."""
    error_class: str | None = None
    """Of a delivery report: what the last attempt failed with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """State after a command. `rule` set means it was refused and nothing changed."""

    status: str
    version: int
    changed: bool
    rule: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferralState:
    """What the parties may see of a referral (routing data and codes only)."""

    referral_ref: UUID
    case_ref: UUID
    from_org: str
    to_org: str
    status: str
    version: int
    purpose: str
    service_type: str | None
    priority: str | None
    special_requirements: tuple[str, ...]
    data_categories: tuple[str, ...]
    consent_ref: UUID
    vault_version: int
    directory_entry: str | None
    response_due: datetime | None
    reason_code: str | None
    outcome: str | None
    appointment_outcome: str | None
    created_at: datetime
    updated_at: datetime
    status_before_cancel: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferralQuery:
    """One page of an organisation's referrals, newest change last."""

    org: str
    side: str | None = None
    """from, to or None for both."""
    statuses: tuple[str, ...] = ()
    updated_from: datetime | None = None
    updated_to: datetime | None = None
    after: tuple[datetime, UUID] | None = None
    limit: int = 50


class Referral(Protocol):
    """The state machine of every referral."""

    async def apply(self, items: Sequence[Sequence[Command]]) -> list[Applied]:
        """Each item is an atomic list of commands on one referral, answered at once."""

    async def read(self, items: Sequence[UUID]) -> list[ReferralState | None]:
        """States by referral_ref."""

    async def find(self, items: Sequence[ReferralQuery]) -> list[list[ReferralState]]:
        """Pages of referrals by party."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRequest:
    """A recipient reads content of one of its referrals: decided now, leaf first, under a grant."""

    referral_ref: UUID
    org: str
    resource: str
    """ServiceRequest, Patient or Consent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadResult:
    """The FHIR resource as JSON bytes, or the rule that forbade it."""

    rule: str
    resource: bytes | None = field(default=None, repr=False)


class Delivery(Protocol):
    """Takes content to recipients; reads by a recipient go through the same authorisation."""

    async def read(self, items: Sequence[ReadRequest]) -> list[ReadResult]:
        """Authorise, release and render one resource each."""
