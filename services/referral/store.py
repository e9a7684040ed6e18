"""Rows of referrals: read, locked and written in arrays, one statement each.

It guards the order of locks inside the schema (by reference) and that a repeat of a command is
recognised. What a row means is left to `domain`, what it hides to `facts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.kit.ports.referral import Applied, Command, OverdueQuery, ReferralQuery
from services.referral.domain import State
from services.referral.facts import Row

Conn = Any
"""A connection, of the pool or the consumer's own."""

COLUMNS: Final = (
    "referral_ref, case_ref, from_org, to_org, status, version, purpose, consent_ref,"
    " confidentiality, data_categories, directory_entry_ref, vault_version, response_due,"
    " replaces, onward_of, before_cancel, created_at, updated_at, facts"
)
READ: Final = f"{COLUMNS}, stage, next_at, escalated_at, closed"
# ruff: noqa: S608 -- the only text put into these statements is the column list above
_LOCK: Final = f"""
select {READ} from referral.referral where referral_ref = any($1::uuid[])
order by referral_ref for update
"""
_LOCK_BOTH: Final = f"""
select {READ} from referral.referral r
where r.referral_ref in (
    select unnest($1::uuid[])
    union select c.referral_ref from referral.referral c where c.case_ref = any($2::uuid[]))
order by referral_ref for update
"""
_READ: Final = f"select {READ} from referral.referral where referral_ref = any($1::uuid[])"
_INSERT: Final = f"""
insert into referral.referral ({COLUMNS})
select r, c, f, t, s, v, p, k, l, string_to_array(g, ','), e, w, d, x, o, b, a, u, z
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::int[], $7::text[],
    $8::uuid[], $9::text[], $10::text[], $11::uuid[], $12::int[], $13::timestamptz[], $14::uuid[],
    $15::uuid[], $16::text[], $17::timestamptz[], $18::timestamptz[], $19::bytea[])
    q(r, c, f, t, s, v, p, k, l, g, e, w, d, x, o, b, a, u, z)
on conflict (referral_ref) do nothing
"""
_UPDATE: Final = """
update referral.referral r set status = q.s, version = q.v,
    data_categories = string_to_array(q.g, ','), before_cancel = q.b, updated_at = q.u, facts = q.z,
    stage = q.t, next_at = q.n, escalated_at = q.e, closed = q.c
from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::timestamptz[],
    $7::bytea[], $8::text[], $9::timestamptz[], $10::timestamptz[], $11::text[])
    q(r, s, v, g, b, u, z, t, n, e, c)
where r.referral_ref = q.r
"""
_DONE: Final = """
select command_id, status, version, digest from referral.command where command_id = any($1::uuid[])
"""
_REMEMBER: Final = """
insert into referral.command (command_id, referral_ref, status, version, digest)
select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::bytea[])
on conflict do nothing
"""
_DUE: Final = """
select referral_ref from referral.referral where next_at <= $1 order by next_at limit 64
"""
_WAITING: Final = """
update referral.referral r set stage = q.t, next_at = q.n, escalated_at = q.e, closed = q.c
from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[])
    q(r, t, n, e, c)
where r.referral_ref = q.r
"""
_OVERDUE: Final = f"""
select {READ} from referral.referral
where stage in ('overdue', 'escalated') and stage = any($1::text[])
  and ($2::text is null or from_org = $2) and ($3::text is null or to_org = $3)
order by updated_at, referral_ref limit $4
"""
_COUNT: Final = """
select status, case when updated_at > $1::timestamptz - interval '1 hour' then 'under_1h'
    when updated_at > $1::timestamptz - interval '1 day' then 'under_1d'
    when updated_at > $1::timestamptz - interval '7 days' then 'under_7d'
    else 'older' end as age, closed, count(*) as n
from referral.referral group by 1, 2, 3
"""
_FORGET: Final = "delete from referral.command where at < $1"


@dataclass(frozen=True, slots=True)
class Done:
    """A command that was done: the state it led to, and the digest of what was asked."""

    status: str
    version: int
    digest: bytes | None


def _row(record: asyncpg.Record) -> Row:
    fields = dict(record)
    sealed = fields.pop("facts")
    fields["data_categories"] = tuple(fields["data_categories"])
    return Row(State(**fields), sealed)


async def lock(conn: Conn, refs: Sequence[UUID]) -> dict[UUID, Row]:
    """Rows by reference, held until the transaction ends."""
    return {r.state.referral_ref: r for r in map(_row, await conn.fetch(_LOCK, sorted(set(refs))))}


async def lock_both(conn: Conn, refs: Sequence[UUID], cases: Sequence[UUID]) -> dict[UUID, Row]:
    """Rows by reference and all rows of these cases, held until the transaction ends."""
    found = await conn.fetch(_LOCK_BOTH, sorted(set(refs)), sorted(set(cases)))
    return {r.state.referral_ref: r for r in map(_row, found)}


