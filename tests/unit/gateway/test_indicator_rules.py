"""The rules of a 5W row, for any numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.indicators.domain import (
    POPULATIONS,
    SEX_AGE,
    indicators,
    report_ref,
    row_faults,
)
from services.gateway.indicators.models import RowBody
from services.kit.places import admin1_of, lies_in
from tests.support.indicator_rows import ROW, THINGS, TRAINING, Mutation, changed

ORGS = frozenset({"ong-norte"})
counts = st.integers(0, 50)


def rules(**change: object) -> list[str]:
    row = RowBody.model_validate(changed(Mutation("", "", change)))
    return [fault.rule for fault in row_faults(row, "2026-03", ORGS)]


@given(st.lists(counts, min_size=5, max_size=5), st.lists(counts, min_size=6, max_size=6))
def test_both_breakdowns_add_up_or_are_named(people: list[int], ages: list[int]) -> None:
    change = dict(zip((*POPULATIONS, *SEX_AGE), (*people, *ages), strict=True))
    new = sum(people)
    found = rules(**change, new_beneficiaries=new, total_monthly=max(1, new))
    assert "population-sum" not in found
    assert ("sex-age-sum" in found) == (sum(ages) != new)


@given(counts, counts)
def test_new_people_are_never_more_than_all(new: int, total: int) -> None:
    assert ("new-above-total" in rules(new_beneficiaries=new, total_monthly=total)) == (new > total)


def test_each_kind_of_indicator_counts_what_it_is_about() -> None:
    assert rules() == []
    assert rules(**{**TRAINING, "total_monthly": 12}) == []
    assert rules(**{**THINGS, "output": 3}) == []
    nobody = dict.fromkeys((*POPULATIONS, *SEX_AGE), 0)
    assert rules(**nobody, new_beneficiaries=0) == []
    old = {"indicator_code": "hts_people_assisted_2022"}
    assert rules(**nobody, **old, new_beneficiaries=0) == ["new-present"]


@pytest.mark.parametrize("country", ["ABW", "CUW"])
def test_a_country_without_parts_names_none(country: str) -> None:
    assert rules(country=country, admin1=None) == []
    assert rules(country=country, admin1="AW-X") == ["admin1-of-country"]


def test_the_key_on_the_log_is_that_of_indicator_and_month_whatever_the_place() -> None:
    row = RowBody.model_validate(ROW)
    other = row.model_copy(update={"admin1": "CO-ATL"})
    assert report_ref("a", row) == report_ref("a", other)
    assert report_ref("a", row) != report_ref("b", row)
    assert report_ref("a", row) != report_ref("a", row.model_copy(update={"month": "2026-01"}))


def test_places_and_indicators_are_well_formed() -> None:
    for country, parts in admin1_of().items():
        assert len(country) == 3
        assert len({part[:2] for part in parts}) <= 1
    assert lies_in("VE-A", "VEN")
    for one in indicators().values():
        assert one.type in {
            "pin", "direct_assistance", "capacity_building", "infrastructure",
            "mechanism_advocacy", "campaign", "other",
        }  # fmt: skip
