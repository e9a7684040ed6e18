"""FHIR R4 to the identified types (pure): one transaction Bundle → one submission, or its faults.

Guards that only what the tables in `codes/` know is read, that everything else is refused by name
or noted as not kept, and that no submitted value reaches a fault. What holds in any format the
SDK's rules judge (`sdk/rules.py`). Rules that need the hub's own state (partners, directory,
need-to-know, live consent) belong to the gateway; what leaves, to `outbound/`.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from zoneinfo import ZoneInfo

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from connectors.fhir_r4.inbound.bundle import Entries, read_bundle
from connectors.fhir_r4.inbound.consent import to_consent
from connectors.fhir_r4.inbound.extensions import read_extensions
from connectors.fhir_r4.inbound.fields import field_of
from connectors.fhir_r4.inbound.models import conforms
from connectors.fhir_r4.inbound.person import to_person
from connectors.fhir_r4.inbound.request import to_case, to_referral
from connectors.fhir_r4.inbound.tables import RESOURCES, elements, fhir_names
from connectors.fhir_r4.inbound.values import identifier
from connectors.sdk.inbound import Context, Mapped
from connectors.sdk.report import Report
from connectors.sdk.rules import Moment, judge
from connectors.sdk.types import Submission

__all__ = ["Context", "Mapped", "to_submission", "warm_up"]


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
    read = _submission(entries, context, report)
    moment = Moment(context.now, ZoneInfo(context.time_zone))
    submission = judge(read, moment, report, field_of(report.narratives))
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
    zone, org = ZoneInfo(context.time_zone), context.org
    request = entries.one("ServiceRequest")
    base = entries.canonical_base
    more = read_extensions(request.resource, "ServiceRequest", request.path, base, report)
    facts = more["case-facts"][0] if "case-facts" in more else {}
    person = to_person(entries, facts, report)
    consent = to_consent(entries, org, zone, report)
    referral = to_referral(entries, org, zone, more, report)
    case = to_case(entries, facts, report)
    texts = tuple(text for _, text in report.narratives)
    case = case.model_copy(update={"narratives": texts})
    return Submission.model_construct(case=case, person=person, consent=consent, referral=referral)
