"""The queue of notes: which party is told of a change by webhook, and what became of each note.

It guards that a note is written in the transaction in which delivery handled the event, that notes
about one referral go to a party in their order and never before it was told of the referral, and
that a party is told neither of what it did itself nor of what only the other may know. Sending is
`notifying`'s; what a message says, `announcing`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from schemas import (
    ReferralAnswerDue,
    ReferralCompleted,
    ReferralDelivered,
    ReferralDeliveryFailed,
    ReferralRevoked,
    ReferralStatusChanged,
)
from services.kit.aliases import own_instant
from services.kit.partners import Partner
from services.kit.ports.referral import ReferralState
from services.kit.steps import step

Conn = Any
KEEP: Final = timedelta(days=30)
"""How long the hub knows what became of a note."""
HORIZON: Final = timedelta(hours=24)
"""How long a note is tried."""
CHANGED: Final = "cauce.referral.status_changed"
REVOKED: Final = "cauce.referral.revoked"
DUE: Final = "cauce.referral.answer_due"
AMENDED: Final = "cauce.referral.data_changed"
_PARTIES: Final = """
select distinct on (referral_ref) referral_ref, source_org, to_org from delivery.task
 where referral_ref = any($1::uuid[]) and kind = 'content' order by referral_ref, seq
"""
_PUT: Final = """
insert into delivery.notification (notification_id, org, channel, side, type, subject, version,
    status, stage, owed_by, at)
select i, o, 'webhook', s, t, r, v, u, g, w, a
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::int[], $7::text[],
    $8::text[], $9::text[], $10::timestamptz[]) with ordinality q(i, o, s, t, r, v, u, g, w, a, n)
order by n
"""
_DUE: Final = """
select n.notification_id, n.org, n.side, n.type, n.subject, n.version, n.status, n.stage,
       n.owed_by, n.entry, n.capacity, n.at, n.attempts, n.created_at,
       n.side = 'from' or delivery.reached(n.org, n.subject) as knows
  from unnest($1::text[], $2::int[]) p(org, free) cross join lateral (
    select * from delivery.notification w
     where w.org = p.org and w.state = 'queued' and w.next_at <= clock_timestamp()
       and w.notification_id <> all($3::uuid[])
       and not exists (
           select from delivery.notification e where e.subject = w.subject and e.org = w.org
              and e.seq < w.seq and e.state = 'queued')
       and (w.side = 'from' or not exists (
           select from delivery.task t where t.referral_ref = w.subject and t.to_org = w.org
              and t.kind = 'content' and (t.state in ('queued', 'claimed', 'held') or exists (
                  select from delivery.intent i
                   where i.task_id = t.task_id and i.state = 'open'))))
     order by w.seq limit p.free) n
"""
_END: Final = """
update delivery.notification n set state = q.s, rule = q.r, attempts = n.attempts + 1,
    next_at = clock_timestamp() + q.w,
    done_at = case when q.s <> 'queued' then clock_timestamp() end
  from unnest($1::uuid[], $2::text[], $3::text[], $4::interval[]) q(i, s, r, w)
 where n.notification_id = q.i and n.state = 'queued'
"""
_OLD: Final = """
update delivery.notification set state = 'failed', rule = 'horizon', done_at = clock_timestamp()
 where state = 'queued' and created_at < clock_timestamp() - $1::interval
"""
_FORGET: Final = """
delete from delivery.notification
 where state <> 'queued' and done_at < clock_timestamp() - $1::interval
"""
_GONE: Final = """
insert into delivery.webhook_gone (org, version) values ($1, $2)
on conflict (org) do update set version = excluded.version, at = excluded.at
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What an event says of a referral, and which of its parties it may be told to."""

    type: str
    referral_ref: UUID
    version: int
    status: str
    at: datetime
    source_org: str
    actor: str | None = None
    """Who did it, and so knows."""
    sides: frozenset[str] = frozenset({"from", "to"})
    only: str | None = None
    stage: str | None = None
    owed_by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """A note that may be sent now; `knows` is whether its receiver was told of the referral."""

    notification_id: UUID
    org: str
    side: str
    type: str
    subject: UUID
    version: int
    status: str
    stage: str | None
    owed_by: str | None
    entry: str | None
    """The directory's id of the service that a note is about; None where it is of a referral."""
    capacity: str | None
    at: datetime
    attempts: int
    created_at: datetime
    knows: bool


