"""What an accepted submission becomes: consent record, vault record, events. Pure.

It guards that ids of the sender do not survive (approvers, requisitions become HMACs), that facts
on the log hold only categories the recipient may have, and that the vault gets the whole record.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from connectors.sdk.types import Consent, Identifier, Submission, split
from schemas.models import CaseOpenedFacts, CaseOpenedStatsFacts, ReferralRequestedFacts
from services.gateway.intake.keys import Keys, identifier_mac
from services.kit.canonical import canonical
from services.kit.crypto import hmac_sha256
from services.kit.ports.consent import ConsentRecord, ConsentRule

NO_GIVER: Final = "other"
"""Giver of a record on another legal basis, where nobody gave consent."""

CONFIDENTIALITY: Final = "restricted"
"""How widely a case may be known when the sender does not say."""


def consent_record(
    consent: Consent, *, keys: Keys, org: str, consent_ref: UUID, case_ref: UUID, now: datetime
) -> ConsentRecord:
    """The submitted consent as it will be stored: codes, organisations and times only."""
    given_at = consent.given_at or now
    start, end = consent.valid_from or given_at, consent.valid_to or now
    return ConsentRecord(
        consent_ref=consent_ref,
        case_ref=case_ref,
        source_org=org,
        status="given",
        legal_basis=consent.legal_basis or "consent",
        reason_code=consent.reason_code,
        approver_ref=_approver(consent.approver, keys, org),
        notice=consent.notice or "",
        language=consent.language or "",
        form=consent.form or "none",
        giver=consent.giver or NO_GIVER,
        assent=consent.assent,
        given_at=given_at,
        valid_from=start,
        valid_to=end,
        version=0,
        rules=tuple(
            ConsentRule(
                decision=item.decision,
                purpose=item.purpose,
                to_org=item.to_org,
                to_kind=item.to_kind,
                data_categories=item.data_categories,
                valid_from=item.valid_from or start,
                valid_to=item.valid_to or end,
            )
            for item in consent.items
        ),
    )


def _approver(approver: str | None, keys: Keys, org: str) -> str | None:
    if approver is None:
        return None
    return f"a.{hmac_sha256(keys.index, b'approver', org.encode(), approver.encode()).hex()[:32]}"


def identifiers(submission: Submission) -> tuple[tuple[str, str], ...]:
    """The person's identifiers in the sender's systems."""
    return tuple((i.system or "", i.value) for i in submission.person.identifiers)


def requisition_mac(keys: Keys, org: str, requisition: Identifier | None) -> bytes | None:
    """The sender's own case number as the hub may remember it."""
    if requisition is None:
        return None
    return identifier_mac(keys, org, requisition.system or "", requisition.value)


def vault_record(submission: Submission, bundle_identifier: Identifier | None) -> bytes:
    """The whole record as given, by category, and the originals that go back only to the sender."""
    originals: dict[str, Any] = {
        "bundle": _plain(bundle_identifier),
        "requisition": _plain(submission.case.requisition),
        "tasks": [_plain(one) for one in submission.referral.task_identifiers],
        "requests": [_plain(one) for one in submission.referral.request_identifiers],
        "consent": submission.consent.model_dump(mode="json", exclude_defaults=True),
    }
    given = {name: value for name, value in originals.items() if value}
    return canonical({"split": split(submission.person, submission.case), "originals": given})


def _plain(identifier: Identifier | None) -> dict[str, Any] | None:
    return None if identifier is None else identifier.model_dump(mode="json", exclude_defaults=True)


def case_facts(submission: Submission, categories: Iterable[str]) -> CaseOpenedFacts:
    """Facts of the case in the categories that may be known for the referral's purpose."""
    allowed = set(categories)
    found: dict[str, Any] = {}
    for category, parts in split(submission.person, submission.case).items():
        if category in allowed:
            for fields in parts.values():
                found |= {k: v for k, v in fields.items() if k in _CASE_FACTS}
    frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    return CaseOpenedFacts(**frozen)


_CASE_FACTS: Final = frozenset(CaseOpenedFacts.__dataclass_fields__)


def stats_facts(submission: Submission, month: str) -> CaseOpenedStatsFacts:
    """What may be counted."""
    person = submission.person
    return CaseOpenedStatsFacts(
        sex_age_group=sex_age_group(person.sex, is_minor=person.is_minor),
        population_type=person.population_type,
        admin1=person.admin1,
        month=submission.case.opened_month or month,
    )


def sex_age_group(sex: str | None, *, is_minor: bool | None) -> str | None:
    """The group of the regional response; None when nothing was said."""
    if is_minor is None:
        return None if sex is None else "unknown"
    if sex in ("female", "male"):
        return {"female": ("women", "girls"), "male": ("men", "boys")}[sex][is_minor]
    return "other_under_18" if is_minor else "other_18_plus"


def request_facts(submission: Submission) -> ReferralRequestedFacts:
    """What the person is referred for."""
    referral = submission.referral
    return ReferralRequestedFacts(
        service_type=referral.service_type,
        priority=referral.priority or "routine",
        special_requirements=referral.special_requirements,
    )
