"""ServiceRequest, Task and Condition → `Referral` and `Case`."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from connectors.fhir_r4.inbound.bundle import MAIN, Entries, Entry
from connectors.fhir_r4.inbound.extensions import Found
from connectors.fhir_r4.inbound.tables import pairs, rows
from connectors.fhir_r4.inbound.values import (
    code_of,
    codes_in,
    has_code,
    identifier,
    identifiers,
    period,
)
from connectors.sdk.report import Report
from connectors.sdk.tables import condition_field
from connectors.sdk.types import Case, Coded, Referral
from schemas.codes import code_lists, codes, is_code

TASK_CODE = "http://hl7.org/fhir/CodeSystem/task-code"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
TRUE = ("unconfirmed", "provisional", "differential", "confirmed")
NOT_TRUE = ("refuted", "entered-in-error")


def to_referral(
    entries: Entries,
    org: str,
    zone: ZoneInfo,
    more: Found,
    report: Report,
) -> Referral:
    """The request itself: who asks whom for what, until when."""
    request, task = entries.one("ServiceRequest"), entries.one("Task")
    _check_request(request, entries, org, report)
    to_org = _check_task(task, entries, org, report)
    node = request.resource
    return Referral(
        to_org=to_org,
        service_type=_service_type(node, request.path, entries.canonical_base, report),
        directory_entry=_performer(node, request.path, entries, report),
        priority=_priority(node, task, report),
        special_requirements=tuple(more.get("special-requirement", ())),
        response_due=_due(task, zone, report),
        replaces=_other_request(request, "replaces", entries, report),
        onward_of=_other_request(request, "basedOn", entries, report),
        task_identifiers=identifiers(
            task.resource.get("identifier", []), f"{task.path}.identifier", report
        ),
        request_identifiers=identifiers(
            node.get("identifier", []), f"{request.path}.identifier", report
        ),
    )


def to_case(entries: Entries, facts: Found, report: Report) -> Case:
    """The coded facts of the case; free text is added by the caller."""
    request = entries.one("ServiceRequest")
    node = request.resource
    requisition = identifier(node["requisition"]) if "requisition" in node else None
    if "requisition" in node and requisition is None:
        report.add("required", f"{request.path}.requisition.value", "element")
    coded = _conditions(entries, report)
    exploitation = coded.pop("exploitation_types", ())
    types = (*facts.get("exploitation_type", ()), *(one.code for one in exploitation))
    single = {
        name: next(iter(facts.get(name, ())), None)
        for name in (
            "phenomenon",
            "trafficking_status",
            "smuggling_status",
            "risk_level",
            "opened_month",
        )
    }
    return Case(
        requisition=requisition,
        confidentiality=_confidentiality(entries, report),
        exploitation_types=tuple(dict.fromkeys(types)),
        **single,
        **coded,
    )


def _must(entry: Entry, name: str, value: str, report: Report) -> None:
    if entry.resource.get(name) != value:
        report.add("value-invalid", f"{entry.path}.{name}", "fixed-value")


def _leads_to(entry: Entry, name: str, kind: str, entries: Entries, report: Report) -> None:
    at = f"{entry.path}.{name}"
    if name not in entry.resource:
        report.add("required", at, "element")
        return
    target = entries.resolve(entry.resource[name], at, report)
    if target is not None and target.kind != kind:
        report.add("reference-invalid", at, "target")


def _is_caller(entry: Entry, entries: Entries, org: str, report: Report) -> None:
    at = f"{entry.path}.requester"
    found = entries.literal(entry.resource["requester"], "Organization", at, report)
    if found is not None and found != org:
        report.add("value-invalid", at, "fixed-value")


def _check_request(entry: Entry, entries: Entries, org: str, report: Report) -> None:
    _must(entry, "status", "active", report)
    _must(entry, "intent", "order", report)
    _leads_to(entry, "subject", "Patient", entries, report)
    if "requester" in entry.resource:
        _is_caller(entry, entries, org, report)
    references = entry.resource.get("supportingInfo", [])
    at = f"{entry.path}.supportingInfo"
    if not references:
        report.add("required", at, "element")
    elif len(references) > 1:
        report.add("value-invalid", at, "repeated")
    else:
        target = entries.resolve(references[0], f"{at}[0]", report)
        if target is not None and target.kind != "Consent":
            report.add("reference-invalid", f"{at}[0]", "target")


def _check_task(entry: Entry, entries: Entries, org: str, report: Report) -> str | None:
    _must(entry, "status", "requested", report)
    _must(entry, "intent", "order", report)
    if not has_code(entry.resource.get("code"), TASK_CODE, "fulfill"):
        report.add("value-invalid", f"{entry.path}.code", "fixed-value")
    _leads_to(entry, "focus", "ServiceRequest", entries, report)
    if "for" in entry.resource:
        _leads_to(entry, "for", "Patient", entries, report)
    for name in ("requester", "owner"):
        if name not in entry.resource:
            report.add("required", f"{entry.path}.{name}", "element")
    if "requester" in entry.resource:
        _is_caller(entry, entries, org, report)
    if "owner" not in entry.resource:
        return None
    owner = entry.resource["owner"]
    return entries.literal(owner, "Organization", f"{entry.path}.owner", report)


def _service_type(node: Mapping[str, Any], path: str, base: str, report: Report) -> str | None:
    """Our own code where there is one, else the crosswalk's."""
    at = f"{path}.code"
    if "code" not in node:
        report.add("required", at, "element")
        return None
    codings = node["code"].get("coding", [])
    ours = codes_in(codings, f"{base}/CodeSystem/service-type")
    if ours:
        if len(ours) == 1 and is_code("service_type", ours[0]):
            return ours[0]
        report.add("code-invalid", at, "not-in-list")
        return None
    for row in rows_of_service_types():
        if row["code"] in codes_in(codings, f"{base}/CodeSystem/{row['system']}"):
            return row["service_type"]
    report.add("code-invalid", at, "unmapped")
    return None


