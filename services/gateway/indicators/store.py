"""Rows as last reported and their events, in one transaction.

It guards that the same row again changes nothing and that another one in its place is a new
version, announced with the change.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import asyncpg
import orjson

from schemas.codec import encode
from schemas.codes import CODELIST_VERSION
from schemas.models import IndicatorReported
from services.gateway.indicators.domain import indicators, report_ref
from services.gateway.indicators.models import RowBody
from services.kit.exchange import put_events

AT_ONCE: Final = 64
Key = tuple[str, str, str, str]
"""Country, part of it or empty, month, indicator."""
_TAKE: Final = """
insert into gateway.indicator as i (org, country, admin1, month, code, record, reported_at)
select $1, u.country, u.admin1, u.month, u.code, u.record, $7
  from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[])
       u(country, admin1, month, code, record)
 order by u.country, u.admin1, u.month, u.code
on conflict (org, country, admin1, month, code) do update
   set version = i.version + 1, record = excluded.record, reported_at = excluded.reported_at
 where i.record is distinct from excluded.record
returning country, admin1, month, code, version"""
_VERSIONS: Final = """
select i.country, i.admin1, i.month, i.code, i.version
  from unnest($2::text[], $3::text[], $4::text[], $5::text[]) u(country, admin1, month, code)
  join gateway.indicator i on i.org = $1 and i.country = u.country and i.admin1 = u.admin1
   and i.month = u.month and i.code = u.code"""


def key_of(row: RowBody) -> Key:
    """What a row is about; a later row of the same key replaces it."""
    return row.country, row.admin1 or "", row.month, row.indicator_code


async def take(
    conn: asyncpg.Connection, org: str, rows: Sequence[RowBody], now: datetime
) -> list[tuple[int, bool]]:
    """Store rows of different keys; answers (version, whether it changed) of each, in order."""
    columns = [list(column) for column in zip(*map(key_of, rows), strict=True)]
    records = [orjson.dumps(row.model_dump(mode="json")).decode() for row in rows]
    taken = _by_key(await conn.fetch(_TAKE, org, *columns, records, now))
    stand = _by_key(await conn.fetch(_VERSIONS, org, *columns))
    changed = [row for row in rows if key_of(row) in taken]
    changed.sort(key=lambda row: (report_ref(org, row), key_of(row)))
    for start in range(0, len(changed), AT_ONCE):
        some = changed[start : start + AT_ONCE]
        events = [_event(org, row, taken[key_of(row)], now) for row in some]
        await put_events(conn, [encode(event) for event in events])
    return [(stand[key_of(row)], key_of(row) in taken) for row in rows]


def _by_key(rows: Sequence[asyncpg.Record]) -> dict[Key, int]:
    return {(r["country"], r["admin1"], r["month"], r["code"]): r["version"] for r in rows}


def _event(org: str, row: RowBody, version: int, now: datetime) -> IndicatorReported:
    counts: dict[str, Any] = row.model_dump(exclude={"implementing_partner"})
    return IndicatorReported(
        event_id=uuid4(),
        occurred_at=now.astimezone(UTC),
        report_ref=report_ref(org, row),
        codelist_version=CODELIST_VERSION,
        version=version,
        org=org,
        indicator_type=indicators()[row.indicator_code].type,
        **counts,
    )
