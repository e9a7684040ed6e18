"""What a kind of service needs to know: the outer bound of any referral (`wire.md` §3).

Guards that a service type leads to one purpose and one row of the need-to-know matrix, and that
nothing outside that row can be asked for or released, whatever was consented. It leaves consent to
`services.consent` and the partner's agreement to the gateway. Both tables are data files beside it.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

EMERGENCY: Final = "emergency"
"""Purpose and matrix row of a referral on the basis of vital interest."""

WITHHELD_FIELDS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"livelihoods": frozenset({"risk_level", "profile_flags", "confidentiality"})}
)
"""Coded fields inside an allowed category that a row may not see: signs of what happened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a referral of one service type may carry, and for which purpose."""

    purpose: str
    row: str
    categories: frozenset[str]
    """Everything the row may receive in the course of the referral."""
    after_acceptance: frozenset[str]
    """Those of `categories` released only once the recipient has accepted."""
    withheld_fields: frozenset[str]
    """Names of coded fields left out although their category is allowed."""

    def excess(self, categories: Iterable[str]) -> tuple[str, ...]:
        """Categories outside the row, sorted; to be named and refused, never trimmed."""
        return tuple(sorted(set(categories) - self.categories))

    def releasable(self, categories: Iterable[str], *, accepted: bool) -> tuple[str, ...]:
        """Those that may leave now: without `contact` until the recipient has accepted."""
        held = frozenset() if accepted else self.after_acceptance
        return tuple(sorted(set(categories) & self.categories - held))

    @property
    def may_know_phenomenon(self) -> bool:
        """Whether security labels that reveal the phenomenon may go there."""
        return "exploitation_details" in self.categories


@dataclass(frozen=True, kw_only=True, slots=True)
class NoNeed:
    """The service type is not carried as a referral: `code` is the refusal, `rule` says why."""

    code: str
    rule: str


@dataclass(frozen=True, slots=True)
class _Service:
    purpose: str
    row: str
    org_type: str
    other_row: str
    refusal: str


def need_for(service_type: str, org_type: str, *, emergency: bool = False) -> Need | NoNeed:
    """The need of a service type at a recipient of that `org_type`; unknown types are refused."""
    service = _services().get(service_type)
    if service is None or service.refusal:
        code = service.refusal if service else "not-permitted"
        return NoNeed(code=code, rule="service-type-not-referred")
    if emergency:
        return _need(EMERGENCY, EMERGENCY)
    row = service.row
    if service.org_type and service.org_type != org_type:
        row = service.other_row
    if not row:
        return NoNeed(code="not-permitted", rule="org-type-of-service")
    return _need(service.purpose, row)


def service_types() -> tuple[str, ...]:
    """Every service type of the table, sorted."""
    return tuple(_services())


@cache
def _need(purpose: str, row: str) -> Need:
    cells = _matrix()[row]
    return Need(
        purpose=purpose,
        row=row,
        categories=frozenset(cells),
        after_acceptance=frozenset(c for c, status in cells.items() if status == "accepted"),
        withheld_fields=WITHHELD_FIELDS.get(row, frozenset()),
    )


@cache
def _matrix() -> Mapping[str, Mapping[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for cell in _table("need_to_know.csv"):
        rows.setdefault(cell["row"], {})[cell["data_category"]] = cell["from_status"]
    return MappingProxyType(rows)


@cache
def _services() -> Mapping[str, _Service]:
    rows = _table("service_purposes.csv")
    return MappingProxyType({r.pop("service_type"): _Service(**r) for r in rows})


def _table(name: str) -> list[dict[str, str]]:
    text = files("services.kit").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
