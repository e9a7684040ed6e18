"""The tables that hold for every format (`codes/`): notices, reasons, roles, countries, conditions.

Guards that a notice, a country or a diagnosis means the same whoever sends it. Tables of one format
belong to its connector.
"""

import csv
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files


@cache
def rows(name: str) -> tuple[Mapping[str, str], ...]:
    """The rows of one table."""
    text = files("connectors.sdk").joinpath(f"codes/{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


@cache
def pairs(name: str, key: str, value: str) -> Mapping[str, str]:
    """A two-column view of a table."""
    return {row[key]: row[value] for row in rows(name)}


@cache
def countries() -> Mapping[str, str]:
    """Alpha-3 code by alpha-2 and by alpha-3 code."""
    both = pairs("countries", "alpha2", "alpha3")
    return {**both, **{code: code for code in both.values()}}


@cache
def notices() -> Mapping[str, frozenset[str]]:
    """Languages of each known notice, by `id/version`."""
    return {
        f"{row['id']}/{row['version']}": frozenset(row["languages"].split())
        for row in rows("notices")
    }


@cache
def conditions() -> tuple[tuple[str, re.Pattern[str], str], ...]:
    """(system, pattern of its codes, field of `Case` that keeps them); the first match counts."""
    return tuple(
        (row["system"], re.compile(row["pattern"]), FIELD_OF[row["category"]])
        for row in rows("conditions")
    )


FIELD_OF: Mapping[str, str] = {
    "health": "conditions",
    "sexual_violence": "sexual_violence_conditions",
    "exploitation_details": "exploitation_conditions",
}


def condition_field(system: str | None, code: str) -> str | None:
    """The field of `Case` that keeps a coded condition; None for one no row knows."""
    return next(
        (f for known, pattern, f in conditions() if system == known and pattern.fullmatch(code)),
        None,
    )


def flag_field(flag: str) -> str:
    """The field of `Person` that keeps a profile flag."""
    return pairs("profile_flags", "flag", "field").get(flag, "profile_flags")
