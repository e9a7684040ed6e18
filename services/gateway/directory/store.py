"""Rows of the directory and their event, in the transaction of the change.

It guards that an entry is changed only at the version that its owner saw, and that every version is
announced on `cauce.directory` (the row says up to which one it was).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import asyncpg
import orjson

from schemas.codec import Encoded, encode
from schemas.codes import CODELIST_VERSION
from schemas.models import DirectoryEntryChanged
from services.kit.entry import Entry, Limits, read_entry
from services.kit.exchange import put_events

AT_ONCE: Final = 64
_LOCK: Final = "select * from gateway.entry where id = $1 and not removed for update"
_WRITE: Final = """
update gateway.entry
   set record = gateway.kept_secret(record || $2::jsonb), version = version + 1,
       capacity_updated_at = $3, changed_at = $3
 where id = $1"""
_OF: Final = "select * from gateway.entry where id = any($1) order by entry_ref for update"
_UNANNOUNCED: Final = """
select * from gateway.entry where announced_version < version
 order by entry_ref limit $1 for update skip locked"""
_ALL: Final = "select * from gateway.entry where not removed order by id"
_ANNOUNCED: Final = """
update gateway.entry e set announced_version = u.version, announced_stale = u.stale
  from unnest($1::uuid[], $2::int[], $3::bool[]) u(entry_ref, version, stale)
 where e.entry_ref = u.entry_ref"""


async def lock(conn: asyncpg.Connection, entry_id: str) -> Entry | None:
    """The entry as it stands, until the transaction ends; None when there is none."""
    row = await conn.fetchrow(_LOCK, entry_id)
    return None if row is None else _entry(row)


async def write(
    conn: asyncpg.Connection, entry_id: str, changed: dict[str, Any], now: datetime
) -> None:
    """Change fields of an entry; its capacity counts as said now."""
    await conn.execute(_WRITE, entry_id, orjson.dumps(changed).decode(), now)


async def announce(
    conn: asyncpg.Connection, ids: Sequence[str], limits: Limits, now: datetime
) -> None:
    """Put the event of each of ≤ 64 entries as it stands."""
    await _announce(conn, await conn.fetch(_OF, list(ids)), limits, now)


async def announce_waiting(conn: asyncpg.Connection, limits: Limits, now: datetime) -> int:
    """Put the events of entries that a partner's file changed; answers how many."""
    rows = await conn.fetch(_UNANNOUNCED, AT_ONCE)
    await _announce(conn, rows, limits, now)
    return len(rows)


async def every(pool: asyncpg.Pool) -> list[tuple[Entry, bool]]:
    """All entries, and whether each was announced as stale."""
    return [(_entry(row), row["announced_stale"]) for row in await pool.fetch(_ALL)]


async def _announce(
    conn: asyncpg.Connection, rows: Sequence[asyncpg.Record], limits: Limits, now: datetime
) -> None:
    if not rows:
        return
    entries = [_entry(row) for row in rows]
    stale = [entry.is_stale(now, limits) for entry in entries]
    await conn.execute(
        _ANNOUNCED, [e.entry_ref for e in entries], [e.version for e in entries], stale
    )
    await put_events(conn, [changed(e, now, stale=s) for e, s in zip(entries, stale, strict=True)])


def changed(entry: Entry, now: datetime, *, stale: bool) -> Encoded:
    """`directory.entry_changed`: the entry without name, hours and address."""
    return encode(
        DirectoryEntryChanged(
            event_id=uuid4(),
            occurred_at=now.astimezone(UTC),
            entry_ref=entry.entry_ref,
            codelist_version=CODELIST_VERSION,
            version=entry.version,
            org=entry.org,
            service_types=tuple(sorted(entry.service_types)),
            country=entry.country,
            admin1=() if entry.is_secret else entry.admin1,
            age_min=entry.age_min,
            age_max=entry.age_max,
            population_types=tuple(sorted(entry.population_types)),
            capacity_status=entry.capacity_status,
            capacity_free=entry.capacity_free,
            capacity_updated_at=(entry.capacity_updated_at or now).astimezone(UTC),
            capacity_stale=stale,
            directory_status=entry.directory_status,
            address_confidentiality=entry.address_confidentiality,
            response_time_hours=entry.response_time_hours,
        )
    )


def _entry(row: asyncpg.Record) -> Entry:
    record = orjson.loads(row["record"])
    record |= {"entry_ref": str(row["entry_ref"]), "id": row["id"], "version": row["version"]}
    record["capacity_updated_at"] = row["capacity_updated_at"].isoformat()
    return read_entry(row["org"], record)
