"""`GET /fhir/metadata`: what this server does, as a CapabilityStatement."""

from typing import Any, Final

SMART: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"
INTERACTIONS: Final = {
    "Task": ("read", "search-type", "update", "patch"),
    "ServiceRequest": ("read",),
    "Patient": ("read",),
    "Consent": ("read", "update", "patch"),
    "Organization": ("read", "search-type"),
    "HealthcareService": ("read", "search-type"),
}
TASK_PARAMETERS: Final = {
    "_lastUpdated": "date",
    "status": "token",
    "owner": "reference",
    "requester": "reference",
}
RELEASED: Final = "2026-01-01"


def capability_statement(public_url: str, canonical_base: str) -> dict[str, Any]:
    """The statement of this instance."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": RELEASED,
        "kind": "instance",
        "software": {"name": "Cauce"},
        "implementation": {"description": "Cauce referral hub", "url": f"{public_url}/fhir"},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "patchFormat": ["application/json-patch+json"],
        "acceptLanguage": ["es", "en", "pt"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "service": [{"coding": [{"system": SMART, "code": "SMART-on-FHIR"}]}],
                    "description": f"SMART Backend Services; codes under {canonical_base}",
                },
                "resource": [_resource(name) for name in INTERACTIONS],
                "interaction": [{"code": "transaction"}],
            }
        ],
    }


def _resource(name: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": name,
        "interaction": [{"code": code} for code in INTERACTIONS[name]],
        "versioning": "versioned-update" if "update" in INTERACTIONS[name] else "versioned",
    }
    if name == "Task":
        found["searchParam"] = [{"name": n, "type": t} for n, t in TASK_PARAMETERS.items()]
    if name == "HealthcareService":
        found["searchParam"] = [{"name": "organization", "type": "reference"}]
    return found
