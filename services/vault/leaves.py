"""Custody leaves of the vault: written with the death of a key, then passed on to the hub.

It guards that every key destroyed has its leaf, though two databases share no transaction: the leaf
is kept in the vault until the custody log has it; one that it has already is not added again.
"""

from collections.abc import Sequence
from typing import Any

import asyncpg

from services.kit.db import transaction
from services.kit.leaf import Leaf, append_leaves
from services.kit.ports.batch import MAX_BATCH


async def write(conn: Any, leaves: Sequence[Leaf]) -> None:
    """Keep leaves in the transaction of their effect."""
    if leaves:
        await conn.execute(
            "insert into vault.leaf (leaf_ref, kind, body, salt, hash)"
            " select * from unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[])",
            [leaf.ref for leaf in leaves],
            [leaf.kind for leaf in leaves],
            [leaf.body for leaf in leaves],
            [leaf.salt for leaf in leaves],
            [leaf.hash for leaf in leaves],
        )


async def pass_on(pool: asyncpg.Pool, hub_pool: asyncpg.Pool) -> int:
    """Append the oldest leaves to the custody log and let go of them; answers how many."""
    rows = await pool.fetch(
        "select id, leaf_ref, kind, body, salt, hash from vault.leaf order by id limit $1",
        MAX_BATCH,
    )
    leaves = [
        Leaf(
            ref=row["leaf_ref"],
            kind=row["kind"],
            body=row["body"],
            salt=row["salt"],
            hash=row["hash"],
        )
        for row in rows
    ]
    if leaves:
        await _append(hub_pool, leaves)
        await pool.execute(
            "delete from vault.leaf where id = any($1::bigint[])", [row["id"] for row in rows]
        )
    return len(leaves)


async def _append(hub_pool: asyncpg.Pool, leaves: Sequence[Leaf]) -> None:
    """All at once; one by one where a crash came between appending and letting go."""
    try:
        async with transaction(hub_pool) as conn:
            await append_leaves(conn, leaves)
    except asyncpg.UniqueViolationError:
        if len(leaves) > 1:
            for leaf in leaves:
                await _append(hub_pool, [leaf])
