"""The vault's tables: one statement per effect, arrays in, rows out.

It guards the order of locks (attempts, data keys, identifiers, counters, each sorted), so that two
calls never wait for each other in a circle. It sees sealed bytes, digests and ids only; what they
mean is left to `domain`, `records` and `service`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from services.kit.ports.vault import OpeningRequest
from services.vault.domain import lock_key
from services.vault.key_rows import KeyRow, wrapped_of
from services.vault.keystore import KeyName


@dataclass(frozen=True, slots=True)
class Version:
    """A sealed record."""

    case_ref: UUID
    vault_version: int
    attempt: UUID
    subject_ref: UUID
    sealed: bytes = field(repr=False)
    first_version: int | None = None


@dataclass(frozen=True, slots=True)
class VersionKey:
    """The record's own key under the key of a purpose."""

    case_ref: UUID
    vault_version: int
    purpose: str
    key_version: int
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """What an attempt left: its state and, unless it is gone, its version and purposes' keys."""

    state: str
    case_ref: UUID | None
    subject_ref: UUID | None
    vault_version: int | None
    keys: frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Readable:
    """A record, its own key, and the data key that opens that; both None for another purpose."""

    case_ref: UUID
    vault_version: int
    subject_ref: UUID
    attempt: UUID
    sealed: bytes = field(repr=False)
    version_key: VersionKey | None
    data_key: KeyRow | None


# --- attempts -----------------------------------------------------------------------------------


async def claim_attempts(conn: Any, attempts: Sequence[UUID]) -> set[UUID]:
    """The attempts that were not known; waits for another call that holds one of them."""
    rows = await conn.fetch(
        "insert into vault.attempt (attempt) select a from unnest($1::uuid[]) a order by a"
        " on conflict do nothing returning attempt",
        list(attempts),
    )
    return {row["attempt"] for row in rows}


async def stored_attempts(conn: Any, attempts: Sequence[UUID]) -> dict[UUID, Stored]:
    """What known attempts left."""
    rows = await conn.fetch(
        "select a.attempt, a.state, v.case_ref, v.subject_ref, v.vault_version,"
        " array(select (x.purpose, x.key_version) from vault.version_key x"
        "  where x.case_ref = v.case_ref and x.vault_version = v.vault_version) as keys"
        " from unnest($1::uuid[]) u(a)"
        " join vault.attempt a on a.attempt = u.a left join vault.version v on v.attempt = u.a",
        list(attempts),
    )
    return {row["attempt"]: _stored(row) for row in rows}


def _stored(row: Any) -> Stored:
    keys = frozenset((purpose, version) for purpose, version in row["keys"])
    return Stored(row["state"], row["case_ref"], row["subject_ref"], row["vault_version"], keys)


async def delete_versions(conn: Any, attempts: Sequence[UUID]) -> None:
    """Delete what attempts stored that are decided anew."""
    if attempts:
        await conn.execute("delete from vault.version where attempt = any($1::uuid[])", attempts)


async def release_attempts(conn: Any, attempts: Sequence[UUID]) -> None:
    """Unclaim attempts of this very transaction that stored nothing: they may come again."""
    if attempts:
        await conn.execute("delete from vault.attempt where attempt = any($1::uuid[])", attempts)


async def keep_attempts(conn: Any, attempts: Sequence[UUID]) -> set[UUID]:
    """Mark as kept, with what goes by them; answers those that are."""
    rows = await conn.fetch(
        "with kept as (update vault.attempt set state = 'kept'"
        "  where attempt = any($1::uuid[]) and state <> 'gone' returning attempt),"
        " gone as (delete from vault.taken_away t using kept k where t.attempt = k.attempt"
        "  returning t.org, t.digest, t.subject_ref),"
        " lost as (delete from vault.identifier i using gone g"
        "  where (i.org, i.digest, i.subject_ref) = (g.org, g.digest, g.subject_ref))"
        " select attempt from kept",
        list(attempts),
    )
    return {row["attempt"] for row in rows}


async def forget_attempts(conn: Any, attempts: Sequence[UUID]) -> set[UUID]:
    """Delete what unkept attempts stored and remember that they are gone; answers those."""
    rows = await conn.fetch(
        "insert into vault.attempt as t (attempt, state)"
        " select a, 'gone' from unnest($1::uuid[]) a order by a"
        " on conflict (attempt) do update set state = 'gone', at = clock_timestamp()"
        " where t.state <> 'kept' returning attempt",
        sorted(set(attempts)),
    )
    gone = {row["attempt"] for row in rows}
    deleted = await conn.fetch(
        "delete from vault.version where attempt = any($1::uuid[]) returning subject_ref", gone
    )
    if deleted:
        await _delete_unnamed(conn, {row["subject_ref"] for row in deleted})
    return gone


