"""Subscriptions in PostgreSQL: the registration here, how each stands through delivery's door.

It guards that a partner finds its own alone and that a deleted one is known to have been.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.gateway.subscriptions.domain import Row, Wanted

# ruff: noqa: S608 -- the only text put into these statements is the column list below
_COLUMNS: Final = (
    "subscription_id, org, version, side, statuses, shown_statuses, endpoint, heartbeat, most,"
    " ends, active, written_at, deleted_at"
)
_INSERT: Final = f"""
insert into gateway.subscription (subscription_id, org, side, statuses, shown_statuses, endpoint,
    heartbeat, most, ends, active, key_mac)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
on conflict (org, key_mac) where key_mac is not null do nothing
returning {_COLUMNS}
"""
_UPDATE: Final = f"""
update gateway.subscription
   set version = version + 1, side = $4, statuses = $5, shown_statuses = $6, endpoint = $7,
       heartbeat = $8, most = $9, ends = $10, active = $11, written_at = clock_timestamp()
 where subscription_id = $1 and org = $2 and version = $3 and deleted_at is null
returning {_COLUMNS}
"""
_DELETE: Final = """
update gateway.subscription set deleted_at = clock_timestamp()
 where subscription_id = $1 and org = $2 and deleted_at is null
"""
_BY_ID: Final = f"""
select {_COLUMNS} from gateway.subscription where subscription_id = $1 and org = $2
"""
_BY_KEY: Final = f"select {_COLUMNS} from gateway.subscription where org = $1 and key_mac = $2"
_PAGE: Final = f"""
select {_COLUMNS} from gateway.subscription
 where org = $1 and deleted_at is null and ($2::uuid is null or subscription_id > $2)
 order by subscription_id limit $3
"""
_COUNT: Final = "select count(*) from gateway.subscription where org = $1 and deleted_at is null"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event of a subscription's log; about nothing where the subscriber may not know."""

    number: int
    referral_ref: UUID | None
    version: int
    at: datetime


def _values(wanted: Wanted) -> tuple[Any, ...]:
    return (
        wanted.side,
        list(wanted.statuses),
        list(wanted.shown_statuses),
        wanted.endpoint,
        wanted.heartbeat,
        wanted.most,
        wanted.ends,
        wanted.active,
    )


async def insert(
    conn: Any, subscription_id: UUID, org: str, wanted: Wanted, key_mac: bytes | None
) -> Row:
    """Register; under a key that was used before, what was registered then."""
    row = await conn.fetchrow(_INSERT, subscription_id, org, *_values(wanted), key_mac)
    if row is None:
        row = await conn.fetchrow(_BY_KEY, org, key_mac)
    return (await _with_standing(conn, [row]))[0]


async def update(
    conn: Any, subscription_id: UUID, org: str, version: int, wanted: Wanted
) -> Row | None:
    """The next version; None when this is not the version any more."""
    row = await conn.fetchrow(_UPDATE, subscription_id, org, version, *_values(wanted))
    return None if row is None else (await _with_standing(conn, [row]))[0]


async def delete(conn: Any, subscription_id: UUID, org: str) -> None:
    """Take it out; once more changes nothing."""
    await conn.execute(_DELETE, subscription_id, org)


async def find(conn: Any, subscription_id: UUID, org: str) -> tuple[Row | None, bool]:
    """The organisation's own subscription, and whether it was deleted."""
    row = await conn.fetchrow(_BY_ID, subscription_id, org)
    if row is None or row["deleted_at"] is not None:
        return None, row is not None
    return (await _with_standing(conn, [row]))[0], False


async def page(conn: Any, org: str, after: UUID | None, limit: int) -> list[Row]:
    """The organisation's own, by id."""
    return await _with_standing(conn, await conn.fetch(_PAGE, org, after, limit))


async def count(conn: Any, org: str) -> int:
    """How many an organisation has."""
    number: int = await conn.fetchval(_COUNT, org)
    return number


async def events(
    conn: Any, subscription_id: UUID, since: int, until: int, most: int
) -> list[Event]:
    """Events of a subscription by number, both ends included."""
    rows = await conn.fetch(
        "select * from delivery.subscription_events($1, $2, $3, $4)",
        subscription_id,
        since,
        until,
        most,
    )
    return [Event(**dict(row)) for row in rows]


async def _with_standing(conn: Any, rows: Sequence[Any]) -> list[Row]:
    found = await conn.fetch(
        "select * from delivery.subscription_standings($1)", [r["subscription_id"] for r in rows]
    )
    known = {r["subscription_id"]: r for r in found}
    return [_row(row, known.get(row["subscription_id"])) for row in rows]


def _row(row: Any, standing: Any) -> Row:
    """A standing of an earlier version says nothing but how many events there were."""
    current = standing is not None and standing["version"] == row["version"]
    return Row(
        subscription_id=row["subscription_id"],
        org=row["org"],
        version=row["version"],
        wanted=Wanted(
            side=row["side"],
            statuses=tuple(row["statuses"]),
            shown_statuses=tuple(row["shown_statuses"]),
            endpoint=row["endpoint"],
            heartbeat=row["heartbeat"],
            most=row["most"],
            ends=row["ends"],
            active=row["active"],
        ),
        written_at=row["written_at"],
        state=standing["state"] if current else "requested",
        fault=standing["fault"] if current else None,
        last_number=standing["last_number"] if standing is not None else 0,
    )