def change_of(event: object) -> Change | None:
    """What parties are told of an event; None where it is nothing."""
    said: dict[str, Any] = {"type": CHANGED}
    match event:
        case ReferralStatusChanged():
            said |= {"status": event.to_status, "actor": event.actor_org}
        case ReferralCompleted():
            said |= {"status": "completed", "actor": event.actor_org}
        case ReferralRevoked():
            said = {"type": REVOKED, "status": "revoked"}
        case ReferralDelivered():
            said |= {"status": "delivered", "sides": frozenset({"from"})}
        case ReferralDeliveryFailed():
            said |= {"status": "delivery_failed", "sides": frozenset({"from"})}
        case ReferralAnswerDue():
            whom = {"reminded": event.owed_by, "escalated": event.from_org}
            said = {
                "type": DUE,
                "status": event.status,
                "only": whom.get(event.answer_stage),
                "stage": event.answer_stage,
                "owed_by": "sender" if event.owed_by == event.from_org else "recipient",
            }
        case _:
            return None
    return Change(
        referral_ref=event.referral_ref,
        version=event.version,
        at=event.occurred_at,
        source_org=event.source_org,
        **said,
    )


async def note(
    conn: Conn, events: Sequence[object], partners: Mapping[str, Partner], alias_key: bytes
) -> bool:
    """Queue what these events mean to parties with a webhook, in the caller's transaction.

    Called after the batch's own tasks are queued: who the parties are is read from them. What
    ended before it was sent has none, and its sender alone is told.
    """
    told = {org for org, partner in partners.items() if partner.webhook is not None}
    changes = [found for event in events if (found := change_of(event)) is not None]
    if not told or not changes:
        return False
    rows = await conn.fetch(_PARTIES, sorted({c.referral_ref for c in changes}))
    parties = {r["referral_ref"]: (r["source_org"], r["to_org"]) for r in rows}
    notes = [
        (uuid4(), org, side, c.type, c.referral_ref, c.version, c.status, c.stage, c.owed_by, at)
        for c in changes
        for side, org, at in receivers(c, parties.get(c.referral_ref, (c.source_org,)), alias_key)
        if org in told
    ]
    if notes:
        await conn.execute(_PUT, *(list(column) for column in zip(*notes, strict=True)))
        step("notice.queued")
    return bool(notes)


async def amended(conn: Conn, org: str, state: ReferralState, at: datetime) -> None:
    """Queue for a recipient that what it received was put right; `at` as it may know it."""
    ref, version, status = state.referral_ref, state.version, state.status
    note_ = (uuid4(), org, "to", AMENDED, ref, version, status, None, None, at)
    await conn.execute(_PUT, *([value] for value in note_))


def receivers(
    change: Change, parties: Sequence[str], alias_key: bytes
) -> list[tuple[str, str, datetime]]:
    """Side, organisation and instant as it may know it, for each party that is told."""
    found = []
    for side, org in zip(("from", "to"), parties, strict=False):
        if side not in change.sides or org == change.actor or change.only not in (None, org):
            continue
        at = change.at
        if side == "to":
            at = own_instant(alias_key, change.referral_ref, change.version, org, at)
        found.append((side, org, at))
    return found


async def due(conn: Conn, free: Mapping[str, int], busy: Sequence[UUID]) -> list[Queued]:
    """The first waiting note of each referral and party, at most `free` of each organisation."""
    rows = await conn.fetch(_DUE, list(free), list(free.values()), list(busy))
    return [Queued(**dict(row)) for row in rows]


async def end(conn: Conn, ends: Sequence[tuple[UUID, str, str, timedelta]]) -> None:
    """What became of notes: (id, state, rule, wait before the next attempt)."""
    rows = sorted(ends, key=lambda one: one[0])
    await conn.execute(_END, *(list(column) for column in zip(*rows, strict=True)))


async def tidy(conn: Conn) -> None:
    """Give up what is too old to be told, forget what is long over."""
    await conn.execute(_OLD, HORIZON)
    await conn.execute(_FORGET, KEEP)


async def counts(conn: Conn) -> dict[str, int]:
    """Notes by state, but for those that were taken."""
    rows = await conn.fetch(
        "select state, count(*) as n from delivery.notification where state <> 'done' group by 1"
    )
    return {row["state"]: row["n"] for row in rows}


async def gone(conn: Conn) -> dict[str, int]:
    """Organisations whose endpoint said it is gone: the version of the record it stood in."""
    rows = await conn.fetch("select org, version from delivery.webhook_gone")
    return {row["org"]: row["version"] for row in rows}


async def mark_gone(conn: Conn, org: str, version: int) -> None:
    """The endpoint in this version of the partner's record is gone."""
    await conn.execute(_GONE, org, version)
