"""Refusals of the directory and of indicators. Each case writes a service of its own, so that the
unchanged request of one does not move the version that another names.
"""

import asyncio
import copy
from typing import Any
from uuid import uuid4

from tests.support.indicator_rows import MUTATIONS, ROW, Mutation, changed
from tests.support.refusals import Case, Change, Make, Request, header, in_body
from tests.support.refusals_wire import case
from tests.support.refusals_world import World

OWNER, OTHER = "casa-otra", "vencida-casa"
WEEK = {"time_zone": "America/Bogota", "weekly": [], "exceptions": []}
ENTRY: dict[str, Any] = {
    "name": "Casa",
    "service_types": ["shelter_specialized"],
    "country": "COL",
    "admin1": ["CO-ANT"],
    "age_min": 10,
    "opening_hours": WEEK,
    "address": {"lines": ["zzqx"]},
}


async def prepare_directory(world: World) -> None:
    """A service for each case, announced."""

    def add(record: dict[str, Any]) -> None:
        known = record["services"][0]
        record["services"] += [
            {**known, "id": f"otra-{n}", "entry_ref": str(uuid4())}
            for n in range(len(_ENTRY_CASES))
        ]

    await world.change(OWNER, add)
    waiting = "select from gateway.entry where announced_version < version"
    for _ in range(200):
        if not await world.rows(waiting):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the directory is not announced")


def _writes(number: int) -> Make:
    """`PUT /v1/directory/services/{id}`."""
    path = f"/v1/directory/services/otra-{number}"
    return lambda world, n: Request("PUT", path, OWNER, copy.deepcopy(ENTRY), {"If-Match": 'W/"1"'})


def _reports(world: World, number: int) -> Any:
    """`POST /v1/indicators`."""
    return Request("POST", "/v1/indicators", OWNER, {"rows": [copy.deepcopy(ROW)]})


def _secret_place(world: World, request: Any) -> None:
    request.body.update(address_confidentiality="secret")
    del request.body["address"]


def _with(**elements: Any) -> Change:
    return in_body(lambda document: document.update(elements))


def _of_another(world: World, request: Any) -> None:
    request.path = f"/v1/directory/services/{OTHER}"


def _hours(**elements: Any) -> Change:
    return _with(opening_hours={**WEEK, **elements})


def _open(*intervals: tuple[str, str]) -> Change:
    return _hours(weekly=[{"day": "mon", "opens": o, "closes": c} for o, c in intervals])


_INVALID = "value-invalid"
_ENTRY_CASES: tuple[tuple[str, str, str, str, Change], ...] = (
    ("service of another", "forbidden", "owner", "", _of_another),
    ("service in another country", _INVALID, "admin1-of-country", "admin1[0]",
     _with(admin1=["PE-LIM"])),
    ("service of no age", _INVALID, "age-order", "age_max", _with(age_max=9)),
    ("service that closes before it opens", _INVALID, "hours-order", "opening_hours.weekly[0]",
     _open(("10:00", "09:00"))),
    ("service open twice at once", _INVALID, "hours-overlap", "opening_hours.weekly[1]",
     _open(("08:00", "10:00"), ("09:00", "11:00"))),
    ("service of no kind", _INVALID, "item-count", "service_types", _with(service_types=[])),
    ("secret service with an address", _INVALID, "secret-address", "address",
     _with(address_confidentiality="secret", admin1=[])),
    ("secret service with a place", _INVALID, "secret-place", "admin1",
     _secret_place),
    ("service on another planet", _INVALID, "time-zone", "opening_hours.time_zone",
     _hours(time_zone="Zzqx/Zzqx")),
    ("service of another version", "conflict", "version", "If-Match",
     header("If-Match", 'W/"999"')),
    ("service of no version", "precondition-required", "if-match", "If-Match",
     lambda world, request: request.headers.pop("If-Match")),
)  # fmt: skip


def _mutated(mutation: Mutation) -> Change:
    return in_body(lambda document: document.update(rows=[changed(mutation)]))


def _native(name: str, code: str, rule: str, at: str, make: Make, change: Change) -> Case:
    return case(name, code, rule, at, make, change, kept=False, shape="native")


DIRECTORY_CASES: tuple[Case, ...] = (
    *(
        _native(name, code, rule, at, _writes(number), change)
        for number, (name, code, rule, at, change) in enumerate(_ENTRY_CASES)
    ),
    *(
        _native(
            f"5W row: {one.rule} at {one.field} ({number})",
            one.code,
            one.rule,
            f"rows[0].{one.field}",
            _reports,
            _mutated(one),
        )
        for number, one in enumerate(MUTATIONS)
        if one.code == "indicator-invalid"
    ),
)
