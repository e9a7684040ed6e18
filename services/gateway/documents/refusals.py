"""Which refusals an operation may answer with, and examples of them from the catalogue."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from services.gateway.operation import Operation
from services.kit.errors import Fault, Language, Refusal, catalogue, outcome, problem

Kind = Literal["fhir", "native", "oauth", "registry"]
Row = Refusal

EXAMPLE_ID: Final = "00000000-0000-4000-8000-000000000000"
EXAMPLE_BASE: Final = "https://cauce.example/fhir"
LANGUAGES: Final[tuple[Language, ...]] = ("es", "en", "pt")
_OF_PARTNER: Final = (
    ("login", "token-missing"),
    ("login", "token-invalid"),
    ("login", "token-expired"),
    ("forbidden", "partner"),
    ("not-supported", "parameter"),
    ("throttled", "rate"),
)
_UNAVAILABLE: Final = ("transient", "unavailable")
_OF_BODY: Final = (("media-type", "media-type"), ("too-large", "size"))
_OF_OAUTH: Final = frozenset(
    {"invalid_client", "invalid_request", "invalid_scope", "unsupported_grant_type"}
)


def kind_of(one: Operation) -> Kind:
    """How an operation tells its refusals."""
    if one.path == "/oauth/token":
        return "oauth"
    if one.tag == "schemas":
        return "registry"
    return "fhir" if one.is_fhir else "native"


def applying(one: Operation) -> list[Row]:
    """Every refusal that an operation may answer with: its own first, each once."""
    rows = catalogue()
    return [rows[key] for key in dict.fromkeys((*one.refusals, *_common(one)))]


def _common(one: Operation) -> Iterator[tuple[str, str]]:
    """What an operation may answer with for what it is, whatever it does."""
    kind = kind_of(one)
    if kind == "oauth":
        yield from (key for key in catalogue() if key[0] in _OF_OAUTH)
        yield from (("too-large", "size"), _UNAVAILABLE)
        return
    if not one.for_anyone:
        yield from _OF_PARTNER
        yield _UNAVAILABLE
        if kind != "registry":
            yield ("not-acceptable", "accept")
    if one.scopes:
        yield ("forbidden", "scope")
    if one.method in ("POST", "PUT", "PATCH"):
        yield from _OF_BODY
    if one.request is not None or one.method == "PATCH":
        yield from (key for key in catalogue() if key[0] == "malformed")


def example_name(kind: str, row: Row, lang: Language | str) -> str:
    """Name of an example among the components."""
    return f"{kind}.{row.code}.{row.rule}.{lang}"


def examples(operations: Iterable[Operation]) -> dict[str, Any]:
    """The first refusal of each status of each operation, in three languages."""
    made: dict[str, Any] = {}
    for one in operations:
        kind = kind_of(one)
        if kind == "registry":
            continue
        firsts: dict[int, Row] = {}
        for row in applying(one):
            firsts.setdefault(row.http, row)
        for row in firsts.values():
            for lang in LANGUAGES:
                value = {"summary": row.texts[lang], "value": _example(kind, row, lang)}
                made[example_name(kind, row, lang)] = value
    return dict(sorted(made.items()))


def _example(kind: Kind, row: Row, lang: Language) -> dict[str, Any]:
    field = row.field if row.field != "*" else ""
    faults = [Fault(row.code, field, row.rule)]
    if kind == "fhir":
        return outcome(faults, EXAMPLE_ID, lang, EXAMPLE_BASE)
    if kind == "native":
        return problem(faults, EXAMPLE_ID, lang)
    told = {"error": row.code, "error_rule": row.rule, "error_description": row.texts[lang]}
    return told | ({"error_field": field} if field else {})
