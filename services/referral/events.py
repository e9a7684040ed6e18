"""What a step of the state machine tells others.

Pure: the event of a step and its facts record, not yet sealed. It guards that reasons, outcomes
and what the person is referred for leave only as facts, never as routing fields.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from schemas import (
    CODELIST_VERSION,
    Event,
    Facts,
    ReferralCompleted,
    ReferralCompletedFacts,
    ReferralDelivered,
    ReferralDeliveryFailed,
    ReferralRevoked,
    ReferralSent,
    ReferralSentFacts,
    ReferralStatusChanged,
    ReferralStatusChangedFacts,
)
from services.referral.domain import DRAFT, State, Step


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """An event without its facts, and the facts to be sealed into it (None: it has none)."""

    event: Event
    facts: Facts | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """What an event follows from: a delivery's `attempts` and `error_class`, consent's status."""

    causation_id: UUID | None = None
    attempts: int = 1
    error_class: str = "unknown"
    consent_status: str = "withdrawn"


def tell(step: Step, event_id: UUID, cause: Cause) -> Told:
    """The event of a step."""
    head = _head(step.after, event_id, step.after.updated_at, cause.causation_id)
    match step.transition.event:
        case "referral.sent":
            return _sent(step.after, head)
        case "referral.completed":
            return _completed(step, head)
        case "referral.status_changed":
            return _status_changed(step, head)
        case _:
            return Told(event=_exempt(step, head, cause))


def _head(
    state: State, event_id: UUID, now: datetime, causation_id: UUID | None
) -> dict[str, object]:
    return {
        "event_id": event_id,
        "occurred_at": now,
        "case_ref": state.case_ref,
        "source_org": state.from_org,
        "correlation_id": state.referral_ref,
        "causation_id": causation_id,
        "codelist_version": CODELIST_VERSION,
        "confidentiality": state.confidentiality,
        "referral_ref": state.referral_ref,
        "version": state.version,
    }


def _sent(state: State, head: dict[str, object]) -> Told:
    event = ReferralSent(
        **head,  # type: ignore[arg-type] # the head's fields by name
        purpose=state.purpose,
        from_org=state.from_org,
        to_org=state.to_org,
        directory_entry_ref=state.directory_entry_ref,
        consent_ref=state.consent_ref,
        data_categories=state.data_categories,
        response_due=state.response_due,
        replaces=state.replaces,
        onward_of=state.onward_of,
    )
    facts = ReferralSentFacts(
        service_type=state.service_type,
        priority=state.priority,
        special_requirements=state.special_requirements,
    )
    return Told(event=event, facts=facts)


def _status_changed(step: Step, head: dict[str, object]) -> Told:
    command = step.command
    facts = None
    if command.reason_code or command.appointment_outcome:
        facts = ReferralStatusChangedFacts(
            referral_reason_code=command.reason_code,
            appointment_outcome=command.appointment_outcome,
        )
    event = ReferralStatusChanged(
        **head,  # type: ignore[arg-type] # the head's fields by name
        purpose=step.after.purpose if facts else None,
        transition=step.transition.id,
        from_status=step.before.status,
        to_status=step.after.status,
        actor_org=command.actor_org,
        synthesised=command.synthesised,
    )
    return Told(event=event, facts=facts)


def _completed(step: Step, head: dict[str, object]) -> Told:
    outcome = step.after.outcome
    event = ReferralCompleted(
        **head,  # type: ignore[arg-type] # the head's fields by name
        purpose=step.after.purpose if outcome else None,
        from_status=step.before.status,
        actor_org=step.command.actor_org,
    )
    return Told(
        event=event, facts=ReferralCompletedFacts(referral_outcome=outcome) if outcome else None
    )


def _exempt(step: Step, head: dict[str, object], cause: Cause) -> Event:
    after = step.after
    if step.transition.event == "referral.delivered":
        return ReferralDelivered(
            **head,  # type: ignore[arg-type] # the head's fields by name
            to_org=after.to_org,
            delivered_at=after.updated_at,
            attempts=cause.attempts,
        )
    if step.transition.event == "referral.delivery_failed":
        return ReferralDeliveryFailed(
            **head,  # type: ignore[arg-type] # the head's fields by name
            to_org=after.to_org,
            error_class=cause.error_class,
            attempts=cause.attempts,
        )
    return ReferralRevoked(
        **head,  # type: ignore[arg-type] # the head's fields by name
        from_status=step.before.status,
        cause=cause.consent_status,
        erasure_required=step.before.status != DRAFT and cause.consent_status != "expired",
    )
