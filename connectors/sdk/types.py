"""The identified types: what a partner's message says about a person, in process only.

They are the native JSON of `POST /v1/referrals` and the target of every connector's mapping.
There is no Avro schema for them, so no codec can put one on a topic. Each field that may be
disclosed carries its data category (`wire.md` §6); `split` cuts a submission into the vault's
record by those annotations and `Release` holds what a grant let out of it. Rules (what is
required, what may be sent) live in the gateway.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Category:
    """The `data_category` under which a field may be disclosed."""

    code: str


class Model(BaseModel):
    """Base of the identified types: unknown names are refused, values never appear in `repr`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __repr__(self) -> str:
        """Name the type alone: an identified value must not reach a log by accident."""
        return f"<{type(self).__name__}>"

    __str__ = __repr__


class Identifier(Model):
    """A business identifier in its issuer's system (document number, partner's own number)."""

    system: str | None = None
    value: str
    type: str | None = None


class Name(Model):
    """A person's name as given."""

    use: str | None = None
    text: str | None = None
    family: str | None = None
    given: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()


class Telecom(Model):
    """A way to reach somebody: FHIR ContactPoint system, value, use."""

    system: str | None = None
    value: str | None = None
    use: str | None = None
    rank: int | None = None


class Address(Model):
    """An address below admin1; country and admin1 stand in `Person`."""

    use: str | None = None
    text: str | None = None
    line: tuple[str, ...] = ()
    city: str | None = None
    district: str | None = None
    postal_code: str | None = None


class Relative(Model):
    """A family member or other third party: caregiver, guardian, emergency contact."""

    relationship: tuple[str, ...] = ()
    names: tuple[Name, ...] = ()
    telecom: tuple[Telecom, ...] = ()
    addresses: tuple[Address, ...] = ()
    sex: str | None = None
    birth_date: str | None = None


class Photo(Model):
    """An image of the person, base64 as given."""

    content_type: str | None = None
    data: str | None = None


class Coded(Model):
    """A coded fact with the code system it is from."""

    system: str
    code: str
    text: str | None = None


Core = Category("pseudonymous_core")
Identity = Category("identity")
Contact = Category("contact")
Exploitation = Category("exploitation_details")


class Person(Model):
    """The person the case is about. Absent stays absent; `unknown` is a code of its own."""

    identifiers: Annotated[tuple[Identifier, ...], Identity] = ()
    names: Annotated[tuple[Name, ...], Identity] = ()
    birth_date: Annotated[str | None, Identity] = None
    sex: Annotated[str | None, Core] = None
    age_band: Annotated[str | None, Core] = None
    is_minor: Annotated[bool | None, Core] = None
    nationalities: Annotated[tuple[str, ...], Core] = ()
    languages: Annotated[tuple[str, ...], Core] = ()
    marital_status: Annotated[str | None, Core] = None
    country: Annotated[str | None, Core] = None
    admin1: Annotated[str | None, Core] = None
    population_type: Annotated[str | None, Core] = None
    profile_flags: Annotated[tuple[str, ...], Core] = ()
    gender_identity: Annotated[str | None, Category("gender_identity_orientation")] = None
    gender_identity_flags: Annotated[tuple[str, ...], Category("gender_identity_orientation")] = ()
    ethnicity: Annotated[tuple[Coded, ...], Category("ethnicity")] = ()
    ethnicity_flags: Annotated[tuple[str, ...], Category("ethnicity")] = ()
    sexual_violence_flags: Annotated[tuple[str, ...], Category("sexual_violence")] = ()
    migration_status: Annotated[str | None, Category("migration_status")] = None
    telecom: Annotated[tuple[Telecom, ...], Contact] = ()
    addresses: Annotated[tuple[Address, ...], Category("location_precise")] = ()
    relatives: Annotated[tuple[Relative, ...], Category("family")] = ()
    photos: Annotated[tuple[Photo, ...], Category("biometric_or_image")] = ()


