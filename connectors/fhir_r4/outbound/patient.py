"""The Patient a recipient gets: under its own pseudonym, with exactly the released fields.

It guards that a name is masked where identity was not granted, and that of the person's
identifiers only documents leave, never the sender's own numbers.
"""

from typing import Any, Final

from connectors.fhir_r4.outbound.content import (
    Outgoing,
    Resource,
    concept,
    meta,
    pairwise,
    present,
)
from connectors.sdk.types import Address, Coded, Name, Person, Relative, Telecom
from schemas.codes import fhir_code, is_code

ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
NATIONALITY: Final = "http://hl7.org/fhir/StructureDefinition/patient-nationality"
GENDER_IDENTITY: Final = "http://hl7.org/fhir/StructureDefinition/patient-genderIdentity"
RACE: Final = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
IDENTIFIER_TYPE: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
MARITAL: Final = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
RELATIONSHIP: Final = "http://terminology.hl7.org/CodeSystem/v2-0131"
DOCUMENTS: Final = frozenset({"PPN", "NI", "DL", "PRC", "SS", "TAX", "BCT", "CZ", "VS"})
"""Kinds of identifier that are documents of the person and not numbers in somebody's system."""
GENDERS: Final = frozenset({"male", "female", "other", "unknown"})

CATEGORIES: Final = frozenset(
    {
        "biometric_or_image",
        "contact",
        "ethnicity",
        "family",
        "gender_identity_orientation",
        "identity",
        "location_precise",
        "pseudonymous_core",
    }
)
"""Data categories that a Patient shows; all others are told by the request."""


def patient(out: Outgoing) -> Resource:
    """The Patient resource, without id: the recipient's server gives one."""
    person = out.release.person
    masked = {"extension": [{"url": ABSENT, "valueCode": "masked"}]}
    return present(
        {
            "resourceType": "Patient",
            "meta": meta(out),
            "extension": _extensions(out, person),
            "identifier": _identifiers(out, person),
            "active": True,
            "name": [_name(n) for n in person.names] or [masked],
            "telecom": [_telecom(t) for t in person.telecom],
            "gender": _gender(person.sex),
            "birthDate": person.birth_date,
            "_birthDate": None if person.birth_date else masked,
            "address": _addresses(person),
            "maritalStatus": _coded(MARITAL, person.marital_status),
            "photo": [{"contentType": p.content_type, "data": p.data} for p in person.photos],
            "contact": [_contact(r) for r in person.relatives],
            "communication": [
                {"language": _coded("urn:ietf:bcp:47", lang)} for lang in person.languages
            ],
        }
    )


def _identifiers(out: Outgoing, person: Person) -> list[Resource]:
    own = {"use": "secondary", "system": pairwise(out.base, out.to_org), "value": out.pseudonym}
    documents = [i for i in person.identifiers if i.type in DOCUMENTS]
    return [own] + [
        present({"type": _coded(IDENTIFIER_TYPE, i.type), "system": i.system, "value": i.value})
        for i in documents
    ]


def _extensions(out: Outgoing, person: Person) -> list[Resource]:
    found: list[Resource] = [
        {
            "url": NATIONALITY,
            "extension": [
                {"url": "code", "valueCodeableConcept": _coded("urn:iso:std:iso:3166", country)}
            ],
        }
        for country in person.nationalities
    ]
    if person.gender_identity is not None:
        value = concept(out, "gender_identity", person.gender_identity)
        found.append({"url": GENDER_IDENTITY, "valueCodeableConcept": value})
    if person.ethnicity:
        parts = [{"url": "detailed", "valueCoding": coding(c)} for c in person.ethnicity]
        found.append({"url": RACE, "extension": parts})
    return found


def coding(coded: Coded) -> Resource:
    """A coded fact as it came, without free text."""
    return {"system": coded.system, "code": coded.code}


def _coded(system: str, code: str | None) -> Resource | None:
    return {"coding": [{"system": system, "code": code}]} if code else None


def _gender(sex: str | None) -> str | None:
    if sex is None or not is_code("sex", sex):
        return None
    code = (fhir_code("sex", sex) or sex).rpartition(" ")[2]
    return code if code in GENDERS else "other"


def _name(name: Name) -> Resource:
    return present(
        {
            "use": name.use,
            "text": name.text,
            "family": name.family,
            "given": list(name.given),
            "prefix": list(name.prefix),
            "suffix": list(name.suffix),
        }
    )


def _telecom(item: Telecom) -> Resource:
    return present({"system": item.system, "value": item.value, "use": item.use, "rank": item.rank})


def _address(item: Address) -> Resource:
    return present(
        {
            "use": item.use,
            "text": item.text,
            "line": list(item.line),
            "city": item.city,
            "district": item.district,
            "postalCode": item.postal_code,
        }
    )


def _addresses(person: Person) -> list[Resource]:
    area: dict[str, Any] = present({"state": person.admin1, "country": person.country})
    if person.addresses:
        return [_address(a) | area for a in person.addresses]
    return [area] if area else []


def _contact(relative: Relative) -> Resource:
    return present(
        {
            "relationship": [_coded(RELATIONSHIP, code) for code in relative.relationship],
            "name": _name(relative.names[0]) if relative.names else None,
            "telecom": [_telecom(t) for t in relative.telecom],
            "address": _address(relative.addresses[0]) if relative.addresses else None,
            "gender": _gender(relative.sex),
        }
    )
