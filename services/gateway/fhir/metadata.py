"""`GET /fhir/metadata`: what this server does, as a CapabilityStatement.

It guards that the statement says exactly what is served: it is made from the operations that the
router has, and nothing is written twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.fhir_r4.notification import OPERATION, PROFILE, topic
from connectors.fhir_r4.outbound.content import present
from services.gateway.operation import Operation, Parameter

SMART: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"
TOPICS: Final = (
    "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
    "capabilitystatement-subscriptiontopic-canonical"
)
RELEASED: Final = "2026-01-01"
CONTROL: Final = frozenset({"_count", "_cursor", "_format"})
"""Parameters that steer the answer and search nothing."""
TYPES: Final = {
    "_lastUpdated": "date",
    "date": "date",
    "entity": "reference",
    "organization": "reference",
    "owner": "reference",
    "requester": "reference",
}
"""Type of a search parameter; of any other: token."""
VERSIONING: Final = {
    "Task": "versioned-update",
    "Subscription": "versioned-update",
    "Patient": "no-version",
    "AuditEvent": "no-version",
}
"""Of any other: versioned."""
_BY_METHOD: Final = {"GET": "read", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(slots=True)
class Served:
    """What is served of one resource type."""

    interactions: list[str] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)


def interaction_of(operation: Operation) -> tuple[str, str] | None:
    """(resource type, interaction or `$name`) of an operation; None when it is none of FHIR's."""
    parts = operation.path.strip("/").split("/")
    if parts[0] != "fhir" or operation.for_anyone or operation.status >= 400:
        return None
    match parts[1:]:
        case []:
            return "", "transaction"
        case [kind]:
            return kind, "create" if operation.method == "POST" else "search-type"
        case [kind, "_search"]:
            return kind, "search-type"
        case [kind, "{id}"]:
            return kind, _BY_METHOD[operation.method]
        case [kind, "{id}", name]:
            return kind, name
        case _:
            return None


def served(operations: Iterable[Operation]) -> tuple[dict[str, Served], list[str]]:
    """What is served by resource type, and on the whole system."""
    found: dict[str, Served] = {}
    whole: list[str] = []
    for operation in operations:
        known = interaction_of(operation)
        if known is None:
            continue
        kind, name = known
        if not kind:
            whole.append(name)
            continue
        one = found.setdefault(kind, Served())
        one.parameters |= {
            p.name: p
            for p in (*operation.query, *operation.form)
            if name == "search-type" and p.name not in CONTROL
        }
        (one.operations if name.startswith("$") else one.interactions).append(name)
    return found, sorted(set(whole))


def capability_statement(
    public_url: str, canonical_base: str, operations: Sequence[Operation]
) -> dict[str, Any]:
    """The statement of this instance."""
    resources, whole = served(operations)
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": RELEASED,
        "kind": "instance",
        "software": {"name": "Cauce"},
        "implementation": {"description": "Cauce referral hub", "url": f"{public_url}/fhir"},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "patchFormat": ["application/json-patch+json"],
        "rest": [
            {
                "mode": "server",
                "security": _security(public_url, canonical_base),
                "resource": [
                    _resource(name, one, canonical_base) for name, one in sorted(resources.items())
                ],
                "interaction": [{"code": code} for code in whole],
            }
        ],
    }


def _security(public_url: str, canonical_base: str) -> Mapping[str, Any]:
    uris = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
    token = {"url": "token", "valueUri": f"{public_url}/oauth/token"}
    return {
        "extension": [{"url": uris, "extension": [token]}],
        "cors": False,
        "service": [{"coding": [{"system": SMART, "code": "SMART-on-FHIR"}]}],
        "description": f"SMART Backend Services; codes under {canonical_base}",
    }


def _resource(name: str, one: Served, base: str) -> dict[str, Any]:
    versioning = VERSIONING.get(name, "versioned")
    subscribed = name == "Subscription"
    return present(
        {
            "extension": [{"url": TOPICS, "valueCanonical": topic(base)}] if subscribed else [],
            "type": name,
            "supportedProfile": [PROFILE] if subscribed else [],
            "interaction": [{"code": code} for code in dict.fromkeys(one.interactions)],
            "versioning": versioning,
            "readHistory": False,
            "updateCreate": False,
            "conditionalCreate": False,
            "conditionalRead": "not-supported" if versioning == "no-version" else "not-match",
            "conditionalUpdate": False,
            "conditionalDelete": "not-supported",
            "searchParam": [
                {"name": p.name, "type": TYPES.get(p.name, "token"), "documentation": p.text}
                for p in one.parameters.values()
            ],
            "operation": [
                {"name": code.removeprefix("$"), "definition": _definition(code)}
                for code in one.operations
            ],
        }
    )


def _definition(code: str) -> str:
    return f"{OPERATION}-{code.removeprefix('$')}"