async def read(conn: Conn, refs: Sequence[UUID]) -> dict[UUID, Row]:
    """Rows by reference, not held."""
    return {r.state.referral_ref: r for r in map(_row, await conn.fetch(_READ, list(refs)))}


async def insert(conn: Conn, rows: Sequence[Row]) -> None:
    """New referrals; one that is there already stays as it is."""
    states = [row.state for row in rows]
    await conn.execute(
        _INSERT,
        [s.referral_ref for s in states],
        [s.case_ref for s in states],
        [s.from_org for s in states],
        [s.to_org for s in states],
        [s.status for s in states],
        [s.version for s in states],
        [s.purpose for s in states],
        [s.consent_ref for s in states],
        [s.confidentiality for s in states],
        [",".join(s.data_categories) for s in states],
        [s.directory_entry_ref for s in states],
        [s.vault_version for s in states],
        [s.response_due for s in states],
        [s.replaces for s in states],
        [s.onward_of for s in states],
        [s.before_cancel for s in states],
        [s.created_at for s in states],
        [s.updated_at for s in states],
        [row.sealed for row in rows],
    )


async def update(conn: Conn, rows: Sequence[Row]) -> None:
    """Changed referrals, already locked by this transaction."""
    states = [row.state for row in rows]
    await conn.execute(
        _UPDATE,
        [s.referral_ref for s in states],
        [s.status for s in states],
        [s.version for s in states],
        [",".join(s.data_categories) for s in states],
        [s.before_cancel for s in states],
        [s.updated_at for s in states],
        [row.sealed for row in rows],
        *_waiting(states),
    )


def _waiting(states: Sequence[State]) -> tuple[list[Any], ...]:
    return (
        [s.stage for s in states],
        [s.next_at for s in states],
        [s.escalated_at for s in states],
        [s.closed for s in states],
    )


async def update_waiting(conn: Conn, states: Sequence[State]) -> None:
    """What was told of the waiting of referrals locked by this transaction."""
    await conn.execute(_WAITING, [s.referral_ref for s in states], *_waiting(states))


async def overdue(conn: Conn, query: OverdueQuery) -> list[State]:
    """Referrals that wait past their time, the longest without news first; without facts."""
    rows = await conn.fetch(_OVERDUE, list(query.stages), query.from_org, query.to_org, query.limit)
    return [_row(r).state for r in rows]


async def done(conn: Conn, command_ids: Sequence[UUID]) -> dict[UUID, Done]:
    """What commands done before were answered."""
    rows = await conn.fetch(_DONE, list(command_ids))
    return {r["command_id"]: Done(r["status"], r["version"], r["digest"]) for r in rows}


def answered(before: Done, digest: bytes | None) -> Applied:
    """The answer to a command that comes again; a rule where another content comes under its id."""
    other = None not in (before.digest, digest) and before.digest != digest
    return Applied(
        status=before.status,
        version=before.version,
        changed=False,
        rule="key-reused" if other else None,
    )


async def remember(conn: Conn, answers: Sequence[tuple[Command, Applied]]) -> None:
    """Keep the answers of commands."""
    await conn.execute(
        _REMEMBER,
        [c.command_id for c, _ in answers],
        [c.referral_ref for c, _ in answers],
        [a.status for _, a in answers],
        [a.version for _, a in answers],
        [c.digest for c, _ in answers],
    )


async def due(conn: Conn, now: datetime) -> list[UUID]:
    """Up to 64 referrals whose next moment has come."""
    return [r["referral_ref"] for r in await conn.fetch(_DUE, now)]


async def counts(conn: Conn, now: datetime) -> list[tuple[str, str, str | None, int]]:
    """(status, age, how the loop closed, number) of all referrals."""
    rows = await conn.fetch(_COUNT, now)
    return [(r["status"], r["age"], r["closed"], r["n"]) for r in rows]


async def forget_commands(conn: Conn, before: datetime) -> None:
    """Drop answers that nobody repeats any more."""
    await conn.execute(_FORGET, before)


async def find(conn: Conn, query: ReferralQuery) -> list[Row]:
    """One page of a party's referrals, oldest change first."""
    sides = {"from": ["from_org"], "to": ["to_org"], None: ["from_org", "to_org"]}[query.side]
    part = (
        f"(select {READ} from referral.referral where {{side}} = $1"
        " and (cardinality($2::text[]) = 0 or status = any($2::text[]))"
        " and ($3::timestamptz is null or updated_at >= $3)"
        " and ($4::timestamptz is null or updated_at <= $4)"
        " and ($5::timestamptz is null or (updated_at, referral_ref) > ($5, $6::uuid))"
        " order by updated_at, referral_ref limit $7)"
    )
    union = " union ".join(part.format(side=side) for side in sides)
    after_at, after_ref = query.after or (None, None)
    rows = await conn.fetch(
        f"select * from ({union}) q order by updated_at, referral_ref limit $7",
        query.org,
        list(query.statuses),
        query.updated_from,
        query.updated_to,
        after_at,
        after_ref,
        query.limit,
    )
    return [_row(r) for r in rows]
