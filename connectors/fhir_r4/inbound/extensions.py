"""Extensions we read (`codes/extensions.csv`): coded parts by URL; any other is refused."""

from collections.abc import Mapping
from typing import Any

from connectors.fhir_r4.inbound.tables import Part, extensions
from connectors.fhir_r4.inbound.values import codes_in
from connectors.sdk.report import Report
from connectors.sdk.rules_codes import MONTH, TOKEN
from connectors.sdk.tables import countries, pairs
from schemas.codes import is_code

COUNTRY_SYSTEM = "urn:iso:std:iso:3166"
VALUE_OF = {
    "concept": "valueCodeableConcept",
    "coding": "valueCoding",
    "boolean": "valueBoolean",
    "month": "valueDate",
    "token": "valueString",
}
OWN_LISTS = {"collector_role": "collector_roles", "basis_reason": "basis_reasons"}

Found = dict[str, list[Any]]
"""Values by the URL in the table; nested parts are a `Found` of their own."""


def read_extensions(
    node: Mapping[str, Any], owner: str, path: str, base: str, report: Report
) -> Found:
    """Every extension of a node, checked against the rows of its owner."""
    found: Found = {}
    for place, extension in enumerate(node.get("extension", [])):
        at = f"{path}.extension[{place}]"
        url = _url(extension.get("url"), base, nested="/" in owner)
        part = extensions()[owner].get(url)
        if part is None:
            report.add("unsupported", at, "extension")
        elif part.kind == "dropped":
            report.drop(at)
        elif url in found and not part.many:
            report.add("value-invalid", at, "repeated")
        else:
            value = _value(extension, part, f"{owner}/{url}", at, base, report)
            if value is not None:
                found.setdefault(url, []).append(value)
    return found


def _url(url: Any, base: str, *, nested: bool) -> str:
    if not isinstance(url, str):
        return ""
    if nested:
        return url
    own = f"{base}/StructureDefinition/"
    return url.removeprefix(own) if url.startswith((own, "http://hl7.org/")) else ""


def _value(
    extension: Mapping[str, Any], part: Part, owner: str, at: str, base: str, report: Report
) -> Any:
    if part.kind == "parts":
        _only(extension, "extension", at, report)
        return read_extensions(extension, owner, at, base, report)
    if part.kind == "code":
        return _code(extension, part.codes, at, base, report)
    name = VALUE_OF[part.kind]
    if not _only(extension, name, at, report):
        return None
    return _checked(extension[name], part, f"{at}.{name}", base, report)


def _only(extension: Mapping[str, Any], name: str, at: str, report: Report) -> bool:
    """The named value is there, and nothing beside it and the URL."""
    if extension.get(name) in (None, [], {}):
        report.add("required", f"{at}.{name}", "element")
        return False
    if set(extension) - {"url", name}:
        report.add("unsupported", at, "element")
        return False
    return True


def _code(extension: Mapping[str, Any], codes: str, at: str, base: str, report: Report) -> Any:
    name = "valueCoding" if "valueCoding" in extension else "valueCode"
    if not _only(extension, name, at, report):
        return None
    value = extension[name]
    if isinstance(value, dict):
        own = codes_in([value], f"{base}/CodeSystem/{codes.replace('_', '-')}")
        value = own[0] if own else None
    if codes in OWN_LISTS:
        known = value in pairs(OWN_LISTS[codes], "code", "label_en")
    else:
        known = is_code(codes, value)
    if not known:
        report.add("code-invalid", f"{at}.{name}", "not-in-list")
        return None
    return value


def _checked(value: Any, part: Part, at: str, base: str, report: Report) -> Any:
    if part.kind == "concept":
        return _concept(value, part.codes, at, base, report)
    if part.kind == "coding" and not ("system" in value and "code" in value):
        report.add("required", f"{at}.code", "element")
        return None
    if part.kind == "boolean" and not isinstance(value, bool):
        report.add("structure", at, "wrong-type")
        return None
    pattern = {"month": MONTH, "token": TOKEN}.get(part.kind)
    if pattern is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
        report.add("structure", at, "bad-format")
        return None
    return value


def _concept(value: Any, codes: str, at: str, base: str, report: Report) -> str | None:
    codings = value.get("coding", [])
    if codes == "country":
        found = [countries().get(code) for code in codes_in(codings, COUNTRY_SYSTEM)]
    else:
        system = f"{base}/CodeSystem/{codes.replace('_', '-')}"
        found = [c if is_code(codes, c) else None for c in codes_in(codings, system)]
    if len(found) != 1 or found[0] is None:
        report.add("code-invalid", at, "not-in-list")
        return None
    return found[0]
