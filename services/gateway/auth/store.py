"""Assertion ids seen and requests taken per minute: rows, so that copies of the gateway agree."""

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


async def was_used(conn: Any, party: str, mac: bytes) -> bool:
    """Whether this id of the party is remembered."""
    found = "select true from gateway.jti where party = $1 and mac = $2"
    return await conn.fetchval(found, party, mac) is True


async def take(conn: Any, org: str, minute: int, wanted: int) -> int:
    """Take requests of a minute (number since the epoch); how many were taken before."""
    taken: int = await conn.fetchval("select gateway.take($1, $2, $3)", org, minute, wanted)
    return taken


async def forget_old(conn: Any, now: datetime) -> None:
    """Drop what can no longer matter."""
    await conn.execute("delete from gateway.jti where expires < $1", now.astimezone(UTC))
    minute = int(now.timestamp() // 60)
    await conn.execute("delete from gateway.rate where minute < $1", minute - 5)
