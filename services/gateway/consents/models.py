"""Consents on the native surface, as models: the answers' shapes and the bodies' names."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, Field

from connectors.sdk.types import Consent
from services.gateway.bodies import Body, Listed, Shape
from services.gateway.consents.domain import End


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


class Renewal(Body):
    """The next version of a consent, its content not yet judged."""

    renews: UUID
    expected_version: int
    consent: dict[str, Any]


class RenewalBody(Renewal):
    """The next version of a consent: given anew, or with less than before."""

    consent: Consent  # type: ignore[assignment]


class WithdrawalItem(Body):
    """One part that is taken back."""

    to_org: str
    purpose: Annotated[str, Listed("purpose")]
    data_categories: Annotated[
        tuple[Annotated[str, Listed("data_category")], ...], Field(min_length=1)
    ]


class WithdrawalBody(Body):
    """What is taken back: the whole, or the parts in `items`."""

    status: End = "withdrawn"
    items: Annotated[tuple[WithdrawalItem, ...], Field(min_length=1)] | None = None


class WithdrawalAnswer(Shape):
    """Nothing more leaves after `effective_at`."""

    effective_at: AwareDatetime
    version: int
