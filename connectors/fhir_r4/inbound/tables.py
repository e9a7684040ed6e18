"""The mapping tables of `codes/`, each read once into frozen mappings."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fhir.resources.R4B import get_fhir_model_class

RESOURCES = frozenset(
    {"Bundle", "Patient", "RelatedPerson", "Condition", "ServiceRequest", "Task", "Consent"}
)
PRIMITIVES = frozenset({"string", "boolean", "integer"})


@dataclass(frozen=True, slots=True)
class Element:
    """How one FHIR element is treated; `values` is its required binding where it has one."""

    type: str
    many: bool
    treatment: str
    category: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Part:
    """One extension we read under an owner: kind of value, its code list, how often."""

    kind: str
    codes: str
    many: bool


def rows(name: str) -> list[dict[str, str]]:
    """The rows of one table of this connector."""
    text = files("connectors.fhir_r4").joinpath(f"codes/{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def elements() -> Mapping[str, Mapping[str, Element]]:
    """Element rows by owner (resource, data type or backbone path) and name."""
    found: dict[str, dict[str, Element]] = {}
    for row in rows("elements"):
        found.setdefault(row["owner"], {})[row["element"]] = Element(
            row["type"],
            row["many"] == "1",
            row["treatment"],
            row["category"],
            frozenset(row["values"].split()),
        )
    return found


@cache
def fhir_names(owner: str) -> frozenset[str]:
    """Names that FHIR R4 gives the elements of an owner, primitive extensions included."""
    backbone = "".join(part[0].upper() + part[1:] for part in owner.split("."))
    model = get_fhir_model_class(backbone)
    names = {field.alias or name for name, field in model.model_fields.items()}
    return frozenset(names - {"fhir_comments", "resource_type"})


@cache
def extensions() -> Mapping[str, Mapping[str, Part]]:
    """Extension rows by owner and URL (ours are relative to the canonical base)."""
    found: dict[str, dict[str, Part]] = {}
    for row in rows("extensions"):
        part = Part(row["kind"], row["codes"], row["many"] == "1")
        found.setdefault(row["owner"], {})[row["url"]] = part
    return found


@cache
def pairs(name: str, key: str, value: str) -> Mapping[str, str]:
    """A two-column view of a table."""
    return {row[key]: row[value] for row in rows(name)}
