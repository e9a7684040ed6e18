"""The queue: tasks put, claimed by lane, ended; all in arrays.

It guards the order of a lane (only its first open content task may be claimed), the cap of
concurrent calls per partner over all copies of the service, and that only the holder of a claim
ends a task. Intents and erasure requests have modules of their own.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from services.delivery.domain import LEASE, Task

Conn = Any
"""A connection, of the pool or the consumer's own."""

COLUMNS: Final = (
    "task_id, kind, case_ref, referral_ref, to_org, purpose, source_org, confidentiality,"
    " version, again, doubtful, attempts, claim"
)
# ruff: noqa: S608 -- the only text put into these statements is the column list above
_PUT: Final = """
insert into delivery.task (task_id, kind, case_ref, referral_ref, to_org, purpose, source_org,
    confidentiality, version, again)
select i, k, c, r, t, p, s, f, v, exists (
    select from delivery.task e where e.referral_ref = q.r and e.to_org = q.t
       and e.kind = 'content' and e.state = 'done')
from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::int[]) with ordinality q(i, k, c, r, t, p, s, f, v, o) order by o
on conflict (referral_ref, to_org, kind, version) where kind <> 'erasure' do nothing
"""
_GATE: Final = "select from delivery.claiming for update"
_CLAIM: Final = f"""
with free as (
    select p.org, e.erasing, p.slots - (select count(*) from delivery.task t
        where t.to_org = p.org and t.state = 'claimed' and t.claimed_until > clock_timestamp()
          and (t.kind = 'erasure') = e.erasing) as n
    from unnest($1::text[], $2::int[]) p(org, slots) cross join (values (true), (false)) e(erasing)
), picked as (
    (select q.task_id from free f cross join lateral (
        select t.task_id from delivery.task t
        where t.to_org = f.org and t.state = 'queued' and t.next_at <= clock_timestamp()
          and t.kind = 'erasure'
        order by t.seq limit greatest(f.n, 0)
    ) q where f.erasing limit 64)
    union all
    (select q.task_id from free f cross join lateral (
        select t.task_id from delivery.task t
        where t.to_org = f.org and t.state = 'queued' and t.next_at <= clock_timestamp()
          and t.kind <> 'erasure' and not exists (
              select from delivery.task e
              where e.case_ref = t.case_ref and e.to_org = t.to_org and e.seq < t.seq
                and e.kind <> 'erasure' and e.state in ('queued', 'claimed', 'held'))
        order by t.seq limit greatest(f.n, 0)
    ) q where not f.erasing limit $3)
)
update delivery.task t set state = 'claimed', claim = $4, attempts = attempts + 1,
    claimed_until = clock_timestamp() + $5::interval
from picked where t.task_id = picked.task_id
returning {", ".join("t." + name for name in COLUMNS.split(", "))}
"""
_HOLD_CLAIMS: Final = """
select task_id, claim from delivery.task where task_id = any($1::uuid[]) and state = 'claimed'
order by task_id for update
"""
_END: Final = """
update delivery.task t set state = q.s, rule = q.r, field_path = q.f,
    doubtful = t.doubtful and q.s <> 'done' or q.d,
    next_at = clock_timestamp() + q.w, claim = null, claimed_until = null,
    ended_at = case when q.s in ('done', 'suppressed', 'failed') then clock_timestamp() end,
    confirmed = q.s = 'done' and t.kind <> 'content'
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bool[],
    $7::interval[]) q(i, c, s, r, f, d, w)
where t.task_id = q.i and t.state = 'claimed' and t.claim = q.c
returning t.task_id
"""
_EXPIRED: Final = f"""
update delivery.task t set claim = $1, claimed_until = clock_timestamp() + $2::interval
where t.task_id in (
    select task_id from delivery.task
    where state = 'claimed' and claimed_until < clock_timestamp()
    order by task_id limit 64 for update skip locked)
returning {COLUMNS}
"""
_PULLED: Final = f"""
update delivery.task t set state = 'done', rule = 'read', ended_at = clock_timestamp(),
    confirmed = t.kind <> 'content'
from unnest($1::uuid[], $2::text[]) q(r, o)
where t.referral_ref = q.r and t.to_org = q.o and t.state = 'queued' and t.kind <> 'erasure'
returning {", ".join("t." + name for name in COLUMNS.split(", "))}
"""
_UNCONFIRMED: Final = f"""
select {COLUMNS}, state, rule from delivery.task
where state in ('done', 'failed') and not confirmed and ended_at < $1
order by seq limit 64
"""
_CONFIRM: Final = "update delivery.task set confirmed = true where task_id = any($1::uuid[])"
_CONTENT: Final = f"""
select {COLUMNS} from delivery.task
where referral_ref = any($1::uuid[]) and kind = 'content' order by seq
"""
_SUPPRESS: Final = f"""
update delivery.task t set state = 'suppressed', rule = q.u, ended_at = clock_timestamp()
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[]) q(c, r, o, p, u)
where t.state in ('queued', 'held') and t.kind <> 'erasure' and t.case_ref = q.c
  and (q.r is null or t.referral_ref = q.r) and (q.o is null or t.to_org = q.o)
  and (q.p is null or t.purpose in (q.p, ''))
returning {", ".join("t." + name for name in COLUMNS.split(", "))}, t.rule
"""
_COUNT: Final = """
select state, count(*) as n from delivery.task
where state in ('queued', 'claimed', 'held') group by state
"""


