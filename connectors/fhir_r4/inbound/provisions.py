"""Nested provisions of a Consent → permits and denies."""

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from connectors.fhir_r4.inbound.bundle import Entries
from connectors.fhir_r4.inbound.tables import pairs
from connectors.fhir_r4.inbound.values import code_of, codes_in, has_code, period
from connectors.sdk.report import Report
from connectors.sdk.types import ConsentItem
from schemas.codes import codes, is_code

PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
ACTION = "http://terminology.hl7.org/CodeSystem/consentaction"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"


def to_items(
    provisions: Sequence[Mapping[str, Any]],
    path: str,
    entries: Entries,
    zone: ZoneInfo,
    report: Report,
) -> tuple[ConsentItem, ...]:
    """One item for each nested provision."""
    return tuple(
        _item(node, f"{path}[{place}]", entries, zone, report)
        for place, node in enumerate(provisions)
    )


def _item(
    node: Mapping[str, Any],
    path: str,
    entries: Entries,
    zone: ZoneInfo,
    report: Report,
) -> ConsentItem:
    decision = node.get("type", "")
    if not decision:
        report.add("required", f"{path}.type", "element")
    if "provision" in node:
        report.add("consent-nesting", f"{path}.provision", "nesting")
    for concept in node.get("action", []):
        if not has_code(concept, ACTION, "disclose") or len(concept["coding"]) != 1:
            report.add("consent-action", f"{path}.action", "action")
    org, kind = _actor(node, path, decision, entries, report)
    start, end = period(node.get("period"), zone, f"{path}.period", report)
    return ConsentItem(
        decision=decision,
        purpose=_purpose(node, path, decision, entries.canonical_base, report),
        to_org=org,
        to_kind=kind,
        data_categories=_categories(node, path, entries.canonical_base, report),
        valid_from=start,
        valid_to=end,
    )


def _actor(
    node: Mapping[str, Any], path: str, decision: str, entries: Entries, report: Report
) -> tuple[str | None, str | None]:
    actors = node.get("actor", [])
    path = f"{path}.actor"
    if len(actors) != 1 or not has_code(actors[0].get("role"), PARTICIPATION, "IRCP"):
        report.add("consent-actor", path, "actor")
        return None, None
    reference = actors[0].get("reference", {})
    if decision == "deny" and "reference" not in reference and "identifier" in reference:
        return None, _kind(reference["identifier"], path, entries.canonical_base, report)
    return entries.literal(reference, "Organization", f"{path}[0].reference", report), None


def _kind(node: Mapping[str, Any], path: str, base: str, report: Report) -> str | None:
    """A kind of organisation: a logical reference with a code of `org_type`."""
    kind = node.get("value")
    if node.get("system") != f"{base}/CodeSystem/org-type" or not is_code("org_type", kind):
        report.add("code-invalid", f"{path}[0].reference.identifier", "not-in-list")
        return None
    return str(kind)


def _purpose(
    node: Mapping[str, Any], path: str, decision: str, base: str, report: Report
) -> str | None:
    codings = node.get("purpose", [])
    path = f"{path}.purpose"
    if decision == "deny":
        if codings:
            report.add("consent-purpose", path, "purpose")
        return None
    ours, nearest = codes_in(codings, f"{base}/CodeSystem/purpose"), codes_in(codings, ACT_REASON)
    if len(ours) != 1 or len(ours) + len(nearest) != len(codings) or len(nearest) > 1:
        report.add("consent-purpose", path, "purpose")
        return None
    if not is_code("purpose", ours[0]):
        report.add("code-invalid", path, "not-in-list")
        return None
    if nearest and nearest[0] != pairs("purposes", "purpose", "v3")[ours[0]]:
        report.add("consent-purpose", path, "purpose")
    return ours[0]


def _categories(node: Mapping[str, Any], path: str, base: str, report: Report) -> tuple[str, ...]:
    concepts = node.get("code", [])
    system, allowed = f"{base}/CodeSystem/data-category", codes("data_category")
    found = (
        code_of(concept, system, allowed, f"{path}.code[{place}]", report)
        for place, concept in enumerate(concepts)
    )
    return tuple(sorted({code for code in found if code is not None}))
