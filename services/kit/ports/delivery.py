"""What services ask of delivery: content for a recipient that reads it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID


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
