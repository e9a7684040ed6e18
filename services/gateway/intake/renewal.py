"""A Consent that stands alone, as a new version of one the hub holds. Pure.

It guards that a new version passes the same table as the first one did inside its Bundle. Its
person is known by the sender's own Patient id; a performer left out is whoever gave it before.
"""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from connectors.fhir_r4.inbound.bundle import Entries, Entry
from connectors.fhir_r4.inbound.consent import to_consent
from connectors.fhir_r4.inbound.fields import field_of
from connectors.fhir_r4.inbound.structure import check_resource
from connectors.sdk.inbound import Context
from connectors.sdk.report import Report
from connectors.sdk.rules import Moment, judge_consent, tell
from connectors.sdk.types import Consent


def to_renewed_consent(document: Mapping[str, Any], context: Context, patient_id: str) -> Consent:
    """The consent in a Consent resource; raises `Faults` with every reason found."""
    address = f"Patient/{patient_id}"
    resource = {"performer": [{"reference": address}], **document}
    report = Report()
    check_resource(resource, "Consent", report)
    report.check()
    patient = Entry("Patient", "Patient", {"resourceType": "Patient", "id": patient_id})
    consent = Entry("Consent", "Consent", resource)
    entries = Entries(
        ("Patient", "Consent"),
        {"Patient": (patient,), "Consent": (consent,), "RelatedPerson": ()},
        {address: patient, f"{context.canonical_base}/{address}": patient},
        context.canonical_base,
    )
    zone = ZoneInfo(context.time_zone)
    given = to_consent(entries, context.org, zone, report)
    found = Report()
    judged = judge_consent(given, Moment(context.now, zone), found, minor=None, again=True)
    tell(found, report, field_of([]))
    report.check()
    return judged
