"""The keystore's rows: data keys, live and dead, and the epochs they are wrapped under.

It guards that a killed version and all below it stay dead: makers of a purpose's keys share its
lock, who kills them holds it alone. It sees wrapped bytes only; wrapping is `keystore`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.vault.domain import lock_key
from services.vault.keystore import KeyName, Wrapped

REWRAP_ROWS = 500


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A data key as stored; `wrapped` None when it is dead."""

    name: KeyName
    wrapped: Wrapped | None


def wrapped_of(epoch: int | None, data: bytes | None) -> Wrapped | None:
    """The wrapping in a row; None in a dead one."""
    return None if epoch is None or data is None else Wrapped(epoch, data)


async def lock_keys(conn: Any, names: set[tuple[UUID, str]], *, exclusive: bool) -> None:
    """Makers of a purpose's keys share the lock; who kills them holds it alone."""
    keys = sorted(lock_key(b"purpose", case.bytes, purpose.encode()) for case, purpose in names)
    mode = "" if exclusive else "_shared"
    if keys:
        await conn.execute(
            f"select pg_advisory_xact_lock{mode}(k) from unnest($1::bigint[]) k",  # noqa: S608
            keys,
        )


async def data_keys(
    conn: Any, names: set[tuple[UUID, str]]
) -> dict[tuple[UUID, str], dict[int, KeyRow]]:
    """All versions, live and dead, of the keys of these (case, purpose) pairs."""
    wanted = sorted(names)
    rows = await conn.fetch(
        "select k.case_ref, k.purpose, k.version, k.epoch, k.wrapped"
        " from unnest($1::uuid[], $2::text[]) u(c, p)"
        " join keys.data_key k on k.case_ref = u.c and k.purpose = u.p",
        [case for case, _ in wanted],
        [purpose for _, purpose in wanted],
    )
    found: dict[tuple[UUID, str], dict[int, KeyRow]] = {name: {} for name in wanted}
    for row in rows:
        name = KeyName(row["case_ref"], row["purpose"], row["version"])
        key = KeyRow(name, wrapped_of(row["epoch"], row["wrapped"]))
        found[name.case_ref, name.purpose][name.version] = key
    return found


async def insert_data_keys(conn: Any, rows: Sequence[tuple[KeyName, Wrapped]]) -> int:
    """Add keys that do not exist yet; answers how many were added."""
    made = await conn.fetch(
        "insert into keys.data_key (case_ref, purpose, version, epoch, wrapped)"
        " select * from unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::bytea[])"
        " u(c, p, v, e, w) order by c, p, v on conflict do nothing returning 1",
        [name.case_ref for name, _ in rows],
        [name.purpose for name, _ in rows],
        [name.version for name, _ in rows],
        [wrapped.epoch for _, wrapped in rows],
        [wrapped.data for _, wrapped in rows],
    )
    return len(made)


async def kill_keys(conn: Any, names: Sequence[KeyName]) -> list[KeyName]:
    """Kill each named version and all below it; answers those alive until now."""
    await lock_keys(conn, {(n.case_ref, n.purpose) for n in names}, exclusive=True)
    columns = (
        [n.case_ref for n in names],
        [n.purpose for n in names],
        [n.version for n in names],
    )
    await conn.execute(
        "insert into keys.data_key (case_ref, purpose, version, died_at)"
        " select distinct c, p, v, clock_timestamp()"
        " from unnest($1::uuid[], $2::text[], $3::int[]) u(c, p, v) order by c, p, v"
        " on conflict do nothing",
        *columns,
    )
    killed = await conn.fetch(
        "update keys.data_key k set wrapped = null, epoch = null, died_at = clock_timestamp()"
        " from (select c, p, max(v) v from unnest($1::uuid[], $2::text[], $3::int[]) u(c, p, v)"
        "  group by c, p) d"
        " where k.case_ref = d.c and k.purpose = d.p and k.version <= d.v"
        " and k.wrapped is not null returning k.case_ref, k.purpose, k.version",
        *columns,
    )
    return sorted(KeyName(row["case_ref"], row["purpose"], row["version"]) for row in killed)


# --- epochs -------------------------------------------------------------------------------------


async def newest_epoch(conn: Any) -> tuple[int, datetime, datetime] | None:
    """The newest epoch, when it was made, and the time now; None before the first."""
    row = await conn.fetchrow(
        "select epoch, made_at, clock_timestamp() as now from keys.epoch"
        " order by epoch desc limit 1"
    )
    return (row["epoch"], row["made_at"], row["now"]) if row else None


async def insert_epoch(conn: Any, epoch: int) -> None:
    """Note an epoch whose key exists."""
    await conn.execute("insert into keys.epoch (epoch) values ($1) on conflict do nothing", epoch)


async def close_epoch(conn: Any, epoch: int) -> None:
    """Note that an epoch's key has been destroyed."""
    await conn.execute(
        "update keys.epoch set destroyed_at = clock_timestamp()"
        " where epoch = $1 and destroyed_at is null",
        epoch,
    )


async def epochs_in_use(conn: Any) -> list[int]:
    """The epochs that live rows are wrapped under; reads one index entry for each."""
    rows = await conn.fetch(
        "with recursive e as ("
        " (select epoch from keys.data_key where wrapped is not null order by epoch limit 1)"
        " union all select (select k.epoch from keys.data_key k where k.wrapped is not null"
        "  and k.epoch > e.epoch order by k.epoch limit 1) from e where e.epoch is not null)"
        " select epoch from e where epoch is not null"
    )
    return [row["epoch"] for row in rows]


async def rows_under(conn: Any, epochs: Sequence[int]) -> int:
    """How many live rows are wrapped under these epochs."""
    return int(
        await conn.fetchval(
            "select count(*) from keys.data_key where wrapped is not null"
            " and epoch = any($1::int[])",
            list(epochs),
        )
    )


async def lock_rows_under(conn: Any, epoch: int) -> list[tuple[KeyName, Wrapped]]:
    """Some live rows of an epoch, locked; empty when there are none."""
    rows = await conn.fetch(
        "select case_ref, purpose, version, epoch, wrapped from keys.data_key"
        " where wrapped is not null and epoch = $1 limit $2 for update",
        epoch,
        REWRAP_ROWS,
    )
    return [
        (
            KeyName(row["case_ref"], row["purpose"], row["version"]),
            Wrapped(row["epoch"], row["wrapped"]),
        )
        for row in rows
    ]


async def update_wrapped(conn: Any, rows: Sequence[tuple[KeyName, Wrapped]]) -> None:
    """Store new wrappings of rows that this transaction has locked."""
    await conn.execute(
        "update keys.data_key k set epoch = u.e, wrapped = u.w"
        " from unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::bytea[]) u(c, p, v, e, w)"
        " where k.case_ref = u.c and k.purpose = u.p and k.version = u.v",
        [name.case_ref for name, _ in rows],
        [name.purpose for name, _ in rows],
        [name.version for name, _ in rows],
        [wrapped.epoch for _, wrapped in rows],
        [wrapped.data for _, wrapped in rows],
    )
