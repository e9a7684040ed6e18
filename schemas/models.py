"""The events and their facts as frozen dataclasses, by `schemas.generate`.

Do not edit. Facts records and sealed bytes are left out of every repr.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class CaseClosed:
    """A case was closed, or had been entered in error."""

    event_type: ClassVar[str] = "case.closed"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    version: int
    case_status: str


@dataclass(frozen=True, kw_only=True)
class CaseOpened:
    """A case was accepted for the first time."""

    event_type: ClassVar[str] = "case.opened"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    owner_org: str
    country: str
    case_status: str
    facts: bytes | None = field(default=None, repr=False)
    stats_facts: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, repr=False)
class CaseOpenedFacts:
    """What was known of the person and the case at opening, as codes only."""

    phenomenon: str | None = None
    trafficking_status: str | None = None
    smuggling_status: str | None = None
    risk_level: str | None = None
    sex: str | None = None
    age_band: str | None = None
    is_minor: bool | None = None
    nationalities: tuple[str, ...] = ()
    population_type: str | None = None
    profile_flags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    admin1: str | None = None
    opened_month: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class CaseOpenedStatsFacts:
    """What statistics may count of an opened case."""

    sex_age_group: str | None = None
    population_type: str | None = None
    admin1: str | None = None
    month: str | None = None


@dataclass(frozen=True, kw_only=True)
class Amended:
    """A record of the case and the one that stands in its place."""

    first_version: int
    vault_version: int


@dataclass(frozen=True, kw_only=True)
class CaseUpdated:
    """What is known in a case changed, or a closed case was opened again."""

    event_type: ClassVar[str] = "case.updated"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    version: int
    changed: tuple[str, ...]
    data_categories: tuple[str, ...]
    amended: tuple[Amended, ...]
    case_status: str
    facts: bytes | None = field(default=None, repr=False)
    stats_facts: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, repr=False)
class CaseUpdatedFacts:
    """What changed of the person and the case, as codes only; what did not change is absent."""

    phenomenon: str | None = None
    trafficking_status: str | None = None
    smuggling_status: str | None = None
    risk_level: str | None = None
    exploitation_types: tuple[str, ...] = ()
    sex: str | None = None
    age_band: str | None = None
    is_minor: bool | None = None
    nationalities: tuple[str, ...] = ()
    population_type: str | None = None
    profile_flags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    admin1: str | None = None
    opened_month: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConsentEffectReported:
    """A past recipient said what it did with withdrawn data."""

    event_type: ClassVar[str] = "consent.effect_reported"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    erasure_ref: UUID
    to_org: str
    withdrawal_effect: str
    reported_at: datetime


@dataclass(frozen=True, kw_only=True)
class Affected:
    """A recipient and what it may no longer have."""

    to_org: str
    purpose: str
    data_categories: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DeadKey:
    """A key whose facts are unreadable from now on."""

    purpose: str
    key_version: int


@dataclass(frozen=True, kw_only=True)
class ConsentExpired:
    """Consent reached the end of its validity."""

    event_type: ClassVar[str] = "consent.expired"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    consent_ref: UUID
    version: int
    affected: tuple[Affected, ...]
    dead_keys: tuple[DeadKey, ...]


@dataclass(frozen=True, kw_only=True)
class ConsentGiven:
    """Consent was given or renewed; its items stay in consent."""

    event_type: ClassVar[str] = "consent.given"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    consent_ref: UUID
    version: int
    consent_status: str
    legal_basis: str
    valid_from: datetime
    valid_to: datetime
    facts: bytes | None = field(default=None, repr=False)
    stats_facts: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class ConsentWithdrawn:
    """Consent was taken back, wholly or in part."""

    event_type: ClassVar[str] = "consent.withdrawn"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    consent_ref: UUID
    version: int
    consent_status: str
    affected: tuple[Affected, ...]
    dead_keys: tuple[DeadKey, ...]
    effective_at: datetime


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A pointer to an event that a consumer could not handle, never its content."""

    event_type: ClassVar[str] = "dead.letter"

    key_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    source_event_id: UUID
    topic: str
    partition: int | None = None
    offset: int | None = None
    consumer: str
    error_class: str
    rule: str
    field_path: str | None = None
    schema_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class DirectoryEntryChanged:
    """A service of the directory as it stands after a change; no person, and no place where the address is secret."""

    event_type: ClassVar[str] = "directory.entry_changed"

    key_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    entry_ref: UUID
    codelist_version: int
    version: int
    org: str
    service_types: tuple[str, ...]
    country: str
    admin1: tuple[str, ...] = ()
    age_min: int | None = None
    age_max: int | None = None
    population_types: tuple[str, ...] = ()
    capacity_status: str
    capacity_free: int | None = None
    capacity_updated_at: datetime
    capacity_stale: bool
    directory_status: str
    address_confidentiality: str
    response_time_hours: int | None = None


@dataclass(frozen=True, kw_only=True)
class DisclosureMade:
    """Something left for a recipient."""

    event_type: ClassVar[str] = "disclosure.made"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    disclosure_ref: UUID
    referral_ref: UUID | None = None
    to_org: str
    data_categories: tuple[str, ...]
    legal_basis: str
    consent_ref: UUID
    grant_ref: UUID
    policy_version: str
    leaf_ref: UUID


@dataclass(frozen=True, kw_only=True)
class DisclosureRefused:
    """Something was kept from leaving."""

    event_type: ClassVar[str] = "disclosure.refused"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    referral_ref: UUID
    to_org: str
    stage: str
    rule: str
    policy_version: str
    leaf_ref: UUID


