"""What services ask of delivery: content for who reads it, what is to be erased or read anew."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRequest:
    """A recipient reads content of one of its referrals: decided now, leaf first, under a grant."""

    referral_ref: UUID
    org: str
    resource: str
    """ServiceRequest, Patient, Consent, or Native: everything as one native document."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadResult:
    """The resource as JSON bytes, or the rule that forbade it.

    `rule` is released, not-found, withdrawn (taken back: the recipient shall delete), suppressed or
    unavailable (not in time, or over the vault's quota: to be asked again).
    """

    rule: str
    resource: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasureQuery:
    """One page of requests to erase, oldest first: of a recipient, of a referral or of both."""

    to_org: str | None = None
    referral_ref: UUID | None = None
    states: tuple[str, ...] = ()
    """requested, sent, overdue, acknowledged; none named: all."""
    after: tuple[datetime, UUID] | None = None
    limit: int = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasureState:
    """A request to erase as it stands; `request_id` is what its recipient calls it."""

    request_id: UUID
    referral_ref: UUID
    to_org: str
    state: str
    effect: str | None
    data_categories: tuple[str, ...]
    """What is to go; empty: everything of the referral."""
    requested_at: datetime
    due_at: datetime
    place: UUID
    """Where it stands among those of one instant; the hub's own, shown to nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectReport:
    """What a recipient says it did about a request; `effect` is a code of `withdrawal_effect`."""

    request_id: UUID
    to_org: str
    effect: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectResult:
    """The request after a report; `rule`: reported, repeated, not-found, effect or other-effect."""

    rule: str
    request: ErasureState | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedQuery:
    """One page of what a recipient read and was put right since, oldest first."""

    to_org: str
    after: tuple[datetime, UUID] | None = None
    limit: int = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """A referral whose data its recipient has yet to read anew."""

    referral_ref: UUID
    at: datetime
    mark: int
    """Tells this change from others of the referral, for the time that its reader may know."""


class Delivery(Protocol):
    """Takes content to recipients; reads by a recipient go through the same authorisation."""

    async def read(self, items: Sequence[ReadRequest]) -> list[ReadResult]:
        """Authorise, release and render one resource each."""

    async def erasures(self, items: Sequence[ErasureQuery]) -> list[list[ErasureState]]:
        """Pages of requests to erase."""

    async def changed(self, items: Sequence[ChangedQuery]) -> list[list[Changed]]:
        """Pages of what recipients have yet to read anew."""

    async def report_effects(self, items: Sequence[EffectReport]) -> list[EffectResult]:
        """Take each answer of a recipient once, with its leaf and event; a repeat changes nothing.

        A different answer to what is answered already changes nothing either: `other-effect`.
        """
