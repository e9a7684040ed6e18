"""`POST /v1/indicators`: 5W rows taken whole or not at all.

It guards that a row is from the organisation that calls, keeps every rule of `domain`, and that
sending the same rows again changes nothing.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg
from starlette.responses import Response
from starlette.routing import Route

from connectors.sdk.faults import Fault
from services.gateway.http import Call, Surface, native
from services.gateway.indicators import store
from services.gateway.indicators.domain import CODE, row_faults
from services.gateway.indicators.models import IndicatorsAnswer, IndicatorsBody, RowBody
from services.gateway.operation import MODEL_FAULTS, Operation
from services.kit.db import transaction
from services.kit.errors import Refused
from services.kit.partners import Partners
from services.kit.runtime import Runtime

RULES: Final = (
    "cash-is-cva",
    "cva-none",
    "cva-value",
    "implementing-partner",
    "minors",
    "month-future",
    "new-above-total",
    "new-present",
    "output-present",
    "output-without-people",
    "population-sum",
    "sector-indicator",
    "sex-age-sum",
    "total-present",
)
REPORT: Final = Operation(
    method="POST",
    path="/v1/indicators",
    summary="5W rows of the caller: counts of a month, never a person; a later row replaces",
    tag="indicators",
    scopes=("MeasureReport.c",),
    request=IndicatorsBody,
    response=IndicatorsAnswer,
    refusals=(
        *MODEL_FAULTS,
        ("value-invalid", "admin1-of-country"),
        ("value-invalid", "repeated"),
        *((CODE, rule) for rule in RULES),
    ),
)


class Indicators:
    """The handler."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        partners: Partners,
        zone: ZoneInfo,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._partners = partners
        self._zone = zone
        self._clock = clock

    async def report(self, call: Call) -> Response:
        """Take the rows, or say every fault of each."""
        rows, now = (await call.read(IndicatorsBody)).rows, self._clock()
        orgs = frozenset(await self._partners.all())
        faults = _faults(rows, f"{now.astimezone(self._zone):%Y-%m}", orgs)
        if faults:
            raise Refused(faults)
        async with transaction(self._pool) as conn:
            taken = await store.take(conn, call.org, rows, now)
        told = [
            _taken(row, version, changed=changed)
            for row, (version, changed) in zip(rows, taken, strict=True)
        ]
        return native({"rows": told})


def _faults(rows: tuple[RowBody, ...], this_month: str, orgs: frozenset[str]) -> list[Fault]:
    found: list[Fault] = []
    seen: set[store.Key] = set()
    for number, row in enumerate(rows):
        place = f"rows[{number}]"
        found += [
            Fault(fault.code, f"{place}.{fault.field}", fault.rule)
            for fault in row_faults(row, this_month, orgs)
        ]
        if store.key_of(row) in seen:
            found.append(Fault("value-invalid", place, "repeated"))
        seen.add(store.key_of(row))
    return found


def _taken(row: RowBody, version: int, *, changed: bool) -> dict[str, object]:
    status = "unchanged"
    if changed:
        status = "new" if version == 1 else "replaced"
    return {
        "country": row.country,
        "admin1": row.admin1,
        "month": row.month,
        "indicator_code": row.indicator_code,
        "version": version,
        "status": status,
    }


def routes(rt: Runtime, pool: asyncpg.Pool, partners: Partners, surface: Surface) -> list[Route]:
    """Routes under /v1/indicators."""
    handler = Indicators(pool, partners, ZoneInfo(rt.settings.time_zone), rt.clock)
    return [surface.route(REPORT, handler.report)]
