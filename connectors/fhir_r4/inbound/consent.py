"""Consent → `sdk.types.Consent`, row by row of the consent table (`wire.md` §2)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from connectors.fhir_r4.inbound.bundle import Entries, Entry
from connectors.fhir_r4.inbound.extensions import Found, read_extensions
from connectors.fhir_r4.inbound.person import relatives_in_order
from connectors.fhir_r4.inbound.provisions import to_items
from connectors.fhir_r4.inbound.report import Report
from connectors.fhir_r4.inbound.tables import notices, pairs
from connectors.fhir_r4.inbound.values import (
    ACT_CODE,
    has_code,
    instant,
    months_later,
    period,
    required,
)
from connectors.sdk.types import Consent

SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
LEEWAY = timedelta(seconds=60)
LONGEST_MONTHS = 12
ROOT = frozenset({"type", "period", "provision"})
GIVER_EXTENSIONS = ("consent-form", "collected-by-role", "legal-basis")


def to_consent(
    entries: Entries, org: str, now: datetime, zone: ZoneInfo, report: Report, *, minor: bool | None
) -> Consent:
    """The consent of the Bundle, given to `org`."""
    entry = entries.one("Consent")
    node, path = entry.resource, entry.path
    _fixed(node, path, report)
    _parties(entry, entries, org, report)
    more = read_extensions(node, "Consent", path, entries.canonical_base, report)
    given = _given_at(node, path, now, zone, report)
    valid_from, valid_to = _validity(node, path, given, now, zone, report)
    giver, relative = _giver(entry, entries, more, report, minor=minor)
    provisions = node.get("provision", {}).get("provision", [])
    at = f"{path}.provision.provision"
    items = to_items(provisions, at, entries, (valid_from, valid_to), zone, report)
    return Consent(
        notice=_notice(node, path, entries.canonical_base, report),
        language=node.get("language"),
        form=_first(more, "consent-form"),
        collected_by_role=_first(more, "collected-by-role"),
        giver=giver,
        giver_relative=relative,
        assent=_assent(more, path, report, minor=minor),
        linked_to_perpetrator=_linked(more, path, report),
        given_at=given,
        valid_from=valid_from,
        valid_to=valid_to,
        items=items,
        **_basis(more, path, report, again=minor is None),
    )


def _first(found: Found, name: str) -> Any:
    return next(iter(found.get(name, ())), None)


def _fixed(node: Mapping[str, Any], path: str, report: Report) -> None:
    if node.get("status") != "active":
        report.add("consent-status", f"{path}.status", "status")
    if not has_code(node.get("scope"), SCOPE, "patient-privacy"):
        report.add("consent-scope", f"{path}.scope", "scope")
    if not any(has_code(concept, ACT_CODE, "IDSCL") for concept in node.get("category", [])):
        report.add("consent-category", f"{path}.category", "category")
    if required(node, "policyRule", path, report) is not None and not has_code(
        node["policyRule"], ACT_CODE, "OPTOUT"
    ):
        report.add("consent-policy-rule", f"{path}.policyRule", "policy-rule")


def _parties(entry: Entry, entries: Entries, org: str, report: Report) -> None:
    node, path = entry.resource, entry.path
    patient = required(node, "patient", path, report)
    if patient is not None:
        target = entries.resolve(patient, f"{path}.patient", report)
        if target is not None and target.kind != "Patient":
            report.add("consent-patient", f"{path}.patient", "patient")
    organizations = required(node, "organization", path, report) or []
    for place, reference in enumerate(organizations):
        at = f"{path}.organization[{place}]"
        found = entries.literal(reference, "Organization", at, report)
        if found is not None and (found != org or len(organizations) > 1):
            report.add("consent-organization", at, "organization")


def _given_at(
    node: Mapping[str, Any], path: str, now: datetime, zone: ZoneInfo, report: Report
) -> datetime | None:
    text = required(node, "dateTime", path, report)
    given = instant(text, zone, f"{path}.dateTime", report)
    if given is not None and given > now + LEEWAY:
        report.add("consent-future", f"{path}.dateTime", "future")
    return given


def _validity(
    node: Mapping[str, Any],
    path: str,
    given: datetime | None,
    now: datetime,
    zone: ZoneInfo,
    report: Report,
) -> tuple[datetime | None, datetime | None]:
    root = required(node, "provision", path, report)
    if root is None:
        return None, None
    path = f"{path}.provision"
    if root.get("type") != "deny" or set(root) - ROOT:
        report.add("consent-root", path, "root")
    start, end = period(root.get("period"), zone, f"{path}.period", report)
    start = start or given
    anchor = None if given is None else min(given, now)
    if end is None or (anchor and end > months_later(anchor, LONGEST_MONTHS, zone)):
        report.add("consent-period", f"{path}.period", "period")
    elif end <= now:
        report.add("consent-expired", f"{path}.period", "expired")
    return start, end


def _notice(node: Mapping[str, Any], path: str, base: str, report: Report) -> str | None:
    policies = required(node, "policy", path, report)
    language = required(node, "language", path, report)
    if policies is None:
        return None
    uri = policies[0].get("uri", "")
    notice = str(uri).removeprefix(f"{base}/notice/")
    if len(policies) != 1 or not uri.startswith(base) or notice not in notices():
        report.add("consent-notice", f"{path}.policy", "notice")
        return None
    if language is not None and language not in notices()[notice]:
        report.add("consent-language", f"{path}.language", "language")
    return notice


def _giver(
    entry: Entry, entries: Entries, more: Found, report: Report, *, minor: bool | None
) -> tuple[str | None, int | None]:
    """`self`, `caregiver` or `legal_guardian`; absent only under another legal basis."""
    performers = entry.resource.get("performer", [])
    at = f"{entry.path}.performer"
    if not performers and _first(more, "legal-basis") not in (None, "consent"):
        return None, None
    if len(performers) != 1:
        report.add("consent-giver", at, "giver")
        return None, None
    target = entries.resolve(performers[0], f"{at}[0]", report)
    if target is None:
        return None, None
    if target.kind == "Patient":
        if minor:
            report.add("consent-minor-giver", at, "minor-giver")
        return "self", None
    if target.kind != "RelatedPerson":
        report.add("consent-giver", at, "giver")
        return None, None
    return _role(target.resource), relatives_in_order(entries).index(target)


def _role(relative: Mapping[str, Any]) -> str:
    concepts: Iterable[Mapping[str, Any]] = relative.get("relationship", ())
    codes = {coding.get("code") for concept in concepts for coding in concept.get("coding", ())}
    return "legal_guardian" if codes & {"GUARD", "POWATT"} else "caregiver"


def _assent(more: Found, path: str, report: Report, *, minor: bool | None) -> str | None:
    """A minor's assent beside the consent of a caregiver; no other basis waits for it."""
    assent: str | None = _first(more, "assent")
    consented = _first(more, "legal-basis") in (None, "consent")
    missing = minor and consented and assent in (None, "not_applicable")
    if missing or assent == "dissented":
        report.add("consent-assent", f"{path}.extension", "assent")
    return assent


def _linked(more: Found, path: str, report: Report) -> bool | None:
    linked: bool | None = _first(more, "linked-to-perpetrator")
    if linked:
        report.add("consent-perpetrator", f"{path}.extension", "perpetrator")
    return linked


def _basis(more: Found, path: str, report: Report, *, again: bool) -> dict[str, str | None]:
    """Form and basis; who collected it is asked of a new consent, not of one written back."""
    for name in GIVER_EXTENSIONS:
        if name not in more and not (again and name == "collected-by-role"):
            report.add("required", f"{path}.extension", "element")
    basis, reason, approver = (
        _first(more, name) for name in ("legal-basis", "legal-basis-reason", "approver")
    )
    if basis == "consent" and (reason is not None or approver is not None):
        report.add("consent-basis", f"{path}.extension", "basis")
    if basis not in (None, "consent") and (
        approver is None or pairs("basis_reasons", "code", "legal_basis").get(reason) != basis
    ):
        report.add("consent-basis", f"{path}.extension", "basis")
    if basis == "consent" and _first(more, "consent-form") == "none":
        report.add("consent-form", f"{path}.extension", "form")
    return {"legal_basis": basis, "reason_code": reason, "approver": approver}
