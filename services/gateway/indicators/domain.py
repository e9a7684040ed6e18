"""The rules of a 5W row, as the regional platform checks them. Pure.

It guards that a row can be added up with others: places and indicators exist, both breakdowns add
up to the new beneficiaries, and each kind of indicator counts what it is about. Consolidation over
rows (sums within a sector, the greatest over sectors) is left to whoever reads the events.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final
from uuid import UUID, uuid5

from connectors.sdk.faults import Fault
from services.gateway.indicators.models import RowBody
from services.kit.places import admin1_of, lies_in

POPULATIONS: Final = ("in_destination", "in_transit", "host_community", "pendular", "returnee")
SEX_AGE: Final = ("girls", "boys", "women", "men", "other_under_18", "other_18_plus")
UNDER_18: Final = ("girls", "boys", "other_under_18")
OF_PEOPLE: Final = frozenset({"pin", "direct_assistance"})
OF_MINORS: Final = frozenset({"education", "child_protection"})
CODE: Final = "indicator-invalid"
_SPACE: Final = UUID("6f7a3f0e-5c0f-4c8e-9b43-0d6f4a1c7e52")


@dataclass(frozen=True, slots=True)
class Indicator:
    """One indicator of the plan."""

    code: str
    sector: str
    type: str


@cache
def indicators() -> Mapping[str, Indicator]:
    """Every indicator by its code."""
    text = files("services.gateway.indicators").joinpath("indicators.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return MappingProxyType({r["code"]: Indicator(r["code"], r["sector"], r["type"]) for r in rows})


def report_ref(org: str, row: RowBody) -> UUID:
    """The record key on the log: the same for every row and version of one indicator and month."""
    return uuid5(_SPACE, f"{org}.{row.country}.{row.month}.{row.indicator_code}")


def row_faults(row: RowBody, this_month: str, orgs: frozenset[str]) -> Iterator[Fault]:
    """Every fault of a row, by its field."""
    yield from _place(row)
    if row.month > this_month:
        yield Fault(CODE, "month", "month-future")
    if row.implementing_partner is not None and row.implementing_partner not in orgs:
        yield Fault(CODE, "implementing_partner", "implementing-partner")
    yield from _cva(row)
    found = indicators().get(row.indicator_code)
    if found is None:
        yield Fault("code-invalid", "indicator_code", "not-in-list")
        return
    if found.sector != row.sector:
        yield Fault(CODE, "sector", "sector-indicator")
    if found.type in OF_PEOPLE:
        yield from _people(row, found)
    elif found.type == "capacity_building":
        if not row.total_monthly:
            yield Fault(CODE, "total_monthly", "total-present")
    else:
        yield from _output(row)


def _place(row: RowBody) -> Iterator[Fault]:
    """A country of the region and, where it has parts, one of them."""
    if row.admin1 is None:
        if admin1_of()[row.country]:
            yield Fault("required", "admin1", "element")
    elif not lies_in(row.admin1, row.country):
        yield Fault("value-invalid", "admin1", "admin1-of-country")


def _people(row: RowBody, indicator: Indicator) -> Iterator[Fault]:
    """People are counted, no more new than in all, and broken down twice."""
    new, total = row.new_beneficiaries, row.total_monthly
    if not total:
        yield Fault(CODE, "total_monthly", "total-present")
    if new is None or (new == 0 and indicator.type == "pin"):
        yield Fault(CODE, "new_beneficiaries", "new-present")
        return
    if total is not None and new > total:
        yield Fault(CODE, "new_beneficiaries", "new-above-total")
    if _sum(row, POPULATIONS) != new:
        yield Fault(CODE, "new_beneficiaries", "population-sum")
    if _sum(row, SEX_AGE) != new:
        yield Fault(CODE, "new_beneficiaries", "sex-age-sum")
    if new and row.sector in OF_MINORS and _sum(row, UNDER_18) == 0:
        yield Fault(CODE, "girls", "minors")


def _sum(row: RowBody, names: tuple[str, ...]) -> int:
    return sum(getattr(row, name) or 0 for name in names)


def _output(row: RowBody) -> Iterator[Fault]:
    """Things are counted, and nobody new."""
    if not row.output:
        yield Fault(CODE, "output", "output-present")
    if row.new_beneficiaries or _sum(row, POPULATIONS) or _sum(row, SEX_AGE):
        yield Fault(CODE, "new_beneficiaries", "output-without-people")


def _cva(row: RowBody) -> Iterator[Fault]:
    """Cash has a value and a way; what is no cash has neither; multipurpose cash is cash."""
    if row.cva and not row.cva_value:
        yield Fault(CODE, "cva_value", "cva-value")
    if row.cva and row.cva_mechanism is None:
        yield Fault(CODE, "cva_mechanism", "cva-value")
    if not row.cva and (row.cva_value or row.cva_mechanism is not None):
        yield Fault(CODE, "cva", "cva-none")
    if not row.cva and row.sector == "multipurpose_cash":
        yield Fault(CODE, "cva", "cash-is-cva")
