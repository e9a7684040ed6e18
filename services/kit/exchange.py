"""The one door through which events get onto the log: rows of the caller's transaction.

It guards nothing itself; the database knows who may emit what (`bus.type`) and whether consent
still allows facts.
"""

from collections.abc import Sequence

import asyncpg

from schemas.codec import Encoded

_PUT = "select bus.put($1, $2, $3, $4, $5, $6, $7, $8)"


async def put_events(conn: asyncpg.Connection, events: Sequence[Encoded]) -> list[int]:
    """Put up to 64 events in order; answers each one's position in its case (or key).

    The first call of a transaction must name every case that a later one names (deadlocks).
    """
    if not events:
        return []
    positions: list[int] = await conn.fetchval(
        _PUT,
        [e.event_id for e in events],
        [e.event_type for e in events],
        [e.key for e in events],
        [e.schema_id for e in events],
        [e.purpose for e in events],
        [e.body for e in events],
        [e.facts for e in events],
        [e.stats_facts for e in events],
    )
    return positions
