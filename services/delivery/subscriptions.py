"""The log of each subscription: events numbered without gaps, and how far it was sent.

It guards that an event has its number in the transaction in which delivery handled it, under the
lock of the subscription's row, so that numbers are in the order of commits and none is missing.
Sending is `subscribing`'s, registering the gateway's.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from schemas import (
    ReferralCompleted,
    ReferralDelivered,
    ReferralDeliveryFailed,
    ReferralRevoked,
    ReferralSent,
    ReferralStatusChanged,
)
from services.kit.aliases import own_instant
from services.kit.steps import step
from services.kit.subscriptions import Subscription

KEEP: Final = timedelta(days=30)
"""How long `$events` can tell of an event."""
_PARTIES: Final = """
select distinct on (referral_ref) referral_ref, source_org, to_org from delivery.task
 where referral_ref = any($1::uuid[]) and kind = 'content' order by referral_ref, seq
"""
_LOCK: Final = """
select subscription_id, last_number from delivery.subscription
 where subscription_id = any($1::uuid[]) order by subscription_id for update
"""
_BEGIN: Final = """
insert into delivery.subscription (subscription_id, org, version)
select * from unnest($1::uuid[], $2::text[], $3::integer[]) on conflict do nothing
"""
_NOTE: Final = """
with noted as (
    insert into delivery.subscription_event (subscription_id, number, referral_ref, version, at)
    select * from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::integer[], $5::timestamptz[])
    returning subscription_id, number)
update delivery.subscription s set last_number = n.last
  from (select subscription_id, max(number) as last from noted group by subscription_id) n
 where s.subscription_id = n.subscription_id
"""
_FOLLOW: Final = """
update delivery.subscription s
   set version = q.v, state = 'requested', fault = null, attempts = 0, failing_since = null,
       next_at = clock_timestamp()
  from unnest($1::uuid[], $2::integer[]) q(i, v)
 where s.subscription_id = q.i and s.version < q.v
"""
_DUE: Final = """
select subscription_id, version, state, last_number, sent_number, attempts, heard_at, failing_since
  from delivery.subscription
 where subscription_id = any($1::uuid[]) and next_at <= clock_timestamp()
   and state in ('requested', 'active')
"""
_EVENTS: Final = """
select number, referral_ref, at
  from delivery.subscription_events($1, $2::bigint + 1, 9223372036854775807, $3)
"""
_DONE: Final = """
update delivery.subscription
   set state = 'active', fault = null, sent_number = greatest(sent_number, $3), attempts = 0,
       failing_since = null, heard_at = clock_timestamp(), next_at = clock_timestamp()
 where subscription_id = $1 and version = $2 and state in ('requested', 'active')
"""
_FAILED: Final = """
update delivery.subscription
   set state = $3, fault = $4, attempts = attempts + 1, next_at = clock_timestamp() + $5,
       failing_since = coalesce(failing_since, clock_timestamp())
 where subscription_id = $1 and version = $2 and state in ('requested', 'active')
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A referral moved: its version and status after that, and when."""

    referral_ref: UUID
    version: int
    status: str
    at: datetime
    source_org: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A subscription that may have something to be told."""

    subscription_id: UUID
    version: int
    state: str
    last_number: int
    sent_number: int
    attempts: int
    heard_at: datetime | None
    failing_since: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    """One event of a subscription's log; about nothing where the subscriber may not know."""

    number: int
    referral_ref: UUID | None
    at: datetime


def change_of(event: object) -> Change | None:
    """What an event says about a referral; None for an event about anything else."""
    match event:
        case ReferralSent():
            status = "sent"
        case ReferralStatusChanged():
            status = event.to_status
        case ReferralCompleted():
            status = "completed"
        case ReferralRevoked():
            status = "revoked"
        case ReferralDelivered():
            status = "delivered"
        case ReferralDeliveryFailed():
            status = "delivery_failed"
        case _:
            return None
    return Change(
        referral_ref=event.referral_ref,
        version=event.version,
        status=status,
        at=event.occurred_at,
        source_org=event.source_org,
    )