async def _delete_unnamed(conn: Any, subjects: set[UUID]) -> None:
    """Delete subjects that no version names any more, with their identifiers."""
    rows = await conn.fetch(
        "select org, digest from vault.identifier where subject_ref = any($1::uuid[])", subjects
    )
    await lock_identifiers(conn, {(row["org"], row["digest"]) for row in rows})
    for table in ("identifier", "subject"):
        await conn.execute(
            f"delete from vault.{table} t where t.subject_ref = any($1::uuid[])"  # noqa: S608
            " and not exists (select from vault.version v where v.subject_ref = t.subject_ref)",
            subjects,
        )


# --- who somebody is ----------------------------------------------------------------------------


async def lock_identifiers(conn: Any, identifiers: set[tuple[str, bytes]]) -> None:
    """Nobody else decides who holds these until this transaction ends."""
    keys = sorted(lock_key(b"identifier", org.encode(), digest) for org, digest in identifiers)
    if keys:
        await conn.execute("select pg_advisory_xact_lock(k) from unnest($1::bigint[]) k", keys)


async def holders(
    conn: Any, identifiers: Sequence[tuple[str, bytes]]
) -> dict[tuple[str, bytes], UUID]:
    """The subject of each known identifier."""
    rows = await conn.fetch(
        "select i.org, i.digest, i.subject_ref from unnest($1::text[], $2::bytea[]) u(o, d)"
        " join vault.identifier i on i.org = u.o and i.digest = u.d",
        [org for org, _ in identifiers],
        [digest for _, digest in identifiers],
    )
    return {(row["org"], row["digest"]): row["subject_ref"] for row in rows}


async def insert_people(
    conn: Any, subjects: Sequence[UUID], identifiers: Sequence[tuple[str, bytes, UUID]]
) -> None:
    """New subjects and identifiers; the caller holds the identifiers' locks."""
    if subjects:
        await conn.execute(
            "insert into vault.subject (subject_ref) select s from unnest($1::uuid[]) s order by s"
            " on conflict do nothing",
            sorted(set(subjects)),
        )
    if identifiers:
        await conn.execute(
            "insert into vault.identifier (org, digest, subject_ref)"
            " select * from unnest($1::text[], $2::bytea[], $3::uuid[])",
            *(list(column) for column in zip(*identifiers, strict=True)),
        )


# --- records ------------------------------------------------------------------------------------


async def next_versions(conn: Any, cases: Sequence[UUID]) -> list[int]:
    """A version number for each item, in order within a case."""
    rows = await conn.fetch(
        "insert into vault.counter as t (case_ref, last)"
        " select c, count(*) from unnest($1::uuid[]) c group by c order by c"
        " on conflict (case_ref) do update set last = t.last + excluded.last"
        " returning case_ref, last",
        list(cases),
    )
    following = {row["case_ref"]: row["last"] - cases.count(row["case_ref"]) for row in rows}
    numbers = []
    for case in cases:
        following[case] += 1
        numbers.append(following[case])
    return numbers


async def insert_versions(
    conn: Any, versions: Sequence[Version], keys: Sequence[VersionKey]
) -> None:
    """Append records and their wrapped keys."""
    await conn.execute(
        "insert into vault.version"
        " (case_ref, vault_version, attempt, subject_ref, sealed, first_version)"
        " select * from unnest($1::uuid[], $2::int[], $3::uuid[], $4::uuid[], $5::bytea[],"
        " $6::int[])",
        [v.case_ref for v in versions],
        [v.vault_version for v in versions],
        [v.attempt for v in versions],
        [v.subject_ref for v in versions],
        [v.sealed for v in versions],
        [v.first_version for v in versions],
    )
    await conn.execute(
        "insert into vault.version_key (case_ref, vault_version, purpose, key_version, wrapped)"
        " select * from unnest($1::uuid[], $2::int[], $3::text[], $4::int[], $5::bytea[])",
        [k.case_ref for k in keys],
        [k.vault_version for k in keys],
        [k.purpose for k in keys],
        [k.key_version for k in keys],
        [k.wrapped for k in keys],
    )


READABLE = """
  v.subject_ref, v.attempt, v.sealed, v.case_ref, v.vault_version,
  x.purpose, x.key_version, x.wrapped as x_wrapped, k.epoch, k.wrapped as k_wrapped
"""


async def readable(
    conn: Any, wanted: Sequence[tuple[UUID, int, str, int]]
) -> list[Readable | None]:
    """Records by (case, version, purpose, key version), None when there is no such version."""
    rows = await conn.fetch(
        f"select u.o, {READABLE}"  # noqa: S608
        " from unnest($1::uuid[], $2::int[], $3::text[], $4::int[])"
        " with ordinality u(c, n, p, q, o)"
        " join vault.version v on v.case_ref = u.c and v.vault_version = u.n"
        " left join vault.version_key x on x.case_ref = u.c and x.vault_version = u.n"
        "  and x.purpose = u.p and x.key_version = u.q"
        " left join keys.data_key k on k.case_ref = u.c and k.purpose = u.p and k.version = u.q",
        *(list(column) for column in zip(*wanted, strict=True)),
    )
    found = {row["o"]: readable_of(row) for row in rows}
    return [found.get(place) for place in range(1, len(wanted) + 1)]