def task_of(record: asyncpg.Record) -> Task:
    """A task from a row that has at least its columns."""
    return Task(**{name: record[name] for name in COLUMNS.split(", ")})


async def put(conn: Conn, tasks: Sequence[Task]) -> None:
    """Queue tasks in order; one that is there already stays as it is."""
    await conn.execute(
        _PUT,
        [t.task_id for t in tasks],
        [t.kind for t in tasks],
        [t.case_ref for t in tasks],
        [t.referral_ref for t in tasks],
        [t.to_org for t in tasks],
        [t.purpose for t in tasks],
        [t.source_org for t in tasks],
        [t.confidentiality for t in tasks],
        [t.version for t in tasks],
    )


async def claim(pool: asyncpg.Pool, slots: Mapping[str, int], most: int) -> list[Task]:
    """Claim up to `most` contents, and requests to erase, each at most `slots` at each partner.

    Requests to erase have slots of their own: they never wait behind content.
    """
    if not slots:
        return []
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(_GATE)
        rows = await conn.fetch(
            _CLAIM, list(slots), list(slots.values()), max(most, 0), uuid4(), LEASE
        )
    return [task_of(row) for row in rows]


async def hold_claims(conn: Conn, tasks: Sequence[Task]) -> set[UUID]:
    """Tasks whose claim is still ours, locked until the transaction ends."""
    rows = await conn.fetch(_HOLD_CLAIMS, sorted(t.task_id for t in tasks))
    mine = {t.task_id: t.claim for t in tasks}
    return {r["task_id"] for r in rows if r["claim"] == mine[r["task_id"]]}


async def end(
    conn: Conn, rows: Sequence[tuple[Task, str, str, str | None, bool, Any]]
) -> set[UUID]:
    """End or re-queue claimed tasks: (task, state, rule, field path, doubtful, wait)."""
    rows = sorted(rows, key=lambda row: row[0].task_id)
    ended = await conn.fetch(
        _END,
        [r[0].task_id for r in rows],
        [r[0].claim for r in rows],
        [r[1] for r in rows],
        [r[2] for r in rows],
        [r[3] for r in rows],
        [r[4] for r in rows],
        [r[5] for r in rows],
    )
    return {r["task_id"] for r in ended}


async def take_over_expired(pool: asyncpg.Pool) -> list[Task]:
    """Claimed tasks whose holder is gone, now ours."""
    return [task_of(r) for r in await pool.fetch(_EXPIRED, uuid4(), LEASE)]


async def pulled(pool: asyncpg.Pool, reads: Sequence[tuple[UUID, str]]) -> list[Task]:
    """End what waited for recipients that fetch their content: (referral, org) just read it."""
    columns = zip(*sorted(set(reads)), strict=True)
    return [task_of(r) for r in await pool.fetch(_PULLED, *(list(column) for column in columns))]


async def unconfirmed(pool: asyncpg.Pool, before: datetime) -> list[tuple[Task, str, str]]:
    """Ended deliveries that the referral has not heard of: (task, state, rule)."""
    rows = await pool.fetch(_UNCONFIRMED, before)
    return [(task_of(r), r["state"], r["rule"] or "unknown") for r in rows]


async def confirm(pool: asyncpg.Pool, task_ids: Sequence[UUID]) -> None:
    """Note that the referral has heard."""
    await pool.execute(_CONFIRM, list(task_ids))


async def contents(conn: Conn, referrals: Sequence[UUID]) -> dict[UUID, Task]:
    """The latest content task of each referral."""
    return {r["referral_ref"]: task_of(r) for r in await conn.fetch(_CONTENT, list(referrals))}


async def suppress(
    conn: Conn, rows: Sequence[tuple[UUID, UUID | None, str | None, str | None, str]]
) -> list[tuple[Task, str]]:
    """Suppress what waits: (case, referral or any, org or any, purpose or any, rule)."""
    found = await conn.fetch(_SUPPRESS, *(list(column) for column in zip(*rows, strict=True)))
    return [(task_of(r), r["rule"]) for r in found]


async def counts(pool: asyncpg.Pool) -> dict[str, int]:
    """Open tasks by state."""
    return {r["state"]: r["n"] for r in await pool.fetch(_COUNT)}
