"""What two recipients may well have in common: codes of closed lists and words of the protocol.

The code lists are read from the product's data; the words of FHIR, HTTP and our own naming are
written out here, so that a new one is looked at by a person before it is let through.
"""

from typing import Final

from connectors.sandbox.samples import BASE
from schemas.codes import code_lists

BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-"

CONSTANTS: Final[frozenset[str]] = frozenset(
    (
        # FHIR: kinds of resource, bundles, requests, fixed codes
        "Bundle",
        "Patient",
        "ServiceRequest",
        "Task",
        "transaction",
        "POST",
        "PUT",
        "code",
        "deny",
        "disclose",
        "erase",
        "fulfill",
        "masked",
        "order",
        "patient-privacy",
        "permit",
        "secondary",
        # security labels and consent codes of HL7
        "IDSCL",
        "IRCP",
        "NORDSCLCD",
        "NORELINK",
        "OPTOUT",
        "PSEUDED",
        # systems
        "urn:ietf:bcp:47",
        "urn:iso:std:iso:3166",
        "http://hl7.org/fhir/CodeSystem/task-code",
        "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
        "http://hl7.org/fhir/StructureDefinition/patient-nationality",
        "http://terminology.hl7.org/CodeSystem/consentaction",
        "http://terminology.hl7.org/CodeSystem/consentscope",
        "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        "http://terminology.hl7.org/CodeSystem/v3-ActReason",
        "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
        "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
        f"{BASE}/CodeSystem/data-category",
        f"{BASE}/CodeSystem/purpose",
        f"{BASE}/CodeSystem/service-type",
        f"{BASE}/CodeSystem/task-code",
        f"{BASE}/NamingSystem/consent",
        f"{BASE}/NamingSystem/erasure",
        f"{BASE}/NamingSystem/service-request",
        f"{BASE}/NamingSystem/task",
        f"{BASE}/StructureDefinition/case-facts",
        # names of case facts
        "age_band",
        "population_type",
        "risk_level",
        "sex",
        # the neutral name of the source, the path of the endpoint, HTTP
        "Organization/socio-1",
        "fhir",
        "application/fhir+json",
        "no-store",
        # reads: searches, pages, the log of disclosures
        "AuditEvent",
        "C",
        "GET",
        "match",
        "next",
        "searchset",
        "cell-demo",
        "socio-1",
        "110107",
        "110152",
        "110153",
        "http://dicom.nema.org/resources/ontology/DCM",
        "http://hl7.org/fhir/resource-types",
        "http://terminology.hl7.org/CodeSystem/audit-entity-type",
        "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle",
        "http://terminology.hl7.org/CodeSystem/object-role",
        "/fhir/Task?_count=5",
        "/fhir/AuditEvent?_count=5",
        # the native surface: parts of addresses, names of steps
        "application/json",
        "v1",
        "data",
        "erasure-requests",
        "referrals",
        "timeline",
        "disclosure.made",
        "referral.delivered",
        "referral.sent",
        "referral.status_changed",
        # subscriptions
        "*/*",
        "$events",
        "$status",
        "Changes of the subscriber's own referrals",
        "Parameters",
        "Subscription",
        "event-notification",
        "event-number",
        "events-since-subscription-start",
        "focus",
        "handshake",
        "history",
        "id-only",
        "notification-event",
        "query-event",
        "query-status",
        "rest-hook",
        "status",
        "subscription",
        "timestamp",
        "told",
        "topic",
        "type",
        f"{BACKPORT}filter-criteria",
        f"{BACKPORT}heartbeat-period",
        f"{BACKPORT}max-count",
        f"{BACKPORT}payload-content",
        f"{BACKPORT}subscription",
        f"{BACKPORT}subscription-notification-r4",
        f"{BACKPORT}subscription-status-r4",
        f"{BACKPORT}timeout",
        f"{BASE}/SubscriptionTopic/referral",
    )
)
LISTED: Final = frozenset(("VEN", "COL", "ECU", "CO-ANT", "es"))
"""Codes of ISO 3166 and BCP 47 that the sample people have."""


def _lists() -> frozenset[str]:
    found: set[str] = set()
    for one in code_lists().values():
        for code in one.by_code.values():
            found |= {code.code, code.es, code.en, code.pt, code.fhir_r4}
    return frozenset(found)


CODES: Final[frozenset[str]] = _lists() | CONSTANTS | LISTED
