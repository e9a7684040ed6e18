"""What services ask of the state machine of every referral: routing data and codes only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID


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
    digest: bytes | None = field(default=None, repr=False)
    """Keyed digest of what was asked under this id: another content is refused `key-reused`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """State after a command. `rule` set means it was refused and nothing changed."""

    status: str
    version: int
    changed: bool
    rule: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A command id with the digest of what is asked under it."""

    command_id: UUID
    digest: bytes = field(repr=False)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class OverdueQuery:
    """Referrals that wait past their time, of or to an organisation or of all."""

    from_org: str | None = None
    to_org: str | None = None
    stages: tuple[str, ...] = ("overdue", "escalated")
    limit: int = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """A referral that waits past its time (routing data only)."""

    referral_ref: UUID
    from_org: str
    to_org: str
    status: str
    version: int
    stage: str
    """overdue, or escalated: told to the sender's coordinator."""
    owed_by: str
    due: datetime
    waiting_since: datetime
    """The last change."""
    escalated_at: datetime | None


class Referral(Protocol):
    """The state machine of every referral."""

    async def apply(self, items: Sequence[Sequence[Command]]) -> list[Applied]:
        """Each item is an atomic list of commands on one referral, answered at once."""

    async def done(self, items: Sequence[Asked]) -> list[Applied | None]:
        """Answers of commands done before; `key-reused` for one that asked something else."""

    async def read(self, items: Sequence[UUID]) -> list[ReferralState | None]:
        """States by referral_ref."""

    async def find(self, items: Sequence[ReferralQuery]) -> list[list[ReferralState]]:
        """Pages of referrals by party."""

    async def overdue(self, items: Sequence[OverdueQuery]) -> list[list[Overdue]]:
        """Referrals that wait past their time, the longest without news first."""
