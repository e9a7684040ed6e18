"""One change to a native referral for each refusal of the mapping and of the rules.

A name that `bundles.MUTATIONS` has too is the same wrong said in FHIR: both are refused alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True)
class NativeMutation:
    """One change to the full native sample and the refusal it must get."""

    name: str
    code: str
    rule: str
    field: str
    change: Callable[[Any], None]
    minor: bool = False


def put(*path: Any, value: Any) -> Callable[[Any], None]:
    """Set a value deep in the document; `+` appends."""

    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        if path[-1] == "+":
            document.append(value)
        else:
            document[path[-1]] = value

    return change


def cut(*path: Any) -> Callable[[Any], None]:
    """Remove a value deep in the document."""

    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        del document[path[-1]]

    return change


def in_turn(*changes: Callable[[Any], None]) -> Callable[[Any], None]:
    """Several changes."""

    def change(document: Any) -> None:
        for one in changes:
            one(document)

    return change


def _tomorrow(document: Any) -> None:
    given = datetime.fromisoformat(document["consent"]["given_at"]) + timedelta(days=1)
    document["consent"]["given_at"] = given.isoformat()


ITEM = ("consent", "items", 0)
AT = "consent.items[0]"
TELECOM = ("person", "telecom", 0)
LIST, FORMAT = ("code-invalid", "not-in-list"), ("structure", "bad-format")


def _code(name: str, field: str, *path: Any, value: Any = "x") -> Any:
    return (name, *LIST, field, put(*path, value=value))


_ROWS: list[Any] = [
    # shape
    ("unknown name", "structure", "unknown-element", "person", put("person", "zzqx", value=1)),
    ("unknown part", "structure", "unknown-element", "", put("zzqx", value={})),
    ("integer as string", "structure", "wrong-type", "person.telecom[0].rank",
     put(*TELECOM, "rank", value="1")),
    ("boolean for a number", "structure", "wrong-type", "person.telecom[0].rank",
     put(*TELECOM, "rank", value=True)),
    ("number for a boolean", "structure", "wrong-type", "consent.linked_to_perpetrator",
     put("consent", "linked_to_perpetrator", value=0)),
    ("object where a list stands", "structure", "wrong-type", "person.names",
     put("person", "names", value={"family": "x"})),
    ("list where an object stands", "structure", "wrong-type", "case", put("case", value=[])),
    ("number in a list of texts", "structure", "wrong-type", "person.nationalities[0]",
     put("person", "nationalities", 0, value=7)),
    ("text in a list of objects", "structure", "wrong-type", "person.names[0]",
     put("person", "names", 0, value="x")),
    ("null", "structure", "null-value", "person.sex", put("person", "sex", value=None)),
    ("null in a list", "structure", "null-value", "person.names[0]",
     put("person", "names", 0, value=None)),
    ("empty list", "structure", "empty-value", "person.names", put("person", "names", value=[])),
    ("blank string", "structure", "empty-value", "person.names[0].family",
     put("person", "names", 0, "family", value=" ")),
    ("instant without zone", *FORMAT, "consent.given_at",
     put("consent", "given_at", value="2026-01-10T09:00:00")),
    ("day of no calendar", *FORMAT, "consent.valid_to",
     put("consent", "valid_to", value="2026-02-30")),
    ("seconds since 1970", "structure", "wrong-type", "consent.valid_to",
     put("consent", "valid_to", value=1_800_000_000)),
    ("not a date", *FORMAT, "person.birth_date", put("person", "birth_date", value="12/04/1998")),
    ("month that is none", *FORMAT, "case.opened_month",
     put("case", "opened_month", value="2026-13")),
    ("photo of no type", "required", "element", "person.photos[0].content_type",
     cut("person", "photos", 0, "content_type")),
    ("system that is no address", *FORMAT, "person.identifiers[0].system",
     put("person", "identifiers", 0, "system", value="people")),
    ("photo that is no base64", *FORMAT, "person.photos[0].data",
     put("person", "photos", 0, "data", value="¡x!")),
    ("approver that is a name", *FORMAT, "consent.approver",
     put("consent", "approver", value="Nombre Apellido")),
    ("words beside a diagnosis", "unsupported", "element", "case.conditions[0].text",
     put("case", "conditions", 0, "text", value="x")),
    ("a part is missing", "required", "element", "consent", cut("consent")),
    ("identifier without value", "required", "element", "person.identifiers[0].value",
     cut("person", "identifiers", 0, "value")),
    ("no owner", "required", "element", "referral.to_org", cut("referral", "to_org")),
    ("no performer", "required", "element", "referral.directory_entry",
     cut("referral", "directory_entry")),
    ("no service", "required", "element", "referral.service_type",
     cut("referral", "service_type")),
    ("no legal basis", "required", "element", "consent.legal_basis",
     cut("consent", "legal_basis")),
    ("no date of consent", "required", "element", "consent.given_at", cut("consent", "given_at")),
    # codes
    _code("unknown gender", "person.sex", "person", "sex"),
    _code("unknown phenomenon", "case.phenomenon", "case", "phenomenon"),
    _code("unknown service", "referral.service_type", "referral", "service_type"),
    _code("unknown priority", "referral.priority", "referral", "priority"),
    _code("unknown country", "person.nationalities[0]", "person", "nationalities", 0, value="XX1"),
    _code("unknown language", "person.languages[0]", "person", "languages", 0, value="español"),
    _code("unknown region", "person.admin1", "person", "admin1", value="Antioquia"),
    _code("unknown kinship", "person.relatives[0].relationship[0]",
          "person", "relatives", 0, "relationship", 0, value="su madre"),
    _code("unknown use of a name", "person.names[0].use", "person", "names", 0, "use"),
    _code("unknown decision", f"{AT}.decision", *ITEM, "decision"),
    _code("unknown category", f"{AT}.data_categories[0]", *ITEM, "data_categories", 0),
    _code("sensitive flag in an open field", "person.profile_flags[0]",
          "person", "profile_flags", 0, value="survivor_gbv"),
    ("unmapped condition", "code-invalid", "unmapped", "case.conditions[0]",
     put("case", "conditions", 0, value={"system": "http://snomed.info/sct", "code": "1"})),
    ("diagnosis in another category's field", "code-invalid", "unmapped", "case.conditions[0]",
     put("case", "conditions", 0, "code", value="T74.2")),
    # values
    ("born tomorrow", "value-invalid", "birth-date-future", "person.birth_date",
     put("person", "birth_date", value="2400-01-01")),
    ("age band of another age", "value-invalid", "contradiction", "person.birth_date",
     put("person", "age_band", value="age_0_5")),
    ("minor of age", "value-invalid", "contradiction", "person.is_minor",
     put("person", "is_minor", value=True)),
    ("categories that nobody permitted", "value-invalid", "contradiction",
     "referral.data_categories", put("referral", "data_categories", value=["family"])),
    ("due in the past", "value-invalid", "due-past", "referral.response_due",
     put("referral", "response_due", value="2020-01-01")),
    ("period backwards", "invariant", "period-order", f"{AT}.valid_to",
     in_turn(put(*ITEM, "valid_from", value="2030-01-02"),
             put(*ITEM, "valid_to", value="2030-01-01"))),
    ("telecom without system", "invariant", "contact-system", "person.telecom[0].system",
     cut(*TELECOM, "system")),
    ("referral that is not the sender's", "reference-invalid", "target", "referral.replaces",
     put("referral", "replaces", value="00000000-0000-4000-8000-00000000dead")),
    # consent
    ("consent in the future", "consent-future", "future", "consent.given_at",
     in_turn(_tomorrow, lambda d: d["consent"].pop("valid_from", None))),
    ("giver is nobody", "consent-giver", "giver", "consent.giver", cut("consent", "giver")),
    ("caregiver who is no relative given", "consent-giver", "giver", "consent.giver_relative",
     put("consent", "giver_relative", value=9), True),
    ("minor consents alone", "consent-minor-giver", "minor-giver", "consent.giver",
     put("consent", "giver", value="self"), True),
    ("minor without assent", "consent-assent", "assent", "consent.assent",
     cut("consent", "assent"), True),
    ("dissent", "consent-assent", "assent", "consent.assent",
     put("consent", "assent", value="dissented"), True),
    ("giver linked to perpetrator", "consent-perpetrator", "perpetrator",
     "consent.linked_to_perpetrator", put("consent", "linked_to_perpetrator", value=True)),
    ("unknown notice", "consent-notice", "notice", "consent.notice",
     put("consent", "notice", value="x/9")),
    ("notice not in that language", "consent-language", "language", "consent.language",
     put("consent", "language", value="de")),
    ("no form", "consent-form", "form", "consent.form", put("consent", "form", value="none")),
    ("other basis without reason", "consent-basis", "basis", "consent.reason_code",
     put("consent", "legal_basis", value="vital_interest")),
    ("no end", "consent-period", "period", "consent.valid_to", cut("consent", "valid_to")),
    ("longer than a year", "consent-period", "period", "consent.valid_to",
     put("consent", "valid_to", value="2100-01-01")),
    ("expired", "consent-expired", "expired", "consent.valid_to",
     in_turn(put("consent", "valid_to", value="2020-01-01"),
             put("consent", "given_at", value="2019-12-01"),
             lambda d: d["consent"].pop("valid_from", None))),
    ("in force years before it was given", "consent-period", "period", "consent.valid_from",
     in_turn(put("consent", "valid_from", value="1951-03-04"),
             put(*ITEM, "valid_from", value="1951-03-04"))),
    ("permit over before it begins", "invariant", "period-order", f"{AT}.valid_to",
     put(*ITEM, "valid_to", value="1951-03-04")),
    ("permit beyond the consent", "consent-item-period", "item-period", f"{AT}.valid_to",
     put(*ITEM, "valid_to", value="2100-01-01")),
    ("nothing permitted", "consent-no-permit", "no-permit", "consent.items",
     cut("consent", "items")),
    ("permit without actor", "consent-actor", "actor", f"{AT}.to_org", cut(*ITEM, "to_org")),
    ("permit to a kind", "consent-actor", "actor", f"{AT}.to_org",
     put(*ITEM, "to_kind", value="shelter")),
    ("permit without purpose", "consent-purpose", "purpose", f"{AT}.purpose",
     cut(*ITEM, "purpose")),
    ("permit without categories", "consent-codes", "codes", f"{AT}.data_categories",
     cut(*ITEM, "data_categories")),
    ("narrative not declared", "consent-narrative", "narrative", "case.narratives[0]",
     put(*ITEM, "data_categories", value=["contact"])),
]  # fmt: skip

NATIVE_MUTATIONS = tuple(NativeMutation(*row) for row in _ROWS)
"""Every refusal that reading a native referral can give, each by one change to the full sample."""
