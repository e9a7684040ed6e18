"""The transaction Bundle: which resources it holds and how they refer to one another.

Guards that there is exactly one of each main resource, that every reference leads to an entry of
the Bundle or to a directory resource, and that temporary addresses end here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fhir.resources.R4B import get_fhir_model_class

from connectors.fhir_r4.inbound.structure import check_resource, validate, walk
from connectors.sdk.report import Report

MAIN = ("Patient", "ServiceRequest", "Consent", "Task")
OPTIONAL = frozenset({"RelatedPerson", "Condition"})


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One resource of the Bundle with the path that faults name it by."""

    kind: str
    path: str
    resource: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entries:
    """The resources of a Bundle; `kinds` keeps their order for the answer."""

    kinds: tuple[str, ...]
    by_kind: Mapping[str, tuple[Entry, ...]]
    by_address: Mapping[str, Entry]
    canonical_base: str

    def one(self, kind: str) -> Entry:
        """The entry of a main resource."""
        return self.by_kind[kind][0]

    def resolve(self, reference: Mapping[str, Any], path: str, report: Report) -> Entry | None:
        """The entry a reference leads to, or None and a fault."""
        entry = self.by_address.get(_address(reference, path, report) or "")
        if entry is None:
            report.add("reference-invalid", path, "unresolved")
        return entry

    def literal(
        self, reference: Mapping[str, Any], kind: str, path: str, report: Report
    ) -> str | None:
        """The id in a reference to a resource the hub holds, such as `Organization/<org>`."""
        address = _address(reference, path, report)
        if address is None:
            return None
        owner, _, rid = address.removeprefix(f"{self.canonical_base}/").partition("/")
        if owner != kind or not rid or not rid.replace("-", "").replace(".", "").isalnum():
            report.add("reference-invalid", path, "target")
            return None
        return rid


def _address(reference: Mapping[str, Any], path: str, report: Report) -> str | None:
    if "identifier" in reference:
        report.add("unsupported", f"{path}.identifier", "element")
    address = reference.get("reference")
    if address is None:
        report.add("required", f"{path}.reference", "element")
    return address


def read_bundle(bundle: Mapping[str, Any], canonical_base: str) -> tuple[Entries, Report]:
    """Check the envelope and every resource in it; raises `Faults`."""
    report = Report()
    if bundle.get("resourceType") != "Bundle":
        report.add("bundle-invalid", "Bundle.type", "type")
        report.check()
    walk(dict(bundle), "Bundle", "Bundle", report)
    report.check()
    if bundle.get("type") != "transaction":
        report.add("bundle-invalid", "Bundle.type", "type")
    entries = bundle.get("entry", [])
    kinds = tuple(_kind(entry, place, report) for place, entry in enumerate(entries))
    report.check()
    _count(kinds, report)
    report.check()
    envelope = {**bundle, "entry": [_without_resource(entry) for entry in entries]}
    validate(envelope, "Bundle", report)
    found = [
        Entry(kind, kind if kind in MAIN else f"Bundle.entry[{place}].resource", entry["resource"])
        for place, (kind, entry) in enumerate(zip(kinds, entries, strict=True))
    ]
    for entry in found:
        check_resource(entry.resource, entry.path, report)
    addresses = _addresses(entries, found, report)
    report.check()
    by_kind = {kind: tuple(e for e in found if e.kind == kind) for kind in {*MAIN, *OPTIONAL}}
    return Entries(kinds, by_kind, addresses, canonical_base), report


def _without_resource(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "resource"}


def _kind(entry: Mapping[str, Any], place: int, report: Report) -> str:
    path = f"Bundle.entry[{place}].resource"
    resource = entry.get("resource")
    if resource is None:
        report.add("required", path, "element")
        return ""
    if not isinstance(resource, dict):
        report.add("structure", path, "wrong-type")
        return ""
    kind = resource.get("resourceType")
    if not isinstance(kind, str):
        report.add("structure", path, "resource-type")
        return ""
    if kind not in MAIN and kind not in OPTIONAL:
        rule = ("unsupported", "resource") if _exists(kind) else ("structure", "resource-type")
        report.add(rule[0], path, rule[1])
    request = entry.get("request", {})
    if request.get("method") != "POST" or request.get("url") != kind:
        report.add("bundle-invalid", f"Bundle.entry[{place}].request", "request")
    return kind


def _exists(kind: str) -> bool:
    try:
        model = get_fhir_model_class(kind)
    except (KeyError, LookupError, ValueError, ImportError, AttributeError):
        return False
    return "implicitRules" in model.model_fields


def _count(kinds: tuple[str, ...], report: Report) -> None:
    if any(kinds.count(kind) != 1 for kind in MAIN):
        report.add("bundle-invalid", "Bundle.entry", "resource-count")


def _addresses(
    entries: list[dict[str, Any]], found: list[Entry], report: Report
) -> dict[str, Entry]:
    by_address: dict[str, Entry] = {}
    for place, (raw, entry) in enumerate(zip(entries, found, strict=True)):
        names = [raw.get("fullUrl")]
        if isinstance(entry.resource.get("id"), str):
            names.append(f"{entry.kind}/{entry.resource['id']}")
        for name in filter(None, names):
            if by_address.setdefault(name, entry) is not entry:
                report.add("bundle-invalid", f"Bundle.entry[{place}].fullUrl", "full-url")
    return by_address
