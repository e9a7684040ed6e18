"""Referrals that carry an invented identity in every field, made from the element table.

The walk starts from the full sample and follows every row of `elements.csv`: whatever may hold free
text, an identifier, an address on the net or a date gets a value of its own. What the hub reads as
a code, a fixed value or a reference is closed: those fields carry theirs in `closed_requests`, one
request each, which are to be refused. `Planted.fields` says which fields carried what.
"""

import base64
import copy
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from fhir.resources.R4B import get_fhir_model_class

from connectors.fhir_r4.inbound.tables import PRIMITIVES, Element, elements
from connectors.sandbox.samples import US_CORE, full_bundle
from tests.support.canary import Identity, Kind

_OWNERS: Final = "(Condition|ServiceRequest|Task|Consent|RelatedPerson)"
_CLOSED: Final = (
    r"Bundle\.(type|entry\.(request\..*|resource))",
    r".*\.address\.(country|state)",
    r".*\.(gender|status|intent|priority|verificationStatus\.coding\.(system|code))",
    r".*\.meta\.security\..*",
    r"Patient\.(maritalStatus|communication\.language)\.coding\.(system|code)",
    r".*\.relationship\.coding\.(system|code)",
    r"Condition\.code\.coding\.(system|code)",
    r"ServiceRequest\.(code|reasonCode)\.coding\.(system|code)",
    r"ServiceRequest\.(basedOn|replaces|performer|requester)\.reference",
    r"Task\.code\.coding\.(system|code)",
    r"Task\.(owner|requester)\.reference",
    r"Task\.restriction\.period\..*",
    r"Consent\.(language|dateTime|policy\.uri|organization\.reference)",
    r"Consent\.(scope|category|policyRule)\.coding\.(system|code)",
    r"Consent\.provision\..*(period\..*|purpose\.(system|code)|type)",
    r"Consent\.provision\..*(action|code|role)\.coding\.(system|code)",
    r"Consent\.provision\..*actor\.reference\.(reference|identifier\..*)",
    r".*\.(subject|patient|focus|for|supportingInfo|reasonReference|performer)\.reference",
    rf"{_OWNERS}\..*(subject|patient|focus|for|basedOn|replaces|reference)\.identifier\..*",
    rf"{_OWNERS}\..*(supportingInfo|reasonReference|performer)\.identifier\..*",
    rf"{_OWNERS}\..*(owner|requester|organization)\.identifier\..*",
)
CLOSED: Final = re.compile("|".join(_CLOSED))
"""Fields that only a code of a list, a fixed value or a reference of the Bundle may fill."""
BUILT: Final = re.compile(
    r".*\.meta\.security|.*\.(basedOn|replaces)|.*\.provision\.provision\.(provision|period)"
    r"|Consent\.provision\.(action|actor|code|purpose)"
)
"""Elements that are not added to the sample: closed as a whole."""
REFUSED_TEXT: Final = re.compile(r"(Consent|Bundle\.identifier)\..*")
"""Free text below these is refused."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field of the schemas that a string fills."""

    path: str
    """FHIR path without positions."""
    node: dict[str, Any] | list[Any]
    key: str | int
    type: str
    row: str = ""
    """`owner.element` of the element table; empty in extensions."""


@dataclass
class Planted:
    """A request body and what it carries."""

    body: dict[str, Any]
    fields: dict[str, tuple[int, Kind]] = field(default_factory=dict)
    rows: set[str] = field(default_factory=set)


def _fhir_type(owner: str, name: str) -> str:
    """Name of the FHIR primitive: String, Code, Id, Uri, Date, Base64Binary, Xhtml…"""
    backbone = "".join(part[0].upper() + part[1:] for part in owner.split("."))
    for key, info in get_fhir_model_class(backbone).model_fields.items():
        if (info.alias or key) == name and not key.endswith("__ext"):
            text = str(info.annotation)
            found = re.findall(
                r"(Base64Binary|Xhtml|Canonical|Markdown|Instant|DateTime|Date|Code|Id|Uri|Url"
                r"|String)\b",
                text,
            )
            return str(found[-1]) if found else "String"
    return "String"


KIND_OF: Final[dict[str, Kind]] = {
    "Code": "token",
    "Id": "token",
    "Uri": "token",
    "Url": "token",
    "Canonical": "token",
    "Date": "birth",
    "DateTime": "birth",
    "Instant": "birth",
}


def _written(kind: str, value: str, form: int) -> str:
    """A value as this type writes it; names come composed, apart, in capitals and in sentences."""
    if kind in {"Uri", "Url", "Canonical"}:
        return f"https://{value}.example/{value}"
    if kind in {"DateTime", "Instant"}:
        return f"{value}T08:30:00Z"
    if kind == "Base64Binary":
        return base64.b64encode(b"\x89PNG"[: form % 3] + value.encode()).decode()
    if kind == "Xhtml":
        return f'<div xmlns="http://www.w3.org/1999/xhtml">{value}</div>'
    if kind == "String" and not value.isdigit():
        forms = (
            value,
            unicodedata.normalize("NFD", value),
            value.upper(),
            f"Dice que {value} la acompaña.",
        )
        return forms[form % 4]
    return value


