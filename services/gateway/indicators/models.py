"""5W rows as partners report them (`POST /v1/indicators`): counts of a month, never a person."""

from typing import Annotated, Literal

from pydantic import Field

from services.gateway.bodies import Body, Listed

Count = Annotated[int, Field(ge=0, le=10_000_000)]
Dollars = Annotated[int, Field(ge=0, le=1_000_000_000)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Mechanism = Literal[
    "bank_account",
    "mobile_money",
    "prepaid_card",
    "cash_over_the_counter",
    "direct_cash",
    "cardless_withdrawal",
    "voucher",
    "other",
]


class RowBody(Body):
    """One row: an indicator of one month in one part of a country; the caller is who reports."""

    country: Annotated[str, Listed("country_r4v")]
    admin1: Annotated[str, Field(pattern=r"^[A-Z]{2}-[A-Z0-9]{1,3}$")] | None = None
    month: Annotated[str, Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$")]
    sector: Name
    indicator_code: Name
    implementing_partner: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,31}$")] | None = None
    cva: bool
    cva_value: Dollars | None = None
    cva_mechanism: Mechanism | None = None
    output: Count | None = None
    total_monthly: Count | None = None
    new_beneficiaries: Count | None = None
    in_destination: Count | None = None
    in_transit: Count | None = None
    host_community: Count | None = None
    pendular: Count | None = None
    returnee: Count | None = None
    girls: Count | None = None
    boys: Count | None = None
    women: Count | None = None
    men: Count | None = None
    other_under_18: Count | None = None
    other_18_plus: Count | None = None


class IndicatorsBody(Body):
    """What one organisation reports at once; all rows are taken or none."""

    rows: Annotated[tuple[RowBody, ...], Field(min_length=1, max_length=256)]


class TakenView(Body):
    """What became of one row."""

    country: str
    admin1: str | None
    month: str
    indicator_code: str
    version: int
    status: Literal["new", "replaced", "unchanged"]


class IndicatorsAnswer(Body):
    """What became of each row, in the order sent."""

    rows: tuple[TakenView, ...]
