"""The custody log in PostgreSQL: giving leaves their places, keeping the tree, signing, proving.

It guards that a place is given once, in one transaction with the tree above it, and that the stored
leaves can be compared with the signed tree (`verify_all`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from services.custody import tree
from services.custody.note import Checkpoint
from services.kit.leaf import leaf_hash

MOST: Final = 1000
_WAITING: Final = """
select w.id, l.hash from (select id from custody.waiting order by id limit $1) w
  join custody.leaf l on l.id = w.id order by w.id"""
_PLACE: Final = """
with gone as (delete from custody.waiting w using unnest($2::bigint[]) u(i) where w.id = u.i)
insert into custody.entry (position, leaf_id)
select $1 + o - 1, i from unnest($2::bigint[]) with ordinality u(i, o)"""
_NODES: Final = """
insert into custody.node (level, number, hash)
select * from unnest($1::integer[], $2::bigint[], $3::bytea[])"""
_GET: Final = """
select n.level, n.number, n.hash from unnest($1::integer[], $2::bigint[]) u(l, n_)
  join custody.node n on n.level = u.l and n.number = u.n_"""
_SIZE: Final = """
select coalesce((select position + 1 from custody.entry order by position desc limit 1), 0)"""
_PAGE: Final = """
select e.position, l.body, l.salt, l.hash, n.hash as placed
  from (select position, leaf_id from custody.entry where position >= $1
         order by position limit 1000) e
  left join custody.leaf l on l.id = e.leaf_id
  left join custody.node n on n.level = 0 and n.number = e.position
 order by e.position"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `verify_all` found: `damaged` are places of leaves that are not what was signed."""

    size: int
    damaged: tuple[int, ...]
    root_matches: bool

    @property
    def intact(self) -> bool:
        """Whether every leaf and the signed root agree."""
        return self.root_matches and not self.damaged


async def size(conn: asyncpg.Connection) -> int:
    """Number of leaves with a place."""
    number: int = await conn.fetchval(_SIZE)
    return number


async def nodes(conn: asyncpg.Connection, places: Sequence[tree.Place]) -> dict[tree.Place, bytes]:
    """Hashes of these complete subtrees."""
    rows = await conn.fetch(_GET, [level for level, _ in places], [n for _, n in places])
    return {(row["level"], row["number"]): row["hash"] for row in rows}


async def sequence(conn: asyncpg.Connection) -> int:
    """Give waiting leaves the next places, oldest first; answers how many."""
    async with conn.transaction():
        # A leader that woke up late must not give the same places.
        await conn.execute("lock table custody.entry in share row exclusive mode")
        rows = await conn.fetch(_WAITING, MOST)
        if not rows:
            return 0
        start = await size(conn)
        edge = await nodes(conn, tree.edge_places(start))
        made = tree.append(start, edge, [row["hash"] for row in rows])
        await conn.execute(_PLACE, start, [row["id"] for row in rows])
        await conn.execute(
            _NODES, [level for level, _ in made], [n for _, n in made], list(made.values())
        )
    return len(rows)


async def root(conn: asyncpg.Connection, leaves: int) -> bytes:
    """Root of the first `leaves` leaves."""
    known = await nodes(conn, tree.edge_places(leaves))
    return tree.root(leaves, known.__getitem__)


async def proof(conn: asyncpg.Connection, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Hashes of these ranges of leaves."""
    known = await nodes(conn, [p for start, end in ranges for p in tree.cover(start, end)])
    return tree.proof(ranges, known.__getitem__)


async def newest(conn: asyncpg.Connection) -> tuple[Checkpoint, str, datetime] | None:
    """The newest signed checkpoint: what it states (origin left empty), its note, its time."""
    row = await conn.fetchrow("select * from custody.checkpoint order by size desc limit 1")
    if row is None:
        return None
    return Checkpoint("", row["size"], row["root"]), row["note"], row["at"]


async def keep(conn: asyncpg.Connection, checkpoint: Checkpoint, note: str, now: datetime) -> None:
    """Store a signed checkpoint; a size is signed once."""
    await conn.execute(
        "insert into custody.checkpoint (size, root, note, at) values ($1, $2, $3, $4)"
        " on conflict do nothing",
        checkpoint.size,
        checkpoint.root,
        note,
        now,
    )


async def unsigned_since(conn: asyncpg.Connection) -> datetime | None:
    """Time of the oldest leaf that stands in no signed tree; None when all do."""
    signed = await conn.fetchval("select coalesce(max(size), 0) from custody.checkpoint")
    placed: datetime | None = await conn.fetchval(
        "select l.at from custody.entry e join custody.leaf l on l.id = e.leaf_id"
        " where e.position = $1",
        signed,
    )
    return placed or await conn.fetchval("select min(at) from custody.waiting")


async def place_of(conn: asyncpg.Connection, leaf_ref: object) -> tuple[int, asyncpg.Record] | None:
    """Place and row of a leaf."""
    row = await conn.fetchrow(
        "select e.position, l.body, l.salt, l.hash from custody.leaf l"
        " join custody.entry e on e.leaf_id = l.id where l.leaf_ref = $1",
        leaf_ref,
    )
    return None if row is None else (row["position"], row)


async def verify_all(conn: asyncpg.Connection) -> Report:
    """Compute every leaf and the tree again and compare with the newest signed root."""
    signed = await newest(conn)
    until = signed[0].size if signed else 0
    damaged: list[int] = []
    stack: dict[tree.Place, bytes] = {}
    position = 0
    while position < until:
        rows = [row for row in await conn.fetch(_PAGE, position) if row["position"] < until]
        if not rows:
            break
        damaged += [row["position"] for row in rows if not _is_whole(row)]
        hashes = [_computed(row) for row in rows]
        stack |= tree.append(position, stack, hashes)
        position += len(rows)
        stack = {place: stack[place] for place in tree.edge_places(position)}
    matches = position == until and (
        signed is None or tree.root(until, stack.__getitem__) == signed[0].root
    )
    return Report(size=until, damaged=tuple(damaged), root_matches=matches)


def _computed(row: asyncpg.Record) -> bytes:
    """The hash the row's own content has now."""
    return leaf_hash(row["salt"] or b"", row["body"] or b"")


def _is_whole(row: asyncpg.Record) -> bool:
    return bool(row["hash"] is not None and _computed(row) == row["hash"] == row["placed"])