async def note(
    conn: Any, events: Sequence[object], known: Mapping[UUID, Subscription], alias_key: bytes
) -> bool:
    """Number what these events mean to each subscription, in the caller's transaction.

    Called after the batch's own tasks are queued: who the parties are is read from them. What
    ended before it was sent has none, and is its sender's alone.
    """
    changes = [change for event in events if (change := change_of(event)) is not None]
    if not changes or not known:
        return False
    rows = await conn.fetch(_PARTIES, sorted({c.referral_ref for c in changes}))
    parties = {r["referral_ref"]: (r["source_org"], r["to_org"]) for r in rows}
    wanted: dict[UUID, list[tuple[Change, datetime]]] = defaultdict(list)
    for change in changes:
        sides = parties.get(change.referral_ref, (change.source_org,))
        for one, at in _meant(change, sides, known, alias_key):
            wanted[one].append((change, at))
    if wanted:
        await _number(conn, wanted, known)
        step("subscription.noted")
    return bool(wanted)


def _meant(
    change: Change,
    parties: Sequence[str],
    known: Mapping[UUID, Subscription],
    alias_key: bytes,
) -> list[tuple[UUID, datetime]]:
    """Subscriptions that a change belongs to, and its instant for each."""
    found = []
    for side, org in zip(("from", "to"), parties, strict=False):
        at = change.at
        if side == "to":
            at = own_instant(alias_key, change.referral_ref, change.version, org, at)
        found += [
            (one.subscription_id, at)
            for one in known.values()
            if one.org == org and one.wants(side, change.status)
        ]
    return found


async def tell(conn: Any, change: Change, org: str, known: Mapping[UUID, Subscription]) -> None:
    """Number a change for the subscriptions of its recipient, `at` as that may know it."""
    meant = [one for one in known.values() if one.org == org and one.wants("to", change.status)]
    if meant:
        await _number(conn, {one.subscription_id: [(change, change.at)] for one in meant}, known)


async def _number(
    conn: Any,
    wanted: Mapping[UUID, Sequence[tuple[Change, datetime]]],
    known: Mapping[UUID, Subscription],
) -> None:
    ids = sorted(wanted)
    await begin(conn, [known[i] for i in ids])
    last = {r["subscription_id"]: r["last_number"] for r in await conn.fetch(_LOCK, ids)}
    rows = [
        (one, last[one] + place, change.referral_ref, change.version, at)
        for one in ids
        for place, (change, at) in enumerate(wanted[one], start=1)
    ]
    await conn.execute(_NOTE, *(list(column) for column in zip(*rows, strict=True)))


async def begin(conn: Any, known: Sequence[Subscription]) -> None:
    """A row for each subscription that has none yet."""
    await conn.execute(
        _BEGIN,
        [s.subscription_id for s in known],
        [s.org for s in known],
        [s.version for s in known],
    )


async def follow(conn: Any, known: Sequence[Subscription]) -> None:
    """Rows for new registrations; one that was written again has to shake hands again."""
    await begin(conn, known)
    await conn.execute(_FOLLOW, [s.subscription_id for s in known], [s.version for s in known])


async def due(conn: Any, ids: Sequence[UUID]) -> list[Due]:
    """Which of these may be called now."""
    return [Due(**dict(row)) for row in await conn.fetch(_DUE, list(ids))]


async def after(conn: Any, subscription_id: UUID, number: int, most: int) -> list[Noted]:
    """Events that follow a number."""
    return [Noted(**dict(row)) for row in await conn.fetch(_EVENTS, subscription_id, number, most)]


async def done(conn: Any, subscription_id: UUID, version: int, number: int) -> None:
    """It was told of everything up to `number`."""
    await conn.execute(_DONE, subscription_id, version, number)


async def failed(
    conn: Any, subscription_id: UUID, version: int, *, state: str, fault: str, wait: timedelta
) -> None:
    """It could not be told; `state` is what it is from now on."""
    await conn.execute(_FAILED, subscription_id, version, state, fault, wait)


async def drop(conn: Any, known: Sequence[UUID]) -> None:
    """Forget what is registered no more, and events older than `KEEP`."""
    gone = "delete from delivery.subscription where subscription_id <> all($1::uuid[])"
    await conn.execute(gone, list(known))
    orphans = (
        "delete from delivery.subscription_event e where e.at < clock_timestamp() - $1::interval"
        " or not exists (select from delivery.subscription s"
        " where s.subscription_id = e.subscription_id)"
    )
    await conn.execute(orphans, KEEP)


async def counts(conn: Any) -> dict[str, int]:
    """How many stand how."""
    rows = await conn.fetch("select state, count(*) from delivery.subscription group by state")
    return {row["state"]: row["count"] for row in rows}
