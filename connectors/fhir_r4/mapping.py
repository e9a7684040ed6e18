"""FHIR R4 to the identified types (pure): one transaction Bundle → one submission, or its faults.

Guards that only what the tables in `codes/` know is read, that everything else is refused by name
or noted as not kept, and that no submitted value reaches a fault. Rules that need the hub's own
state (partners, directory, need-to-know, live consent) belong to the gateway; what leaves, to
`outbound/`.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from connectors.fhir_r4.inbound.bundle import Entries, read_bundle
from connectors.fhir_r4.inbound.consent import to_consent
from connectors.fhir_r4.inbound.extensions import read_extensions
from connectors.fhir_r4.inbound.models import conforms
from connectors.fhir_r4.inbound.person import to_person
from connectors.fhir_r4.inbound.report import Report
from connectors.fhir_r4.inbound.request import to_case, to_referral
from connectors.fhir_r4.inbound.tables import RESOURCES, elements, fhir_names
from connectors.fhir_r4.inbound.values import identifier
from connectors.sdk.types import Consent, Identifier, Submission

NARRATIVE = "experience_narrative"


@dataclass(frozen=True, slots=True)
class Context:
    """Who sends, when, and the cell's calendar and canonical base."""

    org: str
    now: datetime
    time_zone: str
    canonical_base: str


@dataclass(frozen=True, slots=True, repr=False)
class Mapped:
    """A submission with what the gateway needs beside it.

    `bundle_identifier`, `task_identifier`: candidates for the idempotency key, in this order.
    `entries`: resource types in the Bundle's order, for the answer. `dropped`: paths not kept.
    """

    submission: Submission
    bundle_identifier: Identifier | None
    task_identifier: Identifier | None
    entries: tuple[str, ...]
    dropped: tuple[str, ...]


def warm_up() -> None:
    """Load tables and models, so that the first referral is not slower than the others."""
    for owner in elements():
        fhir_names(owner)
        conforms("".join(part[:1].upper() + part[1:] for part in owner.split(".")), {})
    for kind in RESOURCES:
        with suppress(ValidationError):
            get_fhir_model_class(kind).model_validate({"resourceType": kind})


def to_submission(bundle: Mapping[str, Any], context: Context) -> Mapped:
    """Map a Bundle that `parse_strict` let through; raises `Faults` with every reason found."""
    entries, report = read_bundle(bundle, context.canonical_base)
    submission = _submission(entries, context, report)
    _check_narratives(submission, report)
    report.check()
    tasks = submission.referral.task_identifiers
    return Mapped(
        submission,
        identifier(bundle["identifier"]) if "identifier" in bundle else None,
        tasks[0] if tasks else None,
        entries.kinds,
        tuple(sorted(report.dropped)),
    )


def _submission(entries: Entries, context: Context, report: Report) -> Submission:
    zone, org, now = ZoneInfo(context.time_zone), context.org, context.now
    request = entries.one("ServiceRequest")
    base = entries.canonical_base
    more = read_extensions(request.resource, "ServiceRequest", request.path, base, report)
    facts = more["case-facts"][0] if "case-facts" in more else {}
    person = to_person(entries, facts, now, zone, report)
    consent: Consent = to_consent(entries, org, now, zone, report, minor=person.is_minor)
    referral = to_referral(entries, org, now, zone, more, consent.items, report)
    case = to_case(entries, facts, report)
    texts = tuple(text for _, text in report.narratives)
    case = case.model_copy(update={"narratives": texts})
    return Submission(case=case, person=person, consent=consent, referral=referral)


def _check_narratives(submission: Submission, report: Report) -> None:
    """Free text is kept only where the person's consent declares it for somebody."""
    permits = (item for item in submission.consent.items if item.decision == "permit")
    if report.faults or not report.narratives:
        return
    if not any(NARRATIVE in item.data_categories for item in permits):
        report.add("consent-narrative", report.narratives[0][0], "narrative")
