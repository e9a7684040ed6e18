"""Patient, its contacts and RelatedPersons → `Person`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from connectors.fhir_r4.inbound.bundle import Entries, Entry
from connectors.fhir_r4.inbound.extensions import Found, read_extensions
from connectors.fhir_r4.inbound.values import identifiers
from connectors.sdk.report import Report
from connectors.sdk.tables import countries, flag_field
from connectors.sdk.types import Address, Coded, Name, Person, Photo, Relative, Telecom

GENDER_IDENTITY = "http://hl7.org/fhir/StructureDefinition/patient-genderIdentity"
NATIONALITY = "http://hl7.org/fhir/StructureDefinition/patient-nationality"
ETHNICITY = tuple(
    f"http://hl7.org/fhir/us/core/StructureDefinition/us-core-{kind}"
    for kind in ("race", "ethnicity")
)
MARITAL = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
MARITAL_CODES = frozenset({"A", "C", "D", "I", "L", "M", "P", "S", "T", "U", "W"})
RELATIONSHIP_SYSTEMS = (
    "http://terminology.hl7.org/CodeSystem/v3-RoleCode",
    "http://terminology.hl7.org/CodeSystem/v2-0131",
)
LANGUAGE_SYSTEM = "urn:ietf:bcp:47"
LANGUAGE = re.compile(r"([a-z]{2,3})(?:-[A-Za-z0-9]{2,8})*")
ADMIN1 = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")
RELATIONSHIP = re.compile(r"[A-Z0-9]{1,12}")


def to_person(entries: Entries, facts: Found, report: Report) -> Person:
    """The person of the Bundle with the case facts that belong to the person."""
    patient, path = entries.one("Patient").resource, entries.one("Patient").path
    more = read_extensions(patient, "Patient", path, entries.canonical_base, report)
    country, admin1 = _area(patient.get("address", []), path, report)
    return Person(
        identifiers=identifiers(patient.get("identifier", []), f"{path}.identifier", report),
        names=tuple(_name(name) for name in patient.get("name", [])),
        birth_date=patient.get("birthDate"),
        sex=_sex(patient.get("gender"), facts, path, report),
        age_band=_first(facts, "age_band"),
        nationalities=tuple(_nationalities(more, path, report)),
        languages=tuple(_languages(patient.get("communication", []), path, report)),
        marital_status=_marital(patient.get("maritalStatus"), path, report),
        country=country,
        admin1=admin1,
        population_type=_first(facts, "population_type"),
        gender_identity=_first(more, GENDER_IDENTITY),
        ethnicity=tuple(_ethnicity(more)),
        migration_status=_first(facts, "migration_status"),
        telecom=_telecom(patient.get("telecom", []), f"{path}.telecom", report),
        addresses=_addresses(patient.get("address", [])),
        relatives=tuple(_relatives(entries, report)),
        photos=_photos(patient.get("photo", []), path, report),
        **_flags(facts),
    )


def relatives_in_order(entries: Entries) -> tuple[Entry, ...]:
    """RelatedPersons in the order in which they stand first in `Person.relatives`."""
    return entries.by_kind["RelatedPerson"]


def _first(found: Found, name: str) -> Any:
    return next(iter(found.get(name, ())), None)


def _sex(gender: str | None, facts: Found, path: str, report: Report) -> str | None:
    """`other` says neither sex nor intersex: it stays unknown unless the case facts say more."""
    given: str | None = _first(facts, "sex")
    if gender is None:
        return given
    if gender == "other":
        return given or "unknown"
    if given not in (None, gender):
        report.add("value-invalid", f"{path}.gender", "contradiction")
    return gender


def _name(node: Mapping[str, Any]) -> Name:
    many = {key: tuple(node.get(key, ())) for key in ("given", "prefix", "suffix")}
    return Name(use=node.get("use"), text=node.get("text"), family=node.get("family"), **many)


def _nationalities(more: Found, path: str, report: Report) -> Iterable[str]:
    for parts in more.get(NATIONALITY, []):
        if "code" in parts:
            yield parts["code"][0]
        else:
            report.add("required", f"{path}.extension", "element")


def _ethnicity(more: Found) -> Iterable[Coded]:
    for url in ETHNICITY:
        for parts in more.get(url, []):
            for coding in (*parts.get("ombCategory", ()), *parts.get("detailed", ())):
                yield Coded(system=coding["system"], code=coding["code"])


def _languages(nodes: list[Mapping[str, Any]], path: str, report: Report) -> Iterable[str]:
    for place, node in enumerate(nodes):
        codings = node.get("language", {}).get("coding", [])
        texts = [c.get("code", "") for c in codings if c.get("system") == LANGUAGE_SYSTEM]
        matched = LANGUAGE.fullmatch(texts[0]) if len(texts) == 1 else None
        if matched is None:
            report.add("code-invalid", f"{path}.communication[{place}].language", "not-in-list")
        else:
            yield matched.group(1)


def _marital(node: Mapping[str, Any] | None, path: str, report: Report) -> str | None:
    if node is None:
        return None
    for coding in node.get("coding", []):
        if coding.get("system") == MARITAL and coding.get("code") in MARITAL_CODES:
            return str(coding["code"])
    report.add("code-invalid", f"{path}.maritalStatus", "not-in-list")
    return None


def _area(
    addresses: list[Mapping[str, Any]], path: str, report: Report
) -> tuple[str | None, str | None]:
    """Country and admin1 of the current address: the first that is not an old one."""
    found: list[tuple[str | None, str | None]] = []
    for place, node in enumerate(addresses):
        country, state = node.get("country"), node.get("state")
        if country is not None and country not in countries():
            report.add("code-invalid", f"{path}.address[{place}].country", "not-in-list")
        elif state is not None and not ADMIN1.fullmatch(state):
            report.add("code-invalid", f"{path}.address[{place}].state", "not-in-list")
        elif (country or state) and node.get("use") != "old":
            found.append((countries()[country] if country else None, state))
    return found[0] if found else (None, None)


def _telecom(nodes: list[Mapping[str, Any]], path: str, report: Report) -> tuple[Telecom, ...]:
    found = []
    for place, node in enumerate(nodes):
        if "value" not in node:
            report.add("required", f"{path}[{place}].value", "element")
        elif "system" not in node:
            report.add("invariant", f"{path}[{place}].system", "contact-system")
        else:
            found.append(
                Telecom(
                    system=node["system"],
                    value=node["value"],
                    use=node.get("use"),
                    rank=node.get("rank"),
                )
            )
    return tuple(found)


def _addresses(nodes: Iterable[Mapping[str, Any]]) -> tuple[Address, ...]:
    """The parts below admin1; an address that has none of them is left out."""
    found = (
        Address(
            text=node.get("text"),
            line=tuple(node.get("line", ())),
            city=node.get("city"),
            district=node.get("district"),
            postal_code=node.get("postalCode"),
        )
        for node in nodes
    )
    empty = Address()
    pairs_of = zip(found, nodes, strict=True)
    return tuple(a.model_copy(update={"use": n.get("use")}) for a, n in pairs_of if a != empty)


def _photos(nodes: list[Mapping[str, Any]], path: str, report: Report) -> tuple[Photo, ...]:
    found = []
    for place, node in enumerate(nodes):
        if "data" not in node:
            report.add("required", f"{path}.photo[{place}].data", "element")
        else:
            found.append(Photo(content_type=node.get("contentType"), data=node["data"]))
    return tuple(found)


def _relationships(nodes: list[Mapping[str, Any]], path: str, report: Report) -> tuple[str, ...]:
    found = []
    for place, node in enumerate(nodes):
        codings = node.get("coding", [])
        known = [c.get("code", "") for c in codings if c.get("system") in RELATIONSHIP_SYSTEMS]
        if not known or not RELATIONSHIP.fullmatch(known[0]):
            report.add("code-invalid", f"{path}[{place}]", "not-in-list")
        else:
            found.append(known[0])
    return tuple(found)


def _relatives(entries: Entries, report: Report) -> Iterable[Relative]:
    for entry in relatives_in_order(entries):
        yield _related_person(entry, entries, report)
    patient = entries.one("Patient")
    for place, node in enumerate(patient.resource.get("contact", [])):
        path = f"{patient.path}.contact[{place}]"
        yield Relative(
            relationship=_relationships(
                node.get("relationship", []), f"{path}.relationship", report
            ),
            names=(_name(node["name"]),) if "name" in node else (),
            telecom=_telecom(node.get("telecom", []), f"{path}.telecom", report),
            addresses=_addresses([node["address"]] if "address" in node else []),
            sex=node.get("gender"),
        )


def _related_person(entry: Entry, entries: Entries, report: Report) -> Relative:
    node, path = entry.resource, entry.path
    target = entries.resolve(node["patient"], f"{path}.patient", report)
    if target is not None and target.kind != "Patient":
        report.add("reference-invalid", f"{path}.patient", "target")
    return Relative(
        relationship=_relationships(node.get("relationship", []), f"{path}.relationship", report),
        names=tuple(_name(name) for name in node.get("name", [])),
        telecom=_telecom(node.get("telecom", []), f"{path}.telecom", report),
        addresses=_addresses(node.get("address", [])),
        sex=node.get("gender"),
        birth_date=node.get("birthDate"),
    )


def _flags(facts: Found) -> dict[str, tuple[str, ...]]:
    """Profile flags by the data category that their table gives them."""
    found: dict[str, tuple[str, ...]] = {}
    for flag in dict.fromkeys(facts.get("profile_flag", ())):
        field = flag_field(flag)
        found[field] = (*found.get(field, ()), flag)
    return found
