"""What the accept transaction writes, made before it begins. Pure but for fresh random ids.

It guards that both parties get ids of their own and that the answer holds nothing of what was
submitted.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from connectors.sdk.types import Identifier, Submission
from schemas.codec import Encoded, encode, encode_facts
from schemas.codes import CODELIST_VERSION
from schemas.models import CaseOpened, Facts, ReferralRequested
from services.gateway import notices
from services.gateway.intake.domain import Plan
from services.gateway.intake.formats import Format
from services.gateway.intake.keys import Keys
from services.gateway.intake.records import (
    CONFIDENTIALITY,
    case_facts,
    request_facts,
    stats_facts,
)
from services.gateway.intake.store import AcceptedRow, CaseRow
from services.kit.aliases import alias
from services.kit.doors import Given
from services.kit.leaf import Leaf, leaf
from services.kit.ports.consent import ConsentRecord, Decision
from services.kit.ports.vault import DataKey, PutResult
from services.kit.seal import seal_facts

VITAL_INTEREST: Final = "vital_interest"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What does not change from one submission to the next."""

    keys: Keys
    alias_key: bytes = field(repr=False)
    cell: str
    country: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Incoming:
    """A submission that the rules let through, on its way to be accepted."""

    submission_ref: UUID
    """Names this item inside the process only."""
    source: str
    key_mac: bytes
    digest: bytes
    attempt: UUID
    previous: UUID | None = None
    format: Format
    requisition_mac: bytes | None
    submission: Submission = field(repr=False)
    bundle_identifier: Identifier | None = field(repr=False)
    entries: tuple[str, ...]
    dropped: tuple[str, ...]
    plan: Plan
    replaces: UUID | None
    onward_of: UUID | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Located:
    """The case of a submission; `subject_ref` as far as known before the vault is asked."""

    case_ref: UUID
    new: bool
    subject_ref: UUID | None

    @classmethod
    def of(cls, case: CaseRow | None, subject: UUID | None) -> "Located":
        """The case found, or a new one."""
        if case is None:
            return cls(uuid4(), new=True, subject_ref=subject)
        return cls(case.case_ref, new=False, subject_ref=case.subject_ref)


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """Everything one acceptance writes."""

    submission_ref: UUID
    row: AcceptedRow
    given: Given
    events: tuple[Encoded, ...]
    leaves: tuple[Leaf, ...]


def build(
    parts: Parts,
    item: Incoming,
    located: Located,
    record: ConsentRecord,
    decision: Decision,
    statistics: Decision | None,
    result: PutResult,
) -> Built:
    """Rows, consent, events, leaf and answer of one acceptance."""
    referral_ref, correlation = uuid4(), uuid4()
    keys = {key.purpose: key for key in result.keys}
    confidentiality = item.submission.case.confidentiality or CONFIDENTIALITY
    head: dict[str, Any] = {
        "occurred_at": item.now,
        "case_ref": located.case_ref,
        "source_org": item.source,
        "correlation_id": correlation,
        "codelist_version": CODELIST_VERSION,
        "confidentiality": confidentiality,
        "purpose": item.plan.need.purpose,
    }
    key, stats_key = keys[item.plan.need.purpose], keys.get("statistics") if statistics else None
    events = [_requested(item, record, decision, result, referral_ref, head, key)]
    if located.new:
        events.insert(0, _opened(parts, item, decision, head, key, stats_key))
    row = _row(parts, item, located, record, result, referral_ref)
    return Built(
        submission_ref=item.submission_ref,
        row=row,
        given=Given(
            record=record,
            expected=decision.consent_version,
            correlation_id=correlation,
            confidentiality=confidentiality,
            now=item.now,
        ),
        events=tuple(events),
        leaves=_leaves(item, located, record, decision, row),
    )


