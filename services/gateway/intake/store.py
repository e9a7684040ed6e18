"""Tables of submissions, cases and the ids the parties know: one statement per effect.

It guards that each write of an attempt checks that the attempt still holds its reservation. What
is written, and when to try again, is left to `accept`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.gateway import notices
from services.gateway.notices import Notice

TAKE_OVER_AFTER: Final = timedelta(seconds=10)
"""A reservation this old belongs to an attempt that died; the next one may have it."""

ABANDON_AFTER: Final = timedelta(seconds=30)
REMEMBER: Final = timedelta(days=30)
"""How long answers and digests are remembered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is known of a submission's key."""

    digest: bytes
    attempt: UUID
    running: bool
    stale: bool
    answer: bytes | None = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """One attempt at one submission; `previous` is this caller's own earlier attempt."""

    org: str
    key_mac: bytes
    digest: bytes
    attempt: UUID
    previous: UUID | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseRow:
    """A case of one organisation."""

    case_ref: UUID
    org: str
    subject_ref: UUID
    requisition_mac: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptedRow:
    """What the gateway keeps of an accepted referral; `aliases` are (alias, org, kind, target)."""

    org: str
    key_mac: bytes
    attempt: UUID
    answer: bytes = field(repr=False)
    referral_ref: UUID
    case: CaseRow
    new_case: bool
    consent_ref: UUID
    to_org: str
    accepted_at: datetime
    aliases: tuple[tuple[UUID, str, str, UUID], ...]
    notice: Notice | None


async def seen(conn: Any, keys: Sequence[tuple[str, bytes]]) -> list[Seen | None]:
    """What is known of each (org, key)."""
    rows = await conn.fetch(
        "select u.o, s.digest, s.attempt, s.status, s.answer,"
        " s.started_at < clock_timestamp() - $3::interval as stale"
        " from unnest($1::text[], $2::bytea[]) with ordinality u(org, mac, o)"
        " join gateway.submission s on s.org = u.org and s.key_mac = u.mac",
        [org for org, _ in keys],
        [mac for _, mac in keys],
        TAKE_OVER_AFTER,
    )
    found: list[Seen | None] = [None] * len(keys)
    for r in rows:
        found[r["o"] - 1] = Seen(
            digest=r["digest"],
            attempt=r["attempt"],
            running=r["status"] == "running",
            stale=r["stale"],
            answer=r["answer"],
        )
    return found


async def reserve(conn: Any, wanted: Sequence[Reservation]) -> set[UUID]:
    """Reserve; answers the attempts that now hold their key."""
    rows = await conn.fetch(
        "with wanted as ("
        "  select * from unnest($1::text[], $2::bytea[], $3::bytea[], $4::uuid[], $5::uuid[])"
        "         u(org, key_mac, digest, attempt, previous)),"
        " overtaken as ("
        "  select s.attempt from wanted w join gateway.submission s using (org, key_mac)"
        "   where s.status = 'running' and (s.attempt = w.previous"
        "         or s.started_at < clock_timestamp() - $6::interval)),"
        " abandoned as ("
        "  insert into gateway.abandoned (attempt) select attempt from overtaken"
        "  on conflict do nothing)"
        " insert into gateway.submission as s (org, key_mac, digest, attempt, status)"
        " select org, key_mac, digest, attempt, 'running' from wanted order by org, key_mac"
        " on conflict (org, key_mac) do update"
        "   set attempt = excluded.attempt, digest = excluded.digest,"
        "       started_at = clock_timestamp()"
        " where s.status = 'running' and s.attempt in (select attempt from overtaken)"
        " returning s.attempt",
        [w.org for w in wanted],
        [w.key_mac for w in wanted],
        [w.digest for w in wanted],
        [w.attempt for w in wanted],
        [w.previous for w in wanted],
        TAKE_OVER_AFTER,
    )
    return {r["attempt"] for r in rows}


async def release(conn: Any, attempts: Sequence[UUID]) -> None:
    """Give up attempts; the vault forgets them later."""
    await conn.execute(
        "with gone as (delete from gateway.submission"
        "  where attempt = any($1::uuid[]) and status = 'running' returning attempt)"
        " insert into gateway.abandoned (attempt) select attempt from gone on conflict do nothing",
        list(attempts),
    )


async def cases_by_requisition(
    conn: Any, keys: Sequence[tuple[str, bytes]]
) -> dict[tuple[str, bytes], CaseRow]:
    """Cases by (org, requisition)."""
    rows = await conn.fetch(
        "select c.* from unnest($1::text[], $2::bytea[]) u(org, mac)"
        " join gateway.case_file c on c.org = u.org and c.requisition_mac = u.mac",
        [org for org, _ in keys],
        [mac for _, mac in keys],
    )
    return {(r["org"], r["requisition_mac"]): _case(r) for r in rows}