async def latest_readable(conn: Any, case_ref: UUID) -> Readable | None:
    """The newest accepted record of a case that any live key opens."""
    row = await conn.fetchrow(
        f"select {READABLE} from vault.version v"  # noqa: S608
        " join vault.attempt a on a.attempt = v.attempt and a.state = 'kept'"
        " join vault.version_key x using (case_ref, vault_version)"
        " join keys.data_key k on k.case_ref = v.case_ref and k.purpose = x.purpose"
        "  and k.version = x.key_version and k.wrapped is not null"
        " where v.case_ref = $1 order by v.vault_version desc limit 1",
        case_ref,
    )
    return readable_of(row) if row else None


async def every_version(conn: Any, case_ref: UUID) -> list[tuple[Readable, datetime]]:
    """Every accepted record of a case, oldest first, with a live key where there is one left."""
    rows = await conn.fetch(
        f"select distinct on (v.vault_version) v.at, {READABLE} from vault.version v"  # noqa: S608
        " join vault.attempt a on a.attempt = v.attempt and a.state = 'kept'"
        " left join (vault.version_key x join keys.data_key k on k.case_ref = x.case_ref"
        "  and k.purpose = x.purpose and k.version = x.key_version and k.wrapped is not null)"
        "  on x.case_ref = v.case_ref and x.vault_version = v.vault_version"
        " where v.case_ref = $1 order by v.vault_version, x.purpose",
        case_ref,
    )
    return [(readable_of(row), row["at"]) for row in rows]


async def other_cases(conn: Any, case_ref: UUID) -> int:
    """How many other cases hold accepted records of the person of this case."""
    return int(
        await conn.fetchval(
            "select count(distinct o.case_ref) from vault.version v"
            " join vault.version o on o.subject_ref = v.subject_ref and o.case_ref <> v.case_ref"
            " join vault.attempt a on a.attempt = o.attempt and a.state = 'kept'"
            " where v.case_ref = $1",
            case_ref,
        )
    )


def readable_of(row: Any) -> Readable:
    """A record from a row of `READABLE`."""
    own = data = None
    if row["x_wrapped"] is not None:
        own = VersionKey(
            row["case_ref"],
            row["vault_version"],
            row["purpose"],
            row["key_version"],
            row["x_wrapped"],
        )
        name = KeyName(row["case_ref"], row["purpose"], row["key_version"])
        data = KeyRow(name, wrapped_of(row["epoch"], row["k_wrapped"]))
    return Readable(
        row["case_ref"],
        row["vault_version"],
        row["subject_ref"],
        row["attempt"],
        row["sealed"],
        own,
        data,
    )


# --- what was let out ---------------------------------------------------------------------------


async def use_grants(conn: Any, grants: Sequence[tuple[UUID, bytes]], service: str) -> set[UUID]:
    """Record first uses; answers the grants that had not been used."""
    rows = await conn.fetch(
        "insert into vault.grant_use (grant_ref, digest, service)"
        " select g, d, $3 from unnest($1::uuid[], $2::bytea[]) u(g, d) order by g"
        " on conflict do nothing returning grant_ref",
        [ref for ref, _ in grants],
        [digest for _, digest in grants],
        service,
    )
    return {row["grant_ref"] for row in rows}


async def grant_uses(conn: Any, grants: Sequence[UUID]) -> dict[UUID, datetime]:
    """When each of these was used, if it was."""
    rows = await conn.fetch(
        "select grant_ref, used_at from vault.grant_use where grant_ref = any($1::uuid[])",
        list(grants),
    )
    return {row["grant_ref"]: row["used_at"] for row in rows}


async def count_people(conn: Any, service: str, minute: datetime, people: int) -> int:
    """Add to what a service has been shown in a minute; answers the sum."""
    return int(
        await conn.fetchval(
            "insert into vault.quota as q (service, minute, people) values ($1, $2, $3)"
            " on conflict (service, minute) do update set people = q.people + excluded.people"
            " returning people",
            service,
            minute,
            people,
        )
    )


async def insert_opening(conn: Any, request: OpeningRequest) -> bool:
    """Record who had an identity opened and why; False when this opening was recorded before."""
    (person_1, org_1), (person_2, org_2) = request.approvers
    row = await conn.fetchrow(
        "insert into vault.opening (opening_ref, case_ref, reason_code, approver_1, org_1,"
        " approver_2, org_2, leaf_ref) values ($1, $2, $3, $4, $5, $6, $7, $8)"
        " on conflict do nothing returning 1",
        request.opening_ref,
        request.case_ref,
        request.reason_code,
        person_1,
        org_1,
        person_2,
        org_2,
        request.leaf_ref,
    )
    return row is not None


async def prune(conn: Any) -> None:
    """Drop counts of past minutes, and attempts gone so long that none of them can wake up."""
    await conn.execute(
        "delete from vault.quota where minute < clock_timestamp() - interval '1 hour'"
    )
    await conn.execute(
        "delete from vault.attempt where state = 'gone'"
        " and at < clock_timestamp() - interval '7 days'"
    )