class Planter:
    """Puts identities into fields, the next one each time."""

    def __init__(self, people: list[Identity], start: int = 0) -> None:
        self._people = people
        self._next = start

    def value(self, type_name: str, path: str) -> tuple[str, int, Kind]:
        """A value for a field of this type, whose it is, and which of hers."""
        number, self._next = self._next % len(self._people), self._next + 1
        kind = KIND_OF.get(type_name, "name")
        digits = path.endswith(("telecom.value", "postalCode", "identifier.value"))
        if digits and type_name == "String" and number % 2:
            kind = "number"
        text = self._people[number].value(kind)
        return _written(type_name, text, self._next // 3), number, kind

    def full(self, **changes: Any) -> Planted:
        """A referral that the hub is to accept, with a value in every open field."""
        planted = Planted(_sample(**changes))
        grow(planted.body)
        for leaf in leaves(planted.body):
            if not CLOSED.fullmatch(leaf.path):
                self._plant(planted, leaf)
        self._rename(planted)
        return planted

    def _plant(self, planted: Planted, leaf: Leaf) -> None:
        text, number, kind = self.value(leaf.type, leaf.path)
        leaf.node[leaf.key] = text  # type: ignore[index]
        planted.fields[leaf.path] = (number, kind)
        planted.rows.add(leaf.row)

    def _rename(self, planted: Planted) -> None:
        """Addresses inside the Bundle and every reference to them carry one too."""
        names: dict[str, str] = {}
        for entry in planted.body["entry"]:
            text, number, kind = self.value("Id", "Bundle.entry.fullUrl")
            names[entry["_urn"]] = f"urn:{text}:{text}"
            entry["fullUrl"] = names[entry.pop("_urn")]
            planted.fields["Bundle.entry.fullUrl"] = (number, kind)
        for node, path in objects(planted.body):
            if isinstance(node.get("reference"), str) and node["reference"] in names:
                node["reference"] = names[node["reference"]]
                planted.fields[f"{path}.reference"] = planted.fields["Bundle.entry.fullUrl"]
                planted.rows |= {"Bundle.entry.fullUrl", "Reference.reference"}

    def closed_requests(self) -> Iterator[tuple[str, Planted]]:
        """One request for each field that is closed, or refused as a whole: it carries one."""
        base = self.full().body
        closed = [leaf.path for leaf in leaves(base, everything=True) if _is_closed(leaf)]
        for path in dict.fromkeys(closed):
            body = copy.deepcopy(base)
            found = (leaf for leaf in leaves(body, everything=True) if leaf.path == path)
            yield path, self._planted(body, [next(found)])
        for path, body, added in _additions(base):
            yield path, self._planted(body, added)

    def _planted(self, body: dict[str, Any], where: list[Leaf]) -> Planted:
        planted = Planted(body)
        for leaf in where:
            self._plant(planted, leaf)
        return planted


def _additions(base: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], list[Leaf]]]:
    """The Bundle with one element more that the hub does not take, and the fields in it."""
    seen: set[str] = set()
    for steps, owner, path in _nodes(base):
        for name, row in elements()[owner].items():
            at = f"{path}.{name}"
            if at in seen or not _refused(at, row):
                continue
            body = copy.deepcopy(base)
            node: Any = body
            for step in steps:
                node = node[step]
            made = None if name in node else _new(row, at, ())
            if made is None:
                continue
            seen.add(at)
            node[name] = [made] if row.many else made
            yield at, body, list(_leaves({name: node[name]}, owner, path, everything=True))


def _is_closed(leaf: Leaf) -> bool:
    owner, _, name = leaf.row.rpartition(".")
    row = elements().get(owner, {}).get(name)
    return CLOSED.fullmatch(leaf.path) is not None or (row is not None and bool(row.values))


def _refused(path: str, row: Element) -> bool:
    if row.type in {"Extension", "Resource", "integer", "boolean"}:
        return False
    text = row.treatment == "narrative" and REFUSED_TEXT.fullmatch(path)
    return bool(
        row.treatment == "refused" or text or BUILT.fullmatch(path) or CLOSED.fullmatch(path)
    )


