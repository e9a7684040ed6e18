"""Consent → `sdk.types.Consent`: what is FHIR's own in the consent table (`wire.md` §2).

Guards that OPTOUT, root deny, references and extensions stand as they must. Who gave it, for how
long and for whom the rules of the SDK judge (`sdk/rules.py`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from connectors.fhir_r4.inbound.bundle import Entries, Entry
from connectors.fhir_r4.inbound.extensions import Found, read_extensions
from connectors.fhir_r4.inbound.person import relatives_in_order
from connectors.fhir_r4.inbound.provisions import to_items
from connectors.fhir_r4.inbound.values import ACT_CODE, has_code, period, required
from connectors.sdk.report import Report
from connectors.sdk.times import instant
from connectors.sdk.types import Consent

SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
ROOT = frozenset({"type", "period", "provision"})


def to_consent(entries: Entries, org: str, zone: ZoneInfo, report: Report) -> Consent:
    """The consent of the Bundle, given to `org`, as it was written."""
    entry = entries.one("Consent")
    node, path = entry.resource, entry.path
    _fixed(node, path, report)
    _parties(entry, entries, org, report)
    more = read_extensions(node, "Consent", path, entries.canonical_base, report)
    valid_from, valid_to = _validity(node, path, zone, report)
    giver, relative = _giver(entry, entries, report)
    provisions = node.get("provision", {}).get("provision", [])
    given = required(node, "dateTime", path, report)
    return Consent(
        notice=_notice(node, path, entries.canonical_base, report),
        language=node.get("language"),
        form=_first(more, "consent-form"),
        collected_by_role=_first(more, "collected-by-role"),
        giver=giver,
        giver_relative=relative,
        assent=_first(more, "assent"),
        linked_to_perpetrator=_first(more, "linked-to-perpetrator"),
        legal_basis=_first(more, "legal-basis"),
        reason_code=_first(more, "legal-basis-reason"),
        approver=_first(more, "approver"),
        given_at=instant(given, zone, f"{path}.dateTime", report),
        valid_from=valid_from,
        valid_to=valid_to,
        items=to_items(provisions, f"{path}.provision.provision", entries, zone, report),
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


def _validity(
    node: Mapping[str, Any], path: str, zone: ZoneInfo, report: Report
) -> tuple[datetime | None, datetime | None]:
    root = required(node, "provision", path, report)
    if root is None:
        return None, None
    path = f"{path}.provision"
    if root.get("type") != "deny" or set(root) - ROOT:
        report.add("consent-root", path, "root")
    return period(root.get("period"), zone, f"{path}.period", report)


def _notice(node: Mapping[str, Any], path: str, base: str, report: Report) -> str | None:
    policies = required(node, "policy", path, report)
    if policies is None:
        return None
    uri = str(policies[0].get("uri", ""))
    if len(policies) != 1 or not uri.startswith(base):
        report.add("consent-notice", f"{path}.policy", "notice")
        return None
    return uri.removeprefix(f"{base}/notice/")


def _giver(entry: Entry, entries: Entries, report: Report) -> tuple[str | None, int | None]:
    """`self`, `caregiver` or `legal_guardian`, by what the one performer is."""
    performers = entry.resource.get("performer", [])
    at = f"{entry.path}.performer"
    if not performers:
        return None, None
    target = entries.resolve(performers[0], f"{at}[0]", report) if len(performers) == 1 else None
    if target is not None and target.kind == "Patient":
        return "self", None
    if target is not None and target.kind == "RelatedPerson":
        return _role(target.resource), relatives_in_order(entries).index(target)
    if len(performers) != 1 or target is not None:
        report.add("consent-giver", at, "giver")
    return None, None


def _role(relative: Mapping[str, Any]) -> str:
    concepts: Iterable[Mapping[str, Any]] = relative.get("relationship", ())
    codes = {coding.get("code") for concept in concepts for coding in concept.get("coding", ())}
    return "legal_guardian" if codes & {"GUARD", "POWATT"} else "caregiver"
