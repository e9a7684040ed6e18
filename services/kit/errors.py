"""Refusals towards partners: the closed catalogue, the exception, the OperationOutcome.

Guards that every refusal has a stable code, field, rule and a text in the reader's language, and
that nothing submitted is ever echoed. Who refuses what is the business of the parts; HTTP belongs
to the gateway.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, Literal

from connectors.sdk.faults import Fault, Faults

Language = Literal["es", "en", "pt"]

__all__ = [
    "Fault",
    "Faults",
    "Language",
    "Refusal",
    "Refused",
    "catalogue",
    "language",
    "native_fault",
    "outcome",
    "problem",
    "told",
]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of the catalogue; `issue` is a FHIR issue type, `surface` where it can happen.

    `field` is the FHIR path or a name of HTTP, `native_field` what the native surface calls it.
    """

    code: str
    http: int
    issue: str
    rule: str
    field: str
    surface: str
    texts: Mapping[Language, str]
    native_field: str = ""


@cache
def catalogue() -> Mapping[tuple[str, str], Refusal]:
    """Every refusal by (code, rule)."""
    text = files("services.kit").joinpath("data/refusals.csv").read_text(encoding="utf-8")
    rows = [_row(row) for row in csv.DictReader(text.splitlines())]
    return MappingProxyType({(row.code, row.rule): row for row in rows})


def _row(row: Mapping[str, str]) -> Refusal:
    texts: dict[Language, str] = {
        "es": row["text_es"],
        "en": row["text_en"],
        "pt": row["text_pt"],
    }
    return Refusal(
        row["code"],
        int(row["http"]),
        row["issue"],
        row["rule"],
        row["field"],
        row["surface"],
        MappingProxyType(texts),
        row.get("native_field") or row["field"],
    )


class Refused(Exception):
    """An answer to a partner that says no. KeyError where a fault has no row in the catalogue."""

    def __init__(self, faults: Sequence[Fault], *, retry_after: int | None = None) -> None:
        super().__init__("; ".join(sorted({f"{fault.code}/{fault.rule}" for fault in faults})))
        self.faults = tuple(faults)
        self.retry_after = retry_after
        self.http = catalogue()[faults[0].code, faults[0].rule].http

    @classmethod
    def of(
        cls, code: str, rule: str, field: str | None = None, *, retry_after: int | None = None
    ) -> "Refused":
        """One fault; the field defaults to the one in the catalogue."""
        at = catalogue()[code, rule].field if field is None else field
        return cls([Fault(code, at, rule)], retry_after=retry_after)


def language(accept: str | None) -> Language:
    """First of es, en, pt in an Accept-Language header by its weights; Spanish otherwise."""
    ranked: list[tuple[float, int, Language]] = []
    for place, part in enumerate((accept or "").split(",")[:16]):
        tag, _, parameters = part.strip().partition(";")
        known = _known(tag.strip().lower().split("-")[0])
        if known is not None:
            ranked.append((-_weight(parameters), place, known))
    best = min(ranked, default=None)
    return best[2] if best is not None and best[0] < 0 else "es"


def _known(tag: str) -> Language | None:
    known: Mapping[str, Language] = {"es": "es", "en": "en", "pt": "pt"}
    return known.get(tag)


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def outcome(
    faults: Sequence[Fault], request_id: str, lang: Language, canonical_base: str
) -> dict[str, Any]:
    """The faults as an OperationOutcome; `diagnostics` is our request id."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [_issue(fault, request_id, lang, canonical_base) for fault in faults],
    }


def problem(faults: Sequence[Fault], request_id: str, lang: Language) -> dict[str, Any]:
    """The faults as a problem document (RFC 9457) with one entry for each."""
    row = catalogue()[faults[0].code, faults[0].rule]
    return {
        "status": row.http,
        "title": row.texts[lang],
        "request_id": request_id,
        "faults": told([native_fault(fault) for fault in faults], lang),
    }


def told(faults: Sequence[Fault], lang: Language) -> list[dict[str, str]]:
    """The faults as plain entries with their texts."""
    rows = [catalogue()[fault.code, fault.rule] for fault in faults]
    return [
        {"code": f.code, "rule": f.rule, "field": f.field, "text": row.texts[lang]}
        for f, row in zip(faults, rows, strict=True)
    ]


def native_fault(fault: Fault) -> Fault:
    """A fault whose field is the catalogue's own, by its native name; any other as it is."""
    row = catalogue()[fault.code, fault.rule]
    if not row.field or row.field == "*" or not fault.field.startswith(row.field):
        return fault
    rest = fault.field.removeprefix(row.field)
    named = _WHERE.fullmatch(rest)
    if rest and named is None:
        return fault
    more = "" if named is None else f"[{named.group(1)}]"
    return Fault(fault.code, row.native_field + more, fault.rule)


_WHERE: Final = re.compile(r"\.where\(coding\.code = '([a-z_]+)'\)")


def _issue(fault: Fault, request_id: str, lang: Language, base: str) -> dict[str, Any]:
    row = catalogue()[fault.code, fault.rule]
    issue: dict[str, Any] = {
        "severity": "error",
        "code": row.issue,
        "details": {
            "coding": [
                {"system": f"{base}/CodeSystem/error", "code": fault.code},
                {"system": f"{base}/CodeSystem/error-rule", "code": fault.rule},
            ],
            "text": row.texts[lang],
        },
        "diagnostics": request_id,
    }
    if fault.field:
        issue["expression"] = [fault.field]
    return issue