def _nodes(bundle: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Every object that has rows: the way to it, its owner in the table, its path."""
    for number, entry in enumerate(bundle["entry"]):
        kind = entry["resource"]["resourceType"]
        yield from _below(entry["resource"], ("entry", number, "resource"), kind, kind)


def _below(
    node: dict[str, Any], steps: tuple[str | int, ...], owner: str, path: str
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    yield steps, owner, path
    for name, row in elements()[owner].items():
        if name in node and row.type in elements():
            value = node[name]
            items = enumerate(value) if isinstance(value, list) else [(None, value)]
            for place, item in items:
                way = (*steps, name) if place is None else (*steps, name, place)
                yield from _below(item, way, row.type, f"{path}.{name}")


def _sample(**changes: Any) -> dict[str, Any]:
    body = full_bundle(**{"entry": "refugio-sur-casa", **changes})
    patient = body["entry"][0]["resource"]
    coding = {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3"}
    patient["extension"].append(
        {
            "url": f"{US_CORE}/us-core-race",
            "extension": [
                {"url": "ombCategory", "valueCoding": dict(coding)},
                {"url": "detailed", "valueCoding": dict(coding)},
                {"url": "text", "valueString": "x"},
            ],
        }
    )
    for entry in body["entry"]:
        entry["_urn"] = entry["fullUrl"]
    return body


def _wanted(path: str, row: Element) -> bool:
    if row.treatment == "refused" or BUILT.fullmatch(path):
        return False
    if row.treatment == "narrative" and REFUSED_TEXT.fullmatch(path):
        return False
    return row.type not in PRIMITIVES or not CLOSED.fullmatch(path)


def grow(bundle: dict[str, Any]) -> None:
    """Add every element of the table that the sample lacks and the hub takes."""
    _grow(bundle, "Bundle", "Bundle", ())
    for entry in bundle["entry"]:
        kind = entry["resource"]["resourceType"]
        _grow(entry["resource"], kind, kind, ())


def _grow(node: dict[str, Any], owner: str, path: str, above: tuple[str, ...]) -> None:
    for name, row in elements()[owner].items():
        at = f"{path}.{name}"
        if row.type in {"Extension", "Resource", "integer", "boolean"} or name == "entry":
            continue
        if name not in node and _wanted(at, row):
            made = _new(row, at, (*above, owner))
            if made is not None:
                node[name] = [made] if row.many else made
        elif row.type not in PRIMITIVES and name in node:
            for item in node[name] if row.many else [node[name]]:
                if isinstance(item, dict):
                    _grow(item, row.type, at, (*above, owner))


def _new(row: Element, path: str, above: tuple[str, ...]) -> Any:
    if row.type in PRIMITIVES:
        return min(row.values) if row.values else "x"
    if row.type in above or row.type not in elements():
        return None
    made: dict[str, Any] = {}
    _grow(made, row.type, path, above)
    if row.type == "Narrative":
        made["status"] = "generated"
    return made or None


def fresh(bundle: dict[str, Any]) -> None:
    """Make it another case's: identities come again, cases and documents do not."""
    patient, request = (entry["resource"] for entry in bundle["entry"][:2])
    for one in (bundle["identifier"], request["requisition"], *patient["identifier"]):
        one["value"] += f"-{uuid4()}"


def objects(bundle: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every object below the resources with its path."""
    for entry in bundle["entry"]:
        kind = entry["resource"]["resourceType"]
        yield from _objects(entry["resource"], kind)


def _objects(node: Any, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    if isinstance(node, list):
        for item in node:
            yield from _objects(item, path)
    elif isinstance(node, dict):
        yield node, path
        for name, value in node.items():
            yield from _objects(value, f"{path}.{name}")


def leaves(bundle: dict[str, Any], *, everything: bool = False) -> list[Leaf]:
    """Every string field of the Bundle that is no binding of a short list (`everything`: too)."""
    found = list(_leaves(bundle, "Bundle", "Bundle", everything))
    for entry in bundle["entry"]:
        found += _leaves(entry, "Bundle.entry", "Bundle.entry", everything)
        kind = entry["resource"]["resourceType"]
        found += _leaves(entry["resource"], kind, kind, everything)
        found += _in_extensions(entry["resource"], kind)
    return [leaf for leaf in found if leaf.path != "Bundle.entry.fullUrl"]


def _leaves(node: dict[str, Any], owner: str, path: str, everything: bool) -> Iterator[Leaf]:
    for name, row in elements()[owner].items():
        if name not in node or row.type in {"Extension", "Resource"} or name == "entry":
            continue
        at, value = f"{path}.{name}", node[name]
        if row.type == "string" and (everything or not row.values):
            kind = _fhir_type(owner, name)
            if isinstance(value, list):
                yield from (Leaf(at, value, n, kind, f"{owner}.{name}") for n in range(len(value)))
            else:
                yield Leaf(at, node, name, kind, f"{owner}.{name}")
        elif row.type not in PRIMITIVES:
            for item in value if isinstance(value, list) else [value]:
                yield from _leaves(item, row.type, at, everything)


def _in_extensions(resource: dict[str, Any], kind: str) -> Iterator[Leaf]:
    """The open parts of extensions: US Core race and ethnicity, and the texts that are dropped."""
    for extension in resource.get("extension", []):
        name = extension["url"].rpartition("/")[2]
        for part in extension.get("extension", []):
            at = f"{kind}.extension({name}).{part['url']}"
            if "valueString" in part:
                yield Leaf(at, part, "valueString", "String")
            if name in {"us-core-race", "us-core-ethnicity"} and "valueCoding" in part:
                coding = part["valueCoding"]
                coding.setdefault("display", "x")
                for one, type_name in (("system", "Uri"), ("code", "Code"), ("display", "String")):
                    yield Leaf(f"{at}.{one}", coding, one, type_name)
