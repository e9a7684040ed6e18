"""What services ask of consent: decide, withdraw, read. No value here names a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


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
    staff_id: str | None = None
    """The protection officer, where the cell itself takes it back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawn:
    """`effective_at` = commit + 2 s. `already` true: the consent was inactive before."""

    effective_at: datetime | None
    version: int
    already: bool = False
    rule: str | None = None
    """Set when refused: unknown consent, not the source, unknown item."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsentHistory:
    """Every consent of a case as it stood after each change that touched it, oldest first."""

    records: tuple[ConsentRecord, ...]
    """`version` is the case's version from which the record stood so."""


class Consent(Protocol):
    """Decides, records and takes back consent."""

    async def decide(self, items: Sequence[Question]) -> list[Decision]:
        """Decide over all live records of each case plus the overlay. Default deny."""

    async def withdraw(self, items: Sequence[Withdrawal]) -> list[Withdrawn]:
        """Withdraw under the exclusive lock of the case; a repeat of a command changes nothing."""

    async def read(self, items: Sequence[UUID]) -> list[ConsentRecord | None]:
        """Records by consent_ref, whatever their status."""

    async def history(self, items: Sequence[UUID]) -> list[ConsentHistory]:
        """By case_ref: what was consented, changed and taken back; empty for an unknown case."""
