"""Is it FHIR R4, and only what the element table knows?

Two checks over one resource: our own walk along `elements.csv` (names, JSON types, bindings, what
is dropped, what is free text) and the `fhir.resources` models (formats, required elements,
choices). Paths are made of FHIR's own names alone: a name that is not one of FHIR's is never
repeated.
"""

from collections.abc import Mapping
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from connectors.fhir_r4.inbound.models import conforms
from connectors.fhir_r4.inbound.tables import PRIMITIVES, RESOURCES, Element, elements, fhir_names
from connectors.sdk.report import Report

EXTENSION: Mapping[str, Element] = {
    "url": Element("string", False, "read", "", frozenset()),
    "extension": Element("Extension", True, "extension", "", frozenset()),
    "valueCode": Element("string", False, "read", "", frozenset()),
    "valueString": Element("string", False, "read", "", frozenset()),
    "valueDate": Element("string", False, "read", "", frozenset()),
    "valueBoolean": Element("boolean", False, "read", "", frozenset()),
    "valueCoding": Element("Coding", False, "read", "", frozenset()),
    "valueCodeableConcept": Element("CodeableConcept", False, "read", "", frozenset()),
}
MISSING = frozenset({"missing", "model_field_validation.missing"})
JSON_TYPE: Mapping[str, type] = {"string": str, "boolean": bool, "integer": int}
CHOICE = "choice"
CHOICE_TEXT = "Value error, Any of one field value"
"""How the models say that a choice has several values; they give it no type of its own."""
WRONG_TYPE = frozenset(
    {"list_type", "dict_type", "string_type", "bool_type", "int_type", "json_invalid", "model_type"}
)


def check_resource(resource: dict[str, Any], path: str, report: Report) -> None:
    """Both checks; the second only where the first found nothing."""
    found = len(report.faults)
    walk(resource, resource["resourceType"], path, report)
    if len(report.faults) == found:
        validate(resource, path, report)


def walk(node: dict[str, Any], owner: str, path: str, report: Report) -> None:
    """Check one object against the rows of its owner, and everything below it that is read."""
    known = elements()[owner]
    for name, value in node.items():
        row = known.get(name)
        if row is not None:
            _element(row, value, f"{path}.{name}", report)
        elif name in fhir_names(owner):
            report.add("unsupported", f"{path}.{name}", "element")
        elif name != "resourceType" or owner not in RESOURCES:
            report.add("structure", path, "unknown-element")


def _element(row: Element, value: Any, path: str, report: Report) -> None:
    if value is None:
        report.add("structure", path, "null-value")
    elif row.treatment in {"ignored", "resource"}:
        return
    elif row.treatment == "dropped":
        report.drop(path)
    elif row.treatment == "refused":
        report.add("unsupported", path, "element")
    elif row.many:
        _list(row, value, path, report)
    else:
        _one(row, value, path, report)


def _list(row: Element, value: Any, path: str, report: Report) -> None:
    if not isinstance(value, list):
        report.add("structure", path, "wrong-type")
    elif not value:
        report.add("structure", path, "empty-value")
    else:
        for place, item in enumerate(value):
            _one(row, item, f"{path}[{place}]", report)


def _one(row: Element, value: Any, path: str, report: Report) -> None:
    if value is None:
        report.add("structure", path, "null-value")
    elif row.type in PRIMITIVES:
        _primitive(row, value, path, report)
    elif not isinstance(value, dict):
        report.add("structure", path, "wrong-type")
    elif not value:
        report.add("structure", path, "empty-value")
    elif row.treatment == "text-block":
        _text_block(value, path, report)
    elif row.treatment == "extension":
        _extension(value, path, report)
    elif row.treatment == "read":
        walk(value, row.type, path, report)


def _extension(node: dict[str, Any], path: str, report: Report) -> None:
    """Names and JSON types inside an extension; which one it is, its reader asks."""
    for name, value in node.items():
        row = EXTENSION.get(name)
        if row is not None:
            _element(row, value, f"{path}.{name}", report)
        elif name in fhir_names("Extension"):
            report.add("unsupported", f"{path}.{name}", "element")
        else:
            report.add("structure", path, "unknown-element")


def _primitive(row: Element, value: Any, path: str, report: Report) -> None:
    if type(value) is not JSON_TYPE[row.type]:
        report.add("structure", path, "wrong-type")
        return
    if isinstance(value, str) and not value.strip():
        report.add("structure", path, "empty-value")
    elif row.values and value not in row.values:
        report.add("code-invalid", path, "not-in-list")
    elif row.treatment == "narrative":
        _narrative(str(value), path, report)


def _narrative(value: str, path: str, report: Report) -> None:
    if path.startswith(("Consent", "Bundle.identifier")):
        report.add("unsupported", path, "element")
    else:
        report.narrative(path, value)


def _text_block(value: dict[str, Any], path: str, report: Report) -> None:
    if value.get("status") == "generated":
        report.drop(path)
    else:
        report.add("unsupported", path, "text-status")


def validate(resource: dict[str, Any], path: str, report: Report) -> None:
    """Check formats, required elements and choices by the R4B model of the resource."""
    if conforms(resource["resourceType"], resource):
        return
    try:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    except ValidationError as error:
        for entry in error.errors(include_url=False, include_input=False, include_context=False):
            kind = CHOICE if entry["msg"].startswith(CHOICE_TEXT) else entry["type"]
            _report_error(kind, entry["loc"], path, report)
    except (ValueError, KeyError, TypeError, AttributeError):
        report.add("structure", path, "bad-format")


def _report_error(kind: str, loc: tuple[int | str, ...], path: str, report: Report) -> None:
    if kind == "extra_forbidden":
        report.add("structure", _path(loc[:-1], path), "unknown-element")
    elif kind in MISSING:
        report.add("required", _path(loc, path), "element")
    elif kind in WRONG_TYPE:
        report.add("structure", _path(loc, path), "wrong-type")
    elif kind == CHOICE:
        report.add("structure", _path(loc, path), "several-choices")
    else:
        report.add("structure", _path(loc, path), "bad-format")


def _path(loc: tuple[int | str, ...], path: str) -> str:
    """A FHIRPath of the location; every name in it is a field of a FHIR model."""
    for step in loc:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path
