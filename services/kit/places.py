"""The first-level parts of the countries of the region (ISO 3166-2), as a closed table.

It guards that a place named on any surface exists and lies in its country. Other countries have no
rows here: their parts are taken by their form alone.
"""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType


@cache
def admin1_of() -> Mapping[str, frozenset[str]]:
    """Country → its parts; empty for a country that has none."""
    text = files("services.kit").joinpath("data/admin1.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return MappingProxyType({r["country"]: frozenset(r["admin1"].split()) for r in rows})


def lies_in(admin1: str, country: str) -> bool:
    """Whether a part belongs to a country; True for a country that is not in the table."""
    parts = admin1_of().get(country)
    return parts is None or admin1 in parts
