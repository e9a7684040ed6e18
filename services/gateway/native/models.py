"""What the parties of a referral read and write on the native surface, as models.

They are the answers' shapes for the OpenAPI document and the one place that names their fields.
"""

from datetime import date
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime

from connectors.sdk.types import Case, Model, Person
from services.gateway.bodies import Shape


class ErasureSummary(Shape):
    """Where the request to erase a referral's content stands."""

    state: str
    effect: str | None = None


class ReferralView(Shape):
    """A referral as one of its parties sees it; what only the sender may know is absent.

    A recipient reads what the referral is for, as all content, at `data`.
    """

    id: UUID
    side: Literal["sent", "received"]
    case: UUID | None = None
    consent: UUID
    status: str
    version: int
    from_org: str
    to_org: str
    purpose: str | None = None
    service_type: str | None = None
    directory_entry: str | None = None
    priority: str | None = None
    special_requirements: tuple[str, ...] | None = None
    data_categories: tuple[str, ...] | None = None
    response_due: AwareDatetime | date | None = None
    reason_code: str | None = None
    outcome: str | None = None
    appointment_outcome: str | None = None
    created: AwareDatetime | date
    updated_at: AwareDatetime
    erasure: ErasureSummary | None = None
    data: str | None = None
    timeline: str


class ReferralPage(Shape):
    """One page, oldest change first; `next` is the cursor of the following one."""

    referrals: tuple[ReferralView, ...]
    next: str | None = None


class TimelineStep(Shape):
    """One thing that happened, as this party may know it."""

    at: AwareDatetime
    type: str
    version: int | None = None
    status: str | None = None
    synthesised: bool | None = None
    cause: str | None = None
    rule: str | None = None
    stage: str | None = None
    purpose: str | None = None
    data_categories: tuple[str, ...] | None = None
    legal_basis: str | None = None
    error_class: str | None = None
    attempts: int | None = None
    answer_stage: str | None = None
    owed_by: Literal["sender", "recipient"] | None = None
    effect: str | None = None


class Timeline(Shape):
    """What happened to a referral, in order."""

    referral: UUID
    steps: tuple[TimelineStep, ...]


class CommandBody(Shape):
    """A command; which of the codes it needs is told by the refusal that asks for one."""

    command: str
    expected_version: int
    reason_code: str | None = None
    outcome: str | None = None
    appointment_outcome: str | None = None


class KnownPerson(Person):
    """The person as released, under the recipient's own id and pseudonym."""

    id: UUID
    pseudonym: str


class Request(Model):
    """What is asked of the recipient, and until when it may know what it was given."""

    id: UUID
    consent: UUID
    version: int
    from_org: str
    to_org: str
    purpose: str
    service_type: str | None = None
    priority: str | None = None
    special_requirements: tuple[str, ...] = ()
    data_categories: tuple[str, ...]
    response_due: date | None = None
    consent_until: date
    security_labels: tuple[str, ...]


class ReferralData(Model):
    """Exactly what a grant let out, decided at this read."""

    person: KnownPerson
    case: Case
    referral: Request


class ErasureRequest(Shape):
    """A request to erase at its recipient; `data_categories` empty: everything of the referral."""

    id: UUID
    referral: UUID
    state: str
    effect: str | None = None
    data_categories: tuple[str, ...]
    requested_at: AwareDatetime
    due: date


class ErasurePage(Shape):
    """One page, oldest first; `next` is the cursor of the following one."""

    erasure_requests: tuple[ErasureRequest, ...]
    next: str | None = None


class DataChange(Shape):
    """A referral whose data was put right since its recipient read it; `data` reads it anew."""

    referral: UUID
    at: AwareDatetime
    data: str


class DataChangePage(Shape):
    """One page, oldest first; `next` is the cursor of the following one."""

    data_changes: tuple[DataChange, ...]
    next: str | None = None


class EffectBody(Shape):
    """What the recipient did: a code of `withdrawal_effect` other than `pending`."""

    effect: str
