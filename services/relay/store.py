"""The relay's SQL: pending events, partitions.

It guards nothing by itself; the doors are in `schema.sql`.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import asyncpg

_PARTITIONS: Final = """
select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
 where i.inhparent = 'bus.event'::regclass and not i.inhdetachpending"""
_DETACHED: Final = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'bus' and c.relname ~ '^event_[0-9]{8}$' and c.relkind = 'r'
   and not exists (select from pg_inherits i where i.inhrelid = c.oid)"""


async def take(conn: asyncpg.Connection, most: int) -> list[asyncpg.Record]:
    """The lowest pending events, facts without consent left out."""
    return await conn.fetch("select * from bus.take($1)", most)


async def acknowledge(conn: asyncpg.Connection, ids: Sequence[int]) -> None:
    """Kafka has these."""
    await conn.execute("select bus.acknowledge($1::bigint[])", list(ids))


async def waiting(conn: asyncpg.Connection) -> tuple[int, datetime | None]:
    """How many events wait for Kafka, and since when."""
    row = await conn.fetchrow("select number, oldest from bus.waiting()")
    return (row["number"], row["oldest"]) if row else (0, None)


async def waiting_days(conn: asyncpg.Connection) -> list[date]:
    """Days of events that wait for Kafka."""
    return [row["day"] for row in await conn.fetch("select distinct day from bus.pending")]


async def make_partitions(conn: asyncpg.Connection, first: date, last: date) -> int:
    """Make what is missing; answers how many."""
    made: int = await conn.fetchval("select bus.make_partitions($1, $2)", first, last)
    return made


async def forget(conn: asyncpg.Connection, topics: Sequence[str], day: date) -> None:
    """Delete these topics' events of a day; what waits for Kafka stays."""
    await conn.execute("set statement_timeout = 0")
    await conn.execute("select bus.forget($1::text[], $2)", list(topics), day)
    await conn.execute("reset statement_timeout")


async def partitions(conn: asyncpg.Connection) -> list[date]:
    """Days that have a partition."""
    return [_day(row["relname"]) for row in await conn.fetch(_PARTITIONS)]


async def drop_partition(conn: asyncpg.Connection, day: date) -> None:
    """Detach without blocking writers, then drop."""
    await conn.execute("set statement_timeout = 0")
    await conn.execute(f"alter table bus.event detach partition bus.{_name(day)} concurrently")
    await conn.execute(f"drop table bus.{_name(day)}")
    await conn.execute("reset statement_timeout")


async def drop_left_over(conn: asyncpg.Connection) -> None:
    """Drop what was detached by a leader that died before it dropped."""
    for row in await conn.fetch(_DETACHED):
        await conn.execute(f"drop table bus.{_name(_day(row['relname']))}")


def _name(day: date) -> str:
    return f"event_{day:%Y%m%d}"


def _day(name: str) -> date:
    text = name.removeprefix("event_")
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
