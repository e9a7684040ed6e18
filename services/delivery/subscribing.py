"""Calls subscribers: handshake, heartbeat, and what happened, in order and from where it stopped.

It guards that nothing is sent before a handshake succeeded, that a notification holds ids alone,
those of what its receiver may hear of (`hearing`), and is signed, that the partner is active and
its endpoint an address we may call, and that an endpoint which does not answer within the horizon
ends in `error`, from where only its owner takes it back.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import orjson

from connectors.fhir_r4 import notification
from connectors.fhir_r4.notification import Happened, Kind
from connectors.sdk.errors import ConnectorError, Reject, Retry
from connectors.webhook.signing import SigningError, signed_headers
from services.delivery import subscriptions as log
from services.delivery.hearing import kept_from
from services.delivery.subscriptions import Due
from services.delivery.worker import Parts
from services.kit.aliases import alias
from services.kit.db import transaction
from services.kit.steps import step
from services.kit.subscriptions import SETTLE_SECONDS, Subscription, Subscriptions

EVERY_SECONDS: Final = 0.25
DROP_SECONDS: Final = 15.0
AT_ONCE: Final = 16
AFTER_JUDGEMENT: Final = 1.5
"""Within how many seconds after consent was asked the notification is written, or not at all."""
HANDSHAKES: Final = 4
"""Tries of a handshake before the subscription is in error."""
HORIZON: Final = timedelta(hours=24)
"""How long an endpoint may fail before the subscription is in error."""
LONGEST_WAIT: Final = timedelta(minutes=10)


async def subscribing(parts: Parts, known: Subscriptions, _: asyncpg.Connection) -> None:
    """Call whom there is something to tell, while this process leads."""
    dropped = 0.0
    while True:
        registered = await known.all()
        await call_all(parts, registered)
        if time.monotonic() - dropped >= DROP_SECONDS:
            async with transaction(parts.pool) as conn:
                await log.drop(conn, list(registered))
                standing = await log.counts(conn)
            parts.metrics.clear("cauce_subscriptions")
            for state, count in standing.items():
                parts.metrics.set("cauce_subscriptions", count, state=state)
            dropped = time.monotonic()
        await asyncio.sleep(EVERY_SECONDS)


async def call_all(parts: Parts, registered: Mapping[UUID, Subscription]) -> None:
    """One round."""
    settled = parts.clock() - timedelta(seconds=SETTLE_SECONDS)
    ready = [s for s in registered.values() if s.written_at <= settled]
    if not ready:
        return
    async with transaction(parts.pool) as conn:
        await log.follow(conn, ready)
        due = await log.due(conn, [s.subscription_id for s in ready])
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: Due) -> None:
        async with gate:
            await _call(parts, registered[item.subscription_id], item)

    await asyncio.gather(*(one(item) for item in due))


async def _call(parts: Parts, sub: Subscription, item: Due) -> None:
    partner = await parts.partners.get(sub.org)
    now = parts.clock()
    if partner is None or not partner.in_force(now.astimezone(parts.frame.zone).date()):
        return
    if not sub.active or (sub.ends is not None and sub.ends <= now):
        await _failed(parts, item, "off", "switched-off" if not sub.active else "ended")
        return
    kind = _kind(sub, item, now)
    if kind is None:
        return
    async with parts.pool.acquire() as conn:
        events = (
            await log.after(conn, item.subscription_id, item.sent_number, sub.most)
            if kind == "event-notification"
            else []
        )
    last = events[-1].number if events else item.sent_number
    until = time.monotonic() + AFTER_JUDGEMENT
    kept = await kept_from(parts, sub.org, {e.referral_ref for e in events if e.referral_ref})
    happened = [
        Happened(
            number=e.number,
            at=_instant(e.at),
            task=_task(parts, None if e.referral_ref in kept else e.referral_ref, sub.org),
        )
        for e in events
    ]
    fault = await _send(parts, sub, item, kind, happened, last, until)
    if fault is None:
        if events:
            step("subscription.sent")
        async with parts.pool.acquire() as conn:
            await log.done(conn, item.subscription_id, item.version, last)
    else:
        await _failed(parts, item, *fault)


def _kind(sub: Subscription, item: Due, now: datetime) -> Kind | None:
    """What it is to be told now."""
    if item.state == "requested":
        return "handshake"
    if item.last_number > item.sent_number:
        return "event-notification"
    quiet = now - (item.heard_at or now)
    return "heartbeat" if quiet >= timedelta(seconds=sub.heartbeat) else None


async def _send(
    parts: Parts,
    sub: Subscription,
    item: Due,
    kind: Kind,
    events: list[Happened],
    last: int,
    until: float,
) -> tuple[str, str] | None:
    """The state and the fault after it failed; None when it was taken."""
    standing = notification.Standing(
        subscription=sub.subscription_id,
        url=f"{parts.links.url}/fhir",
        base=parts.frame.base,
        status="active" if item.state == "active" else "requested",
        last_number=item.last_number,
    )
    now = parts.clock().replace(microsecond=0)  # a finer instant would join two subscribers
    body = orjson.dumps(
        notification.notification(standing, kind, events, at=_instant(now), entry=uuid4())
    )
    # The id of an event notification is the same in a repeat: nothing takes effect twice.
    mark = f"{sub.subscription_id}.{last}" if events else f"{sub.subscription_id}.{uuid4()}"
    try:
        headers = {
            "Content-Type": "application/fhir+json",
            **signed_headers(parts.links.hook_keys.own(), mark, now, body),
        }
        answer = await parts.links.http.send(
            "POST", sub.endpoint, headers=headers, body=body, deadline=until
        )
        _check(answer.status)
    except Reject as error:
        return "off", error.rule
    except ConnectorError as error:
        return _after(item, now), error.rule
    except SigningError:
        return _after(item, now), "webhook-key-missing"
    return None


def _check(status: int) -> None:
    if status == 410:
        raise Reject("endpoint-gone")
    if not 200 <= status < 300:
        raise Retry("endpoint-refused", unknown=False)


def _after(item: Due, now: datetime) -> str:
    """What a subscription is after one more failure."""
    if item.state == "requested":
        return "error" if item.attempts + 1 >= HANDSHAKES else "requested"
    late = item.failing_since is not None and now - item.failing_since >= HORIZON
    return "error" if late else "active"


async def _failed(parts: Parts, item: Due, state: str, fault: str) -> None:
    wait = min(LONGEST_WAIT, timedelta(seconds=0.5 * 2 ** min(item.attempts, 12)))
    async with parts.pool.acquire() as conn:
        await log.failed(
            conn, item.subscription_id, item.version, state=state, fault=fault, wait=wait
        )
    parts.log.info("subscription-not-told", state=state, rule=fault, attempt=item.attempts + 1)


def _task(parts: Parts, referral_ref: UUID | None, org: str) -> UUID | None:
    if referral_ref is None:
        return None
    return alias(parts.frame.alias_key, "task", referral_ref, org)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
