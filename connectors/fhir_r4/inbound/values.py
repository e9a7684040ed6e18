"""Codes, dates and periods inside FHIR values: small readers that report what is wrong.

Each answers None where it reported; nothing here knows what the value is for.
"""

from calendar import monthrange
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from connectors.fhir_r4.inbound.report import Report
from connectors.sdk.types import Identifier

YEARS = range(1900, 9000)
"""Years in which calendars and time zones can be reckoned without running out of dates."""
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


def first_day(text: str) -> date:
    """First day a FHIR date (year, month or day) can mean; ValueError otherwise."""
    parts = [int(part) for part in text.split("-")]
    return date(*[*parts, 1, 1][:3])


def last_day(text: str) -> date:
    """Last day a FHIR date (year, month or day) can mean; ValueError otherwise."""
    parts = [int(part) for part in text.split("-")]
    if len(parts) == 1:
        return date(parts[0], 12, 31)
    if len(parts) == 2:
        return date(parts[0], parts[1], monthrange(parts[0], parts[1])[1])
    return date(*parts[:3])


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def instant(
    text: str | None, zone: ZoneInfo, path: str, report: Report, *, end: bool = False
) -> datetime | None:
    """A FHIR dateTime in UTC; a date is its first instant in the zone, as an end its last."""
    if text is None:
        return None
    try:
        if "T" in text:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None or moment.year not in YEARS:
                raise ValueError
            return moment.astimezone(UTC)
        if first_day(text).year not in YEARS:
            raise ValueError
        if end:
            return _midnight(last_day(text) + timedelta(days=1), zone)
        return _midnight(first_day(text), zone)
    except (ValueError, OverflowError):
        report.add("structure", path, "bad-format")
        return None


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


def months_later(moment: datetime, months: int, zone: ZoneInfo) -> datetime:
    """End of the local day that lies so many months after a moment."""
    local = moment.astimezone(zone)
    total = local.year * 12 + local.month - 1 + months
    year, month = total // 12, total % 12 + 1
    day = date(year, month, min(local.day, monthrange(year, month)[1]))
    return _midnight(day + timedelta(days=1), zone)