@cache
def rows_of_service_types() -> tuple[Mapping[str, str], ...]:
    """The crosswalk of partners' service codes."""
    return tuple(rows("service_types"))


def _performer(node: Mapping[str, Any], path: str, entries: Entries, report: Report) -> str | None:
    references = node.get("performer", [])
    if not references:
        report.add("required", f"{path}.performer", "element")
        return None
    if len(references) > 1:
        report.add("value-invalid", f"{path}.performer", "repeated")
        return None
    return entries.literal(references[0], "HealthcareService", f"{path}.performer[0]", report)


def _priority(node: Mapping[str, Any], task: Entry, report: Report) -> str | None:
    table = pairs("priorities", "fhir", "priority")
    asked, tasked = node.get("priority"), task.resource.get("priority")
    if asked is not None and tasked is not None and asked != tasked:
        report.add("value-invalid", f"{task.path}.priority", "contradiction")
    return table.get(asked or tasked or "")


def _due(task: Entry, zone: ZoneInfo, report: Report) -> datetime | None:
    node = task.resource.get("restriction", {}).get("period")
    return period(node, zone, f"{task.path}.restriction.period", report)[1]


def _other_request(entry: Entry, name: str, entries: Entries, report: Report) -> str | None:
    references = entry.resource.get(name, [])
    at = f"{entry.path}.{name}"
    if len(references) > 1:
        report.add("value-invalid", at, "repeated")
    if len(references) != 1:
        return None
    return entries.literal(references[0], "ServiceRequest", f"{at}[0]", report)


def _confidentiality(entries: Entries, report: Report) -> str | None:
    """The strictest confidentiality label on the main resources."""
    ours = {row.fhir_r4: row.code for row in code_lists()["confidentiality"].by_code.values()}
    found = []
    for kind in MAIN:
        entry = entries.one(kind)
        for code in codes_in(entry.resource.get("meta", {}).get("security", []), CONFIDENTIALITY):
            if code and code in ours:
                found.append(ours[code])
            else:
                report.add("code-invalid", f"{entry.path}.meta.security", "not-in-list")
    return max(found, key=codes("confidentiality").index, default=None)


def _conditions(entries: Entries, report: Report) -> dict[str, tuple[Coded, ...]]:
    """Codes of reasonCode and Condition.code by the field their category gives them."""
    request = entries.one("ServiceRequest")
    _check_reasons(request, entries, report)
    concepts = [
        (f"{request.path}.reasonCode[{place}]", concept)
        for place, concept in enumerate(request.resource.get("reasonCode", []))
    ]
    for entry in entries.by_kind["Condition"]:
        _check_condition(entry, entries, report)
        if "code" in entry.resource:
            concepts.append((f"{entry.path}.code", entry.resource["code"]))
    found: dict[str, tuple[Coded, ...]] = {}
    for path, concept in concepts:
        placed = _place(concept, entries.canonical_base)
        if placed is None and ("coding" in concept or "text" not in concept):
            report.add("code-invalid", path, "unmapped")
        if placed is not None and placed[1] not in found.get(placed[0], ()):
            found[placed[0]] = (*found.get(placed[0], ()), placed[1])
    return found


def _place(concept: Mapping[str, Any], base: str) -> tuple[str, Coded] | None:
    """Field and code of the first coding that a row knows."""
    own = f"{base}/CodeSystem/exploitation-type"
    for coding in concept.get("coding", []):
        system, code = coding.get("system"), coding.get("code", "")
        if system == own and is_code("exploitation_type", code):
            return "exploitation_types", Coded(system=own, code=code)
        field = condition_field(system, code)
        if field is not None:
            return field, Coded(system=system, code=code)
    return None


def _check_reasons(request: Entry, entries: Entries, report: Report) -> None:
    for place, reference in enumerate(request.resource.get("reasonReference", [])):
        at = f"{request.path}.reasonReference[{place}]"
        target = entries.resolve(reference, at, report)
        if target is not None and target.kind != "Condition":
            report.add("reference-invalid", at, "target")


def _check_condition(entry: Entry, entries: Entries, report: Report) -> None:
    _leads_to(entry, "subject", "Patient", entries, report)
    status = entry.resource.get("verificationStatus")
    if any(has_code(status, VERIFICATION, code) for code in NOT_TRUE):
        report.add("value-invalid", f"{entry.path}.verificationStatus", "fixed-value")
    elif status is not None:
        code_of(status, VERIFICATION, TRUE, f"{entry.path}.verificationStatus", report)
    if "code" not in entry.resource:
        report.add("required", f"{entry.path}.code", "element")
