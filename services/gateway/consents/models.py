"""Consents on the native surface, as models: the answers' shapes and the bodies' names."""

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime

from connectors.sdk.types import Consent
from services.gateway.bodies import Shape


class ConsentItemView(Shape):
    """One permit or deny as it stands."""

    decision: str
    purpose: str | None = None
    to_org: str | None = None
    to_kind: str | None = None
    data_categories: tuple[str, ...]
    valid_from: AwareDatetime
    valid_to: AwareDatetime


class ConsentView(Shape):
    """A consent as its source sees it."""

    id: UUID
    case: UUID
    status: str
    version: int
    legal_basis: str
    reason_code: str | None = None
    notice: str
    language: str
    form: str
    giver: str
    assent: str | None = None
    given_at: AwareDatetime
    valid_from: AwareDatetime
    valid_to: AwareDatetime
    items: tuple[ConsentItemView, ...]
    effective_at: AwareDatetime | None = None
    """When nothing more leaves, where this answer is of a withdrawal."""


class RenewalBody(Shape):
    """The next version of a consent: given anew, or with less than before."""

    renews: UUID
    expected_version: int
    consent: Consent


class WithdrawalItem(Shape):
    """One part that is taken back."""

    to_org: str
    purpose: str
    data_categories: tuple[str, ...]


class WithdrawalBody(Shape):
    """What is taken back: the whole, or the parts in `items`."""

    status: Literal["withdrawn", "revoked", "invalidated"] = "withdrawn"
    items: tuple[WithdrawalItem, ...] = ()


class WithdrawalAnswer(Shape):
    """Nothing more leaves after `effective_at`."""

    effective_at: AwareDatetime
    version: int