@dataclass(frozen=True, kw_only=True)
class IndicatorReported:
    """One 5W row: counts of an organisation, a place, a month and an indicator; a later version replaces it."""

    event_type: ClassVar[str] = "indicator.reported"

    key_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    report_ref: UUID
    codelist_version: int
    version: int
    org: str
    country: str
    admin1: str | None = None
    month: str
    sector: str
    indicator_code: str
    indicator_type: str
    output: int | None = None
    total_monthly: int | None = None
    new_beneficiaries: int | None = None
    in_destination: int | None = None
    in_transit: int | None = None
    host_community: int | None = None
    pendular: int | None = None
    returnee: int | None = None
    girls: int | None = None
    boys: int | None = None
    women: int | None = None
    men: int | None = None
    other_under_18: int | None = None
    other_18_plus: int | None = None
    cva: bool
    cva_value: int | None = None
    cva_mechanism: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReferralAnswerDue:
    """A referral waits for somebody: a reminder, overdue, or escalated to the sender."""

    event_type: ClassVar[str] = "referral.answer_due"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    referral_ref: UUID
    version: int
    status: str
    from_org: str
    to_org: str
    owed_by: str
    answer_stage: str
    response_due: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ReferralCompleted:
    """The service ended (T30-T33, T43)."""

    event_type: ClassVar[str] = "referral.completed"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    referral_ref: UUID
    version: int
    from_status: str
    actor_org: str
    facts: bytes | None = field(default=None, repr=False)
    stats_facts: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, repr=False)
class ReferralCompletedFacts:
    """How the service ended."""

    referral_outcome: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReferralDelivered:
    """The recipient's system took the referral (T03)."""

    event_type: ClassVar[str] = "referral.delivered"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    referral_ref: UUID
    version: int
    to_org: str
    delivered_at: datetime
    attempts: int


@dataclass(frozen=True, kw_only=True)
class ReferralDeliveryFailed:
    """Delivery was given up for now (T04)."""

    event_type: ClassVar[str] = "referral.delivery_failed"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    referral_ref: UUID
    version: int
    to_org: str
    error_class: str
    attempts: int


@dataclass(frozen=True, kw_only=True)
class ReferralRequested:
    """A referral was accepted by the hub."""

    event_type: ClassVar[str] = "referral.requested"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    referral_ref: UUID
    from_org: str
    to_org: str
    directory_entry_ref: UUID | None = None
    consent_ref: UUID
    data_categories: tuple[str, ...]
    response_due: datetime | None = None
    replaces: UUID | None = None
    onward_of: UUID | None = None
    vault_version: int
    facts: bytes | None = field(default=None, repr=False)
    stats_facts: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, repr=False)
class ReferralRequestedFacts:
    """What the person is referred for."""

    service_type: str | None = None
    priority: str | None = None
    special_requirements: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReferralRevoked:
    """The referral lost its consent (T44)."""

    event_type: ClassVar[str] = "referral.revoked"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    referral_ref: UUID
    version: int
    from_status: str
    cause: str
    erasure_required: bool


@dataclass(frozen=True, kw_only=True)
class ReferralSent:
    """A referral is to be delivered (T01, T05, T14)."""

    event_type: ClassVar[str] = "referral.sent"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    referral_ref: UUID
    version: int
    from_org: str
    to_org: str
    directory_entry_ref: UUID | None = None
    consent_ref: UUID
    data_categories: tuple[str, ...]
    response_due: datetime | None = None
    replaces: UUID | None = None
    onward_of: UUID | None = None
    facts: bytes | None = field(default=None, repr=False)
    stats_facts: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, repr=False)
class ReferralSentFacts:
    """What the person is referred for."""

    service_type: str | None = None
    priority: str | None = None
    special_requirements: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReferralStatusChanged:
    """The referral moved to another status."""

    event_type: ClassVar[str] = "referral.status_changed"

    case_seq: int = 0
    event_id: UUID
    occurred_at: datetime
    case_ref: UUID
    source_org: str
    correlation_id: UUID
    causation_id: UUID | None = None
    codelist_version: int
    confidentiality: str
    purpose: str | None = None
    referral_ref: UUID
    version: int
    transition: str
    from_status: str
    to_status: str
    actor_org: str
    synthesised: bool
    facts: bytes | None = field(default=None, repr=False)
    stats_facts: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, repr=False)
class ReferralStatusChangedFacts:
    """Why the status changed."""

    referral_reason_code: str | None = None
    appointment_outcome: str | None = None


Event = (
    CaseClosed
    | CaseOpened
    | CaseUpdated
    | ConsentEffectReported
    | ConsentExpired
    | ConsentGiven
    | ConsentWithdrawn
    | DeadLetter
    | DirectoryEntryChanged
    | DisclosureMade
    | DisclosureRefused
    | IndicatorReported
    | ReferralAnswerDue
    | ReferralCompleted
    | ReferralDelivered
    | ReferralDeliveryFailed
    | ReferralRequested
    | ReferralRevoked
    | ReferralSent
    | ReferralStatusChanged
)

Facts = (
    CaseOpenedFacts
    | CaseOpenedStatsFacts
    | CaseUpdatedFacts
    | ReferralCompletedFacts
    | ReferralRequestedFacts
    | ReferralSentFacts
    | ReferralStatusChangedFacts
)
