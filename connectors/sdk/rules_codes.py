"""Which codes and formats each field of the identified types may hold, format by format alike.

Guards that a code is from its list, that a flag or a condition stands in the field of its own data
category, and that no coded field carries free text. Rules between fields are in `rules`.
"""

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from connectors.sdk.report import Report
from connectors.sdk.tables import condition_field, countries, flag_field, pairs
from connectors.sdk.times import DATE, first_day
from connectors.sdk.types import (
    Address,
    Case,
    Coded,
    Consent,
    ConsentItem,
    Identifier,
    Model,
    Name,
    Person,
    Referral,
    Relative,
    Telecom,
)
from schemas.codes import codes

LANGUAGE = re.compile(r"[a-z]{2,3}")
ADMIN1 = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")
RELATIONSHIP = re.compile(r"[A-Z0-9]{1,12}")
MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")
ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
"""A system that says the same everywhere; a relative one would make what we deliver invalid."""
TOKEN = re.compile(r"[a-z0-9][a-z0-9._-]{1,63}")
MARITAL_CODES = frozenset({"A", "C", "D", "I", "L", "M", "P", "S", "T", "U", "W"})
GIVERS = frozenset({"self", "caregiver", "legal_guardian"})
DECISIONS = frozenset({"permit", "deny"})
GENDERS = frozenset({"male", "female", "other", "unknown"})
NAME_USES = frozenset({"usual", "official", "temp", "nickname", "anonymous", "old", "maiden"})
ADDRESS_USES = frozenset({"home", "work", "temp", "old", "billing"})
TELECOM_SYSTEMS = frozenset({"phone", "fax", "email", "pager", "url", "sms", "other"})
TELECOM_USES = frozenset({"home", "work", "temp", "old", "mobile"})
RANKS = range(1, 2**31)

Check = tuple[str, Callable[[str], bool], tuple[str, str]]
"""Field, what its value (each of its values) must satisfy, and what is wrong otherwise."""
NOT_IN_LIST = ("code-invalid", "not-in-list")
BAD_FORMAT = ("structure", "bad-format")


def _listed(field: str, enum: str) -> Check:
    return field, frozenset(codes(enum)).__contains__, NOT_IN_LIST


def _matches(field: str, pattern: re.Pattern[str], wrong: tuple[str, str] = NOT_IN_LIST) -> Check:
    return field, lambda value: pattern.fullmatch(value) is not None, wrong


def _flags(field: str) -> Check:
    known = frozenset(flag for flag in codes("profile_flag") if flag_field(flag) == field)
    return field, known.__contains__, NOT_IN_LIST


def _is_date(value: str) -> bool:
    try:
        return DATE.fullmatch(value) is not None and first_day(value) is not None
    except ValueError:
        return False


def _is_base64(value: str) -> bool:
    try:
        return bool(b64decode("".join(value.split()), validate=True))
    except (Error, ValueError):
        return False


def _of_parts() -> dict[type[Model], tuple[Check, ...]]:
    """Names, addresses, contact points and relatives."""
    return {
        Relative: (
            _matches("relationship", RELATIONSHIP),
            ("sex", GENDERS.__contains__, NOT_IN_LIST),
            ("birth_date", _is_date, BAD_FORMAT),
        ),
        Name: (("use", NAME_USES.__contains__, NOT_IN_LIST),),
        Address: (("use", ADDRESS_USES.__contains__, NOT_IN_LIST),),
        Telecom: (
            ("system", TELECOM_SYSTEMS.__contains__, NOT_IN_LIST),
            ("use", TELECOM_USES.__contains__, NOT_IN_LIST),
        ),
    }


@cache
def _checks() -> Mapping[type[Model], tuple[Check, ...]]:
    country = frozenset(countries().values()).__contains__
    own = {
        name: frozenset(pairs(name, "code", "label_en")).__contains__
        for name in ("collector_roles", "basis_reasons")
    }
    return {
        Person: (
            ("birth_date", _is_date, BAD_FORMAT),
            _listed("sex", "sex"),
            _listed("age_band", "age_band"),
            ("nationalities", country, NOT_IN_LIST),
            _matches("languages", LANGUAGE),
            ("marital_status", MARITAL_CODES.__contains__, NOT_IN_LIST),
            ("country", country, NOT_IN_LIST),
            _matches("admin1", ADMIN1),
            _listed("population_type", "population_type"),
            _flags("profile_flags"),
            _listed("gender_identity", "gender_identity"),
            _flags("gender_identity_flags"),
            _flags("ethnicity_flags"),
            _flags("sexual_violence_flags"),
            _listed("migration_status", "migration_status"),
        ),
        Case: (
            _listed("confidentiality", "confidentiality"),
            _matches("opened_month", MONTH, BAD_FORMAT),
            _listed("risk_level", "risk_level"),
            _listed("phenomenon", "phenomenon"),
            _listed("trafficking_status", "trafficking_status"),
            _listed("smuggling_status", "smuggling_status"),
            _listed("exploitation_types", "exploitation_type"),
        ),
        Consent: (
            _listed("form", "consent_form"),
            ("collected_by_role", own["collector_roles"], NOT_IN_LIST),
            ("giver", GIVERS.__contains__, NOT_IN_LIST),
            _listed("assent", "assent_status"),
            _listed("legal_basis", "legal_basis"),
            ("reason_code", own["basis_reasons"], NOT_IN_LIST),
            _matches("approver", TOKEN, BAD_FORMAT),
        ),
        ConsentItem: (
            ("decision", DECISIONS.__contains__, NOT_IN_LIST),
            _listed("purpose", "purpose"),
            _listed("to_kind", "org_type"),
            _listed("data_categories", "data_category"),
        ),
        Referral: (
            _listed("service_type", "service_type"),
            _listed("priority", "priority"),
            _listed("special_requirements", "special_requirement"),
        ),
        **_of_parts(),
    }


