"""What two recipients may well have in common: codes of closed lists and words of the protocol.

The code lists are read from the product's data; the words of FHIR, HTTP and our own naming are
written out here, so that a new one is looked at by a person before it is let through.
"""

from typing import Final

from connectors.sandbox.samples import BASE
from schemas.codes import code_lists

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
