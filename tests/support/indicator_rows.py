"""A 5W row that is taken, and one change for each rule that refuses it."""

from dataclasses import dataclass
from typing import Any

ROW: dict[str, Any] = {
    "country": "COL",
    "admin1": "CO-ANT",
    "month": "2026-02",
    "sector": "protection_hts",
    "indicator_code": "hts_people_assisted",
    "cva": False,
    "total_monthly": 40,
    "new_beneficiaries": 25,
    "in_destination": 10,
    "in_transit": 9,
    "host_community": 3,
    "pendular": 2,
    "returnee": 1,
    "girls": 4,
    "boys": 2,
    "women": 14,
    "men": 4,
    "other_18_plus": 1,
}
BREAKDOWN = (
    "in_destination", "in_transit", "host_community", "pendular", "returnee",
    "girls", "boys", "women", "men", "other_18_plus",
)  # fmt: skip
NOBODY = {**dict.fromkeys(BREAKDOWN), "new_beneficiaries": None, "total_monthly": None}
TRAINING = {**NOBODY, "indicator_code": "hts_people_trained"}
THINGS = {**NOBODY, "indicator_code": "hts_campaigns"}


@dataclass(frozen=True, repr=False)
class Mutation:
    """Fields to set; None takes the field away."""

    rule: str
    field: str
    change: dict[str, Any]
    code: str = "indicator-invalid"
    http: int = 422


def changed(mutation: Mutation) -> dict[str, Any]:
    """The row with the change."""
    merged = {**ROW, **mutation.change}
    return {name: value for name, value in merged.items() if value is not None}


MUTATIONS = (
    Mutation("population-sum", "new_beneficiaries", {"in_transit": 8}),
    Mutation("sex-age-sum", "new_beneficiaries", {"men": 5}),
    Mutation("new-above-total", "new_beneficiaries", {"total_monthly": 24}),
    Mutation("new-present", "new_beneficiaries", {"new_beneficiaries": None}),
    Mutation("total-present", "total_monthly", {"total_monthly": None}),
    Mutation("total-present", "total_monthly", TRAINING),
    Mutation("output-present", "output", THINGS),
    Mutation(
        "output-without-people",
        "new_beneficiaries",
        {"indicator_code": "hts_campaigns", "output": 2},
    ),
    Mutation("sector-indicator", "sector", {"sector": "health"}),
    Mutation("month-future", "month", {"month": "2099-01"}),
    Mutation("implementing-partner", "implementing_partner", {"implementing_partner": "nadie"}),
    Mutation("cva-value", "cva_value", {"cva": True, "cva_mechanism": "voucher"}),
    Mutation("cva-value", "cva_mechanism", {"cva": True, "cva_value": 10}),
    Mutation("cva-none", "cva", {"cva_value": 10}),
    Mutation(
        "cash-is-cva",
        "cva",
        {"sector": "multipurpose_cash", "indicator_code": "cash_people_assisted"},
    ),
    Mutation(
        "minors",
        "girls",
        {
            "sector": "education",
            "indicator_code": "education_people_assisted",
            "girls": 0,
            "boys": 0,
            "women": 20,
        },
    ),
    Mutation("element", "admin1", {"admin1": None}, "required"),
    Mutation("element", "month", {"month": None}, "required"),
    Mutation("element", "cva", {"cva": None}, "required"),
    Mutation("admin1-of-country", "admin1", {"admin1": "PE-LIM"}, "value-invalid"),
    Mutation("not-in-list", "country", {"country": "FRA"}, "code-invalid"),
    Mutation("not-in-list", "indicator_code", {"indicator_code": "magic"}, "code-invalid"),
    Mutation("not-in-list", "cva_mechanism", {"cva_mechanism": "gold"}, "code-invalid"),
    Mutation("bad-format", "month", {"month": "2026-13"}, "structure", 400),
    Mutation("bad-format", "women", {"women": -1}, "structure", 400),
    Mutation("wrong-type", "men", {"men": "4"}, "structure", 400),
    Mutation("unknown-element", "", {"name": "x"}, "structure", 400),
)