def _leaves(
    item: Incoming,
    located: Located,
    record: ConsentRecord,
    decision: Decision,
    row: AcceptedRow,
) -> tuple[Leaf, ...]:
    accepted = leaf(
        "accepted",
        item.now,
        actor=item.source,
        case_ref=located.case_ref,
        referral_ref=row.referral_ref,
        to_org=item.plan.recipient.org,
        categories=list(decision.categories),
        purpose=item.plan.need.purpose,
        consent_ref=record.consent_ref,
        consent_version=decision.consent_version + 1,
        legal_basis=record.legal_basis,
        rule=decision.rule,
        policy_version=decision.policy_version,
    )
    if row.notice is None:
        return (accepted,)
    return accepted, notices.due_leaf(row.notice, item.source)


def _notice(
    item: Incoming, located: Located, record: ConsentRecord, referral_ref: UUID
) -> notices.Notice | None:
    """What is sent on vital interest is told to the person later."""
    if record.legal_basis != VITAL_INTEREST:
        return None
    return notices.due("emergency", located.case_ref, referral_ref, item.now)


def _sealed(key: DataKey, event_type: str, event_id: UUID, case_ref: UUID, facts: Facts) -> bytes:
    return seal_facts(key, event_type, event_id, case_ref, key.purpose, encode_facts(facts))


def _opened(
    parts: Parts,
    item: Incoming,
    decision: Decision,
    head: dict[str, Any],
    key: DataKey,
    stats_key: DataKey | None,
) -> Encoded:
    event_id, kind, case_ref = uuid4(), CaseOpened.event_type, head["case_ref"]
    facts = case_facts(item.submission, decision.categories)
    counted = None
    if stats_key is not None:
        stats = stats_facts(item.submission, item.now.strftime("%Y-%m"))
        counted = _sealed(stats_key, kind, event_id, case_ref, stats)
    return encode(
        CaseOpened(
            event_id=event_id,
            owner_org=item.source,
            country=parts.country,
            case_status="open",
            facts=_sealed(key, kind, event_id, case_ref, facts),
            stats_facts=counted,
            **head,
        )
    )


def _requested(
    item: Incoming,
    record: ConsentRecord,
    decision: Decision,
    result: PutResult,
    referral_ref: UUID,
    head: dict[str, Any],
    key: DataKey,
) -> Encoded:
    event_id, kind = uuid4(), ReferralRequested.event_type
    return encode(
        ReferralRequested(
            event_id=event_id,
            referral_ref=referral_ref,
            from_org=item.source,
            to_org=item.plan.recipient.org,
            directory_entry_ref=item.plan.entry.entry_ref,
            consent_ref=record.consent_ref,
            data_categories=decision.categories,
            response_due=item.plan.response_due,
            replaces=item.replaces,
            onward_of=item.onward_of,
            vault_version=result.vault_version,
            facts=_sealed(key, kind, event_id, head["case_ref"], request_facts(item.submission)),
            **head,
        )
    )


def _row(
    parts: Parts,
    item: Incoming,
    located: Located,
    record: ConsentRecord,
    result: PutResult,
    referral_ref: UUID,
) -> AcceptedRow:
    source, to_org = item.source, item.plan.recipient.org
    targets = {
        "task": referral_ref,
        "service_request": referral_ref,
        "consent": record.consent_ref,
    }
    aliases = [
        (alias(parts.alias_key, kind, target, org), org, kind, target)  # type: ignore[arg-type]
        for kind, target in targets.items()
        for org in (source, to_org)
    ]
    for kind, target in (("patient", result.subject_ref), ("case", located.case_ref)):
        own_id = alias(parts.alias_key, kind, target, source)  # type: ignore[arg-type]
        aliases.append((own_id, source, kind, target))
    own = {kind: name for name, org, kind, _ in aliases if org == source}
    return AcceptedRow(
        org=source,
        key_mac=item.key_mac,
        attempt=item.attempt,
        answer=item.format.answer(item.entries, own, item.dropped),
        referral_ref=referral_ref,
        case=CaseRow(
            case_ref=located.case_ref,
            org=source,
            subject_ref=result.subject_ref,
            requisition_mac=item.requisition_mac,
        ),
        new_case=located.new,
        consent_ref=record.consent_ref,
        to_org=to_org,
        accepted_at=item.now,
        aliases=tuple(aliases),
        notice=_notice(item, located, record, referral_ref),
    )
