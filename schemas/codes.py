"""The code lists of the hub, read once from `codes.csv`: codes, order and labels.

Guards that a code means the same everywhere and has a label in the reader's language. It leaves to
the schemas which list a field uses, and to connectors how a partner's own codes map to ours.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final, Literal

CODELIST_VERSION: Final = 1
"""Version of `codes.csv`; every event names the one it was written with."""

Lang = Literal["es", "en", "pt"]


@dataclass(frozen=True, slots=True)
class Code:
    """One code with its labels; `fhir_r4` is its FHIR R4 code where it has one, else empty."""

    code: str
    es: str
    en: str
    pt: str
    fhir_r4: str


@dataclass(frozen=True, slots=True)
class CodeList:
    """One list in order. `closed` lists do not grow within an event version; open ones may."""

    name: str
    closed: bool
    by_code: Mapping[str, Code]


@cache
def code_lists() -> Mapping[str, CodeList]:
    """Every list by name."""
    text = files("schemas").joinpath("codes.csv").read_text(encoding="utf-8")
    found: dict[str, dict[str, Code]] = {}
    closed: dict[str, bool] = {}
    for row in csv.DictReader(text.splitlines()):
        name = row["enum"]
        closed[name] = row["openness"] == "closed"
        found.setdefault(name, {})[row["code"]] = Code(
            row["code"], row["label_es"], row["label_en"], row["label_pt"], row["fhir_r4"]
        )
    return MappingProxyType(
        {n: CodeList(n, closed[n], MappingProxyType(rows)) for n, rows in found.items()}
    )


@cache
def codes(enum: str) -> tuple[str, ...]:
    """Codes of a list in order; KeyError for a list that does not exist."""
    return tuple(code_lists()[enum].by_code)


def is_code(enum: str, code: object) -> bool:
    """Whether `code` is in the list; KeyError for a list that does not exist."""
    return isinstance(code, str) and code in code_lists()[enum].by_code


def label(enum: str, code: str, lang: Lang) -> str:
    """Label in a language; Spanish where there is no Portuguese one. KeyError: unknown code."""
    found = code_lists()[enum].by_code[code]
    return {"es": found.es, "en": found.en, "pt": found.pt or found.es}[lang]


def fhir_code(enum: str, code: str) -> str | None:
    """FHIR R4 code of one of our codes, None where it has none. KeyError for an unknown code."""
    return code_lists()[enum].by_code[code].fhir_r4 or None