async def open_cases(
    conn: Any, keys: Sequence[tuple[str, UUID]]
) -> dict[tuple[str, UUID], list[CaseRow]]:
    """Open cases by (org, subject)."""
    rows = await conn.fetch(
        "select c.* from unnest($1::text[], $2::uuid[]) u(org, subject)"
        " join gateway.case_file c on c.org = u.org and c.subject_ref = u.subject"
        "  and c.status = 'open'",
        [org for org, _ in keys],
        [subject for _, subject in keys],
    )
    found: dict[tuple[str, UUID], list[CaseRow]] = {}
    for r in rows:
        found.setdefault((r["org"], r["subject_ref"]), []).append(_case(r))
    return found


def _case(r: asyncpg.Record) -> CaseRow:
    return CaseRow(
        case_ref=r["case_ref"],
        org=r["org"],
        subject_ref=r["subject_ref"],
        requisition_mac=r["requisition_mac"],
    )


async def finalise(conn: Any, rows: Sequence[AcceptedRow]) -> set[UUID]:
    """Accept what still holds its reservation; answers those attempts. Own rows, first lock."""
    done = await conn.fetch(
        "update gateway.submission s set status = 'accepted', answer = u.answer,"
        "       referral_ref = u.referral_ref"
        "  from unnest($1::text[], $2::bytea[], $3::uuid[], $4::bytea[], $5::uuid[])"
        "       u(org, key_mac, attempt, answer, referral_ref)"
        " where s.org = u.org and s.key_mac = u.key_mac and s.attempt = u.attempt"
        "   and s.status = 'running' returning s.attempt",
        [r.org for r in rows],
        [r.key_mac for r in rows],
        [r.attempt for r in rows],
        [r.answer for r in rows],
        [r.referral_ref for r in rows],
    )
    return {r["attempt"] for r in done}


async def add(conn: Any, rows: Sequence[AcceptedRow]) -> None:
    """Cases, referrals, aliases and notices due of what was finalised."""
    new = sorted((r for r in rows if r.new_case), key=lambda r: r.case.case_ref)
    await conn.execute(
        "insert into gateway.case_file (case_ref, org, subject_ref, requisition_mac, opened_at)"
        " select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::bytea[], $5::timestamptz[])",
        [r.case.case_ref for r in new],
        [r.case.org for r in new],
        [r.case.subject_ref for r in new],
        [r.case.requisition_mac for r in new],
        [r.accepted_at for r in new],
    )
    await conn.execute(
        "insert into gateway.referral (referral_ref, case_ref, consent_ref, subject_ref, from_org,"
        "  to_org, accepted_at) select * from unnest($1::uuid[], $2::uuid[], $3::uuid[],"
        "  $4::uuid[], $5::text[], $6::text[], $7::timestamptz[])",
        [r.referral_ref for r in rows],
        [r.case.case_ref for r in rows],
        [r.consent_ref for r in rows],
        [r.case.subject_ref for r in rows],
        [r.org for r in rows],
        [r.to_org for r in rows],
        [r.accepted_at for r in rows],
    )
    aliases = sorted((*one, r.referral_ref) for r in rows for one in r.aliases)
    await conn.execute(
        "insert into gateway.alias (alias, org, kind, target, referral_ref)"
        " select * from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[])"
        " on conflict do nothing",
        *(list(column) for column in zip(*aliases, strict=True)),
    )
    await notices.store(conn, [r.notice for r in rows if r.notice is not None])


async def refuse(conn: Any, ref: UUID, org: str, digest: bytes, reasons: Sequence[str]) -> None:
    """All that is kept of a refused submission."""
    await conn.execute(
        "insert into gateway.refusal (refusal_ref, org, digest, reasons) values ($1, $2, $3, $4)",
        ref,
        org,
        digest,
        list(reasons),
    )


async def unkept(conn: Any) -> list[UUID]:
    """Up to 64 accepted attempts that the vault has not been told of."""
    rows = await conn.fetch(
        "select attempt from gateway.submission where status = 'accepted' and not kept limit 64"
    )
    return [r["attempt"] for r in rows]


async def mark_kept(conn: Any, attempts: Sequence[UUID]) -> None:
    """The vault knows them."""
    await conn.execute(
        "update gateway.submission set kept = true where attempt = any($1::uuid[])", list(attempts)
    )


async def abandon_old(conn: Any) -> None:
    """Give up reservations whose attempt died."""
    rows = await conn.fetch(
        "select attempt from gateway.submission where status = 'running'"
        " and started_at < clock_timestamp() - $1::interval limit 64",
        ABANDON_AFTER,
    )
    await release(conn, [r["attempt"] for r in rows])


async def abandoned(conn: Any) -> list[UUID]:
    """Up to 64 attempts that the vault has yet to forget."""
    rows = await conn.fetch("select attempt from gateway.abandoned order by attempt limit 64")
    return [r["attempt"] for r in rows]


async def forgotten(conn: Any, attempts: Sequence[UUID]) -> None:
    """The vault has forgotten them."""
    await conn.execute(
        "delete from gateway.abandoned where attempt = any($1::uuid[])", list(attempts)
    )


async def forget_old(conn: Any) -> None:
    """Digests and answers end after their time."""
    await conn.execute(
        "delete from gateway.refusal where at < clock_timestamp() - $1::interval", REMEMBER
    )
    await conn.execute(
        "delete from gateway.submission where status = 'accepted' and kept"
        " and started_at < clock_timestamp() - $1::interval",
        REMEMBER,
    )
