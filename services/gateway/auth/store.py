"""Assertion ids seen and requests taken per minute: rows, so that copies of the gateway agree."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


async def first_use(conn: Any, party: str, mac: bytes, expires: datetime) -> bool:
    """Whether this id of the party is new; it is remembered until `expires`."""
    return (
        await conn.fetchval(
            "insert into gateway.jti values ($1, $2, $3) on conflict do nothing returning true",
            party,
            mac,
            expires,
        )
        is True
    )


async def were_used(conn: Any, ids: Sequence[tuple[str, bytes]]) -> list[bool]:
    """Whether each (party, id) is remembered."""
    rows = await conn.fetch(
        "select q.n from unnest($1::text[], $2::bytea[]) with ordinality q(p, m, n)"
        " join gateway.jti j on j.party = q.p and j.mac = q.m",
        *(list(column) for column in zip(*ids, strict=True)),
    )
    found = {row["n"] for row in rows}
    return [place in found for place in range(1, len(ids) + 1)]


async def remember(conn: Any, ids: Sequence[tuple[str, bytes, datetime]]) -> None:
    """Remember (party, id) until an instant each; what is remembered stays as it is."""
    await conn.execute(
        "insert into gateway.jti"
        " select * from unnest($1::text[], $2::bytea[], $3::timestamptz[]) q(p, m, e)"
        " order by p, m on conflict do nothing",
        *(list(column) for column in zip(*ids, strict=True)),
    )


async def take(conn: Any, org: str, minute: int, wanted: int) -> int:
    """Take requests of a minute (number since the epoch); how many were taken before."""
    taken: int = await conn.fetchval("select gateway.take($1, $2, $3)", org, minute, wanted)
    return taken


async def forget_old(conn: Any, now: datetime) -> None:
    """Drop what can no longer matter."""
    await conn.execute("delete from gateway.jti where expires < $1", now.astimezone(UTC))
    minute = int(now.timestamp() // 60)
    await conn.execute("delete from gateway.rate where minute < $1", minute - 5)
