"""Which refusals an operation may answer with, and examples of them from the catalogue."""

from collections.abc import Iterable
from typing import Any, Final, Literal

from services.gateway.operation import Operation
from services.kit.errors import Fault, Language, Refusal, catalogue, outcome, problem

Kind = Literal["fhir", "native", "oauth", "registry"]
Row = Refusal

EXAMPLE_ID: Final = "00000000-0000-4000-8000-000000000000"
EXAMPLE_BASE: Final = "https://cauce.example/fhir"
LANGUAGES: Final[tuple[Language, ...]] = ("es", "en", "pt")
_OF_TOKEN: Final = (
    ("login", "token-missing"),
    ("login", "token-invalid"),
    ("login", "token-expired"),
    ("forbidden", "partner"),
    ("forbidden", "scope"),
    ("not-acceptable", "accept"),
    ("not-supported", "parameter"),
    ("throttled", "rate"),
)
_OF_ALL: Final = (("transient", "unavailable"),)
_OF_BODY_CODES: Final = frozenset({"malformed", "structure"})
_OF_BODY: Final = (("media-type", "media-type"), ("too-large", "size"))
_OF_OAUTH: Final = frozenset(
    {"invalid_client", "invalid_request", "invalid_scope", "unsupported_grant_type"}
)
_OF_SUBMIT: Final = frozenset({"duplicate", "in-progress"})
_OF_CHANGE: Final = (
    ("precondition-required", "if-match"),
    ("conflict", "version"),
    ("forbidden", "field"),
    ("illegal-transition", "from-state"),
    ("illegal-transition", "not-yours"),
    ("reason-required", "status-reason"),
    ("outcome-required", "output"),
    ("patch-invalid", "operation"),
    ("suppressed", "consent"),
    ("already-inactive", "consent"),
    ("consent-widening", "new-consent"),
    ("unsupported", "element"),
    ("value-invalid", "fixed-value"),
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
    keys = dict.fromkeys((*one.refusals, *_OF_ALL))
    kind = kind_of(one)
    if kind == "registry":
        keys |= dict.fromkeys((*_OF_TOKEN[:4], ("not-found", "resource"), *_OF_TOKEN[6:]))
        return [rows[key] for key in keys]
    if kind == "oauth":
        keys |= dict.fromkeys(k for k in rows if k[0] in _OF_OAUTH)
        keys |= dict.fromkeys((("too-large", "size"), ("throttled", "rate")))
        return [rows[key] for key in keys]
    if not one.for_anyone:
        keys |= dict.fromkeys(_OF_TOKEN)
    if "{id}" in one.path or "{enum}" in one.path:
        keys |= dict.fromkeys((("not-found", "resource"), ("suppressed", "consent")))
    if one.method in ("POST", "PUT", "PATCH"):
        keys |= dict.fromkeys(_of_body(one))
    return [rows[key] for key in keys]


def _of_body(one: Operation) -> Iterable[tuple[str, str]]:
    rows = catalogue()
    yield from _OF_BODY
    yield from (k for k in rows if k[0] in _OF_BODY_CODES)
    if one.is_fhir and (one.request == "Bundle" or not one.form):
        yield from _OF_CHANGE if one.method in ("PUT", "PATCH") else ()
        yield from (("required", "element"), ("code-invalid", "not-in-list"))
    if one.request == "Bundle":
        yield from (k for k, r in rows.items() if r.surface in ("fhir", "both") and r.http == 422)
        yield from (k for k in rows if k[0] in _OF_SUBMIT)


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
