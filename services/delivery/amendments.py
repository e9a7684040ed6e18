"""What was put right in a case, and who holds what it was before.

It guards that from the event on nothing leaves under a version that another stands for, and that
whoever may hold the old value is found however late an intent was committed: an amendment is looked
at until every transaction that could still have read the old version is long over. What each one
gets is `rectifying`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from schemas import CaseUpdated
from services.delivery.domain import AMENDED
from services.kit.ports.delivery import Changed, ChangedQuery

Conn = Any
SETTLES: Final = timedelta(seconds=60)
"""No transaction that authorises lives nearly as long."""
MOST: Final = 64
_VERSIONS: Final = """
insert into delivery.current_version as v (case_ref, first_version, vault_version)
select c, f, max(n) from unnest($1::uuid[], $2::int[], $3::int[]) q(c, f, n)
group by c, f order by c, f
on conflict (case_ref, first_version)
do update set vault_version = greatest(v.vault_version, excluded.vault_version)
"""
_RECORD: Final = """
insert into delivery.amendment (case_ref, version, since_version, data_categories)
select c, v, s, string_to_array(k, ',')
from unnest($1::uuid[], $2::int[], $3::int[], $4::text[]) q(c, v, s, k) order by c, v
on conflict do nothing
"""
_CURRENT: Final = """
select case_ref, first_version, vault_version from unnest($1::uuid[], $2::int[]) q(c, f)
join delivery.current_version v on v.case_ref = q.c and v.first_version = q.f
"""
_HOLDERS: Final = """
select i.referral_ref, i.to_org, max(a.version) as version, i.case_ref, i.purpose, i.source_org,
    i.confidentiality
from delivery.amendment a join delivery.intent i on i.case_ref = a.case_ref
where not a.settled and i.state <> 'not_sent'
  and (i.vault_version is null or i.vault_version < a.since_version)
  and exists (
    select from unnest(i.data_categories) k where k = any(a.data_categories)
       and not exists (
        select from delivery.erasure e
        where e.referral_ref = i.referral_ref and e.to_org = i.to_org
          and (e.data_categories = '{}' or k = any(e.data_categories))))
  and not exists (
    select from delivery.rectified r where r.referral_ref = i.referral_ref
       and r.to_org = i.to_org and r.version >= a.version)
group by i.referral_ref, i.to_org, i.case_ref, i.purpose, i.source_org, i.confidentiality
order by i.referral_ref, i.to_org limit $1
"""
_DONE: Final = """
insert into delivery.rectified (referral_ref, to_org, version, result, rule, case_ref)
select * from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::uuid[])
on conflict do nothing returning referral_ref, to_org
"""
_SETTLE: Final = """
update delivery.amendment set settled = true
where not settled and at < clock_timestamp() - $1::interval
"""
_UNREAD: Final = """
r.result = 'told' and not exists (
    select from delivery.rectified l where l.referral_ref = r.referral_ref
       and l.to_org = r.to_org and l.version > r.version and l.result = 'told')
  and not exists (
    select from delivery.intent i where i.case_ref = r.case_ref and i.to_org = r.to_org
       and i.referral_ref = r.referral_ref and i.state <> 'not_sent' and i.at > r.at
       and i.data_categories <> '{}')
  and not exists (
    select from delivery.erasure e where e.referral_ref = r.referral_ref
       and e.to_org = r.to_org and e.data_categories = '{}')
"""
# ruff: noqa: S608 -- the only text put into these statements is the condition above
_OWED: Final = f"""
select exists (select from delivery.rectified r
    where r.referral_ref = $1 and r.to_org = $2 and {_UNREAD})
"""
_CHANGED: Final = f"""
select r.referral_ref, r.at, r.version from delivery.rectified r
where r.to_org = $1 and ($2::timestamptz is null or (r.at, r.referral_ref) > ($2, $3::uuid))
  and {_UNREAD}
order by r.at, r.referral_ref limit $4
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who may hold what a case said before its `version`, by one referral."""

    referral_ref: UUID
    to_org: str
    version: int
    case_ref: UUID
    purpose: str
    source_org: str
    confidentiality: str


@dataclass(frozen=True, slots=True)
class Done:
    """What was done for a holder: `queued`, `told` or `denied`, by this rule."""

    holder: Holder
    result: str
    rule: str


async def record(conn: Conn, events: Sequence[CaseUpdated]) -> None:
    """Note which versions stand from now on, in the caller's transaction."""
    found = [event for event in events if event.amended]
    if not found:
        return
    rows = [(e.case_ref, a.first_version, a.vault_version) for e in found for a in e.amended]
    await conn.execute(_VERSIONS, *(list(column) for column in zip(*rows, strict=True)))
    await conn.execute(
        _RECORD,
        [e.case_ref for e in found],
        [e.version for e in found],
        [min(a.vault_version for a in e.amended) for e in found],
        [",".join(e.data_categories) for e in found],
    )


async def current(conn: Conn, named: Sequence[tuple[UUID, int]]) -> Mapping[tuple[UUID, int], int]:
    """The version that stands for each (case, version) that has another in its place."""
    rows = await conn.fetch(_CURRENT, [c for c, _ in named], [n for _, n in named])
    return {(r["case_ref"], r["first_version"]): r["vault_version"] for r in rows}


async def holders(conn: Conn) -> list[Holder]:
    """Up to `MOST` that have yet to get what is right."""
    return [Holder(**dict(row)) for row in await conn.fetch(_HOLDERS, MOST)]


async def done(conn: Conn, rows: Sequence[Done]) -> set[tuple[UUID, str]]:
    """Note what is done in the caller's transaction; answers those that it was news for."""
    found = await conn.fetch(
        _DONE,
        [one.holder.referral_ref for one in rows],
        [one.holder.to_org for one in rows],
        [one.holder.version for one in rows],
        [one.result for one in rows],
        [one.rule for one in rows],
        [one.holder.case_ref for one in rows],
    )
    return {(row["referral_ref"], row["to_org"]) for row in found}


async def settle(conn: Conn) -> None:
    """Look no more at what no transaction can have missed."""
    await conn.execute(_SETTLE, SETTLES)


async def owed(conn: Conn, referral_ref: UUID, org: str) -> bool:
    """Whether a recipient was told to read anew and has not."""
    return bool(await conn.fetchval(_OWED, referral_ref, org))


async def changed(conn: Conn, query: ChangedQuery) -> list[Changed]:
    """What a recipient has yet to read anew, oldest first."""
    at, ref = query.after or (None, None)
    rows = await conn.fetch(_CHANGED, query.to_org, at, ref, query.limit)
    return [
        Changed(referral_ref=r["referral_ref"], at=r["at"], mark=AMENDED + r["version"])
        for r in rows
    ]