class Case(Model):
    """The coded facts of the case.

    `requisition` is the sender's own case number and is never disclosed.
    """

    requisition: Identifier | None = None
    confidentiality: str | None = None
    opened_month: Annotated[str | None, Core] = None
    risk_level: Annotated[str | None, Core] = None
    phenomenon: Annotated[str | None, Exploitation] = None
    trafficking_status: Annotated[str | None, Exploitation] = None
    smuggling_status: Annotated[str | None, Exploitation] = None
    exploitation_types: Annotated[tuple[str, ...], Exploitation] = ()
    exploitation_conditions: Annotated[tuple[Coded, ...], Exploitation] = ()
    conditions: Annotated[tuple[Coded, ...], Category("health")] = ()
    sexual_violence_conditions: Annotated[tuple[Coded, ...], Category("sexual_violence")] = ()
    narratives: Annotated[tuple[str, ...], Category("experience_narrative")] = ()


class ConsentItem(Model):
    """One permit or deny: a permit names one organisation, one purpose and its categories."""

    decision: str
    purpose: str | None = None
    to_org: str | None = None
    to_kind: str | None = None
    data_categories: tuple[str, ...] = ()
    valid_from: datetime | None = None
    valid_to: datetime | None = None


class Consent(Model):
    """The consent as submitted (`wire.md` §2). `giver_relative` indexes `Person.relatives`."""

    notice: str | None = None
    language: str | None = None
    form: str | None = None
    collected_by_role: str | None = None
    giver: str | None = None
    giver_relative: int | None = None
    assent: str | None = None
    linked_to_perpetrator: bool | None = None
    legal_basis: str | None = None
    reason_code: str | None = None
    approver: str | None = None
    given_at: datetime | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    items: tuple[ConsentItem, ...] = ()


class Referral(Model):
    """The request itself: a person chose `to_org` and, where given, its directory entry."""

    to_org: str | None = None
    service_type: str | None = None
    directory_entry: str | None = None
    priority: str | None = None
    special_requirements: tuple[str, ...] = ()
    data_categories: tuple[str, ...] = ()
    response_due: datetime | None = None
    replaces: str | None = None
    onward_of: str | None = None
    task_identifiers: tuple[Identifier, ...] = ()
    request_identifiers: tuple[Identifier, ...] = ()


class Submission(Model):
    """One referral as submitted: `{case, person, consent, referral}`."""

    case: Case
    person: Person
    consent: Consent
    referral: Referral


class Release(Model):
    """What the vault let out under a grant: only fields of the granted categories are set."""

    person: Person = Person()
    case: Case = Case()


def _fields(model: type[Model]) -> Iterable[tuple[str, str]]:
    for name, field in model.model_fields.items():
        for note in field.metadata:
            if isinstance(note, Category):
                yield name, note.code


def category_of(field: str) -> str:
    """The data category of a field as `part.field`; KeyError for one that is never disclosed."""
    return _categories()[field]


@cache
def _categories() -> Mapping[str, str]:
    parts: tuple[tuple[str, type[Model]], ...] = (("person", Person), ("case", Case))
    return {f"{part}.{name}": code for part, model in parts for name, code in _fields(model)}


def split(person: Person, case: Case) -> dict[str, dict[str, dict[str, Any]]]:
    """Cut person and case into `{category:

    {"person"|"case": {field: value}}}`; absent fields are left out.
    """
    record: dict[str, dict[str, dict[str, Any]]] = {}
    for part, model in (("person", person), ("case", case)):
        dumped = model.model_dump(mode="json", exclude_defaults=True)
        for name, category in _fields(type(model)):
            if name in dumped:
                record.setdefault(category, {}).setdefault(part, {})[name] = dumped[name]
    return record


def categories_of(person: Person, case: Case) -> tuple[str, ...]:
    """The data categories that hold anything, sorted."""
    return tuple(sorted(split(person, case)))


def select(
    record: Mapping[str, Mapping[str, Mapping[str, Any]]], categories: Iterable[str]
) -> Release:
    """Join the named categories of a record again; any other category is absent, not null."""
    parts: dict[str, dict[str, Any]] = {"person": {}, "case": {}}
    for category in categories:
        for part, fields in record.get(category, {}).items():
            parts[part].update(fields)
    return Release.model_validate(parts)
