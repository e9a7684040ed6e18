"""Codes, dates and periods inside FHIR values: small readers that report what is wrong.

Each answers None where it reported; nothing here knows what the value is for.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from connectors.sdk.report import Report
from connectors.sdk.times import instant
from connectors.sdk.types import Identifier

ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


def codes_in(codings: Sequence[Mapping[str, Any]], system: str) -> list[str]:
    """Codes of one system, in order."""
    return [c["code"] for c in codings if c.get("system") == system and "code" in c]


def has_code(concept: Mapping[str, Any] | None, system: str, code: str) -> bool:
    """Whether a CodeableConcept holds this coding."""
    return concept is not None and code in codes_in(concept.get("coding", []), system)


def code_of(
    concept: Mapping[str, Any], system: str, allowed: Collection[str], path: str, report: Report
) -> str | None:
    """The one code of a system in a CodeableConcept, checked against its list."""
    found = codes_in(concept.get("coding", []), system)
    if len(found) == 1 and found[0] in allowed:
        return found[0]
    report.add("code-invalid", path, "not-in-list")
    return None


def required(node: Mapping[str, Any], name: str, path: str, report: Report) -> Any:
    """The element, or None and a fault."""
    value = node.get(name)
    if value is None:
        report.add("required", f"{path}.{name}", "element")
    return value


def identifier(node: Mapping[str, Any]) -> Identifier | None:
    """A business identifier; None without a value."""
    if "value" not in node:
        return None
    codings = node.get("type", {}).get("coding", [])
    kind = next((c["code"] for c in codings if "code" in c), None)
    return Identifier(system=node.get("system"), value=node["value"], type=kind)


def identifiers(
    nodes: Sequence[Mapping[str, Any]], path: str, report: Report
) -> tuple[Identifier, ...]:
    """Identifiers that have a value; one without is a fault."""
    found = []
    for place, node in enumerate(nodes):
        one = identifier(node)
        if one is None:
            report.add("required", f"{path}[{place}].value", "element")
        else:
            found.append(one)
    return tuple(found)


def period(
    node: Mapping[str, Any] | None, zone: ZoneInfo, path: str, report: Report
) -> tuple[datetime | None, datetime | None]:
    """Start and end of a Period; an end before its start is a fault."""
    if node is None:
        return None, None
    start = instant(node.get("start"), zone, f"{path}.start", report)
    end = instant(node.get("end"), zone, f"{path}.end", report, end=True)
    if start is not None and end is not None and end <= start:
        report.add("invariant", path, "period-order")
        return None, None
    return start, end