def check_codes(model: Model, path: str, report: Report) -> None:
    """Each coded field of one object against its list or format."""
    for name, known, (code, rule) in _checks()[type(model)]:
        value = getattr(model, name)
        if value is None or value == ():
            continue
        if isinstance(value, str):
            if not known(value):
                report.add(code, f"{path}.{name}", rule)
            continue
        for place, one in enumerate(value):
            if not known(one):
                report.add(code, f"{path}.{name}[{place}]", rule)


def check_person(person: Person, report: Report) -> None:
    """Everything about the person that is coded or has a format."""
    check_codes(person, "person", report)
    _identifiers(person.identifiers, "person.identifiers", report)
    _each(person.names, "person.names", report)
    _each(person.addresses, "person.addresses", report)
    _telecom(person.telecom, "person.telecom", report)
    _coded(person.ethnicity, "person.ethnicity", lambda _: True, report)
    for place, relative in enumerate(person.relatives):
        at = f"person.relatives[{place}]"
        check_codes(relative, at, report)
        _each(relative.names, f"{at}.names", report)
        _each(relative.addresses, f"{at}.addresses", report)
        _telecom(relative.telecom, f"{at}.telecom", report)
    for place, photo in enumerate(person.photos):
        if photo.data is None:
            report.add("required", f"person.photos[{place}].data", "element")
        elif not _is_base64(photo.data):
            report.add("structure", f"person.photos[{place}].data", "bad-format")
        if photo.data is not None and not photo.content_type:
            report.add("required", f"person.photos[{place}].content_type", "element")


def check_case(case: Case, report: Report) -> None:
    """Everything about the case that is coded or has a format."""
    check_codes(case, "case", report)
    if case.requisition is not None:
        _identifiers((case.requisition,), "case.requisition", report)
    for field in ("conditions", "exploitation_conditions", "sexual_violence_conditions"):
        _coded(getattr(case, field), f"case.{field}", _belongs(field), report)


def check_referral(referral: Referral, report: Report) -> None:
    """Everything about the request that is coded or has a format."""
    check_codes(referral, "referral", report)
    _identifiers(referral.task_identifiers, "referral.task_identifiers", report)
    _identifiers(referral.request_identifiers, "referral.request_identifiers", report)


def _belongs(field: str) -> Callable[[Coded], bool]:
    return lambda one: condition_field(one.system, one.code) == field


def _each(models: Iterable[Model], path: str, report: Report) -> None:
    for place, model in enumerate(models):
        check_codes(model, f"{path}[{place}]", report)


def _identifiers(found: tuple[Identifier, ...], path: str, report: Report) -> None:
    for place, one in enumerate(found):
        at = path if path.endswith("requisition") else f"{path}[{place}]"
        if not one.value.strip():
            report.add("required", f"{at}.value", "element")
        if one.system is not None and not ABSOLUTE.fullmatch(one.system):
            report.add("structure", f"{at}.system", "bad-format")


def _telecom(found: tuple[Telecom, ...], path: str, report: Report) -> None:
    for place, one in enumerate(found):
        at = f"{path}[{place}]"
        check_codes(one, at, report)
        if one.value is None:
            report.add("required", f"{at}.value", "element")
        elif one.system is None:
            report.add("invariant", f"{at}.system", "contact-system")
        if one.rank is not None and one.rank not in RANKS:
            report.add("structure", f"{at}.rank", "bad-format")


def _coded(
    found: tuple[Coded, ...], path: str, known: Callable[[Coded], bool], report: Report
) -> None:
    """A code that some row knows, in the field of its category, and no words of anybody."""
    for place, one in enumerate(found):
        if one.text is not None:
            report.add("unsupported", f"{path}[{place}].text", "element")
        if not ABSOLUTE.fullmatch(one.system):
            report.add("structure", f"{path}[{place}].system", "bad-format")
        if not known(one):
            report.add("code-invalid", f"{path}[{place}]", "unmapped")
