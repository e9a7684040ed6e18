"""Wiring of the delivery service: worker, consumer, sweeps, poller, the port and held tasks."""

import asyncio
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg

from connectors.sdk.egress import private_networks
from connectors.sdk.http import Http
from services.delivery import amendments, notices
from services.delivery.authority import Authority
from services.delivery.confirming import Confirmer
from services.delivery.consumer import TYPES, Consumer
from services.delivery.links import Links
from services.delivery.notifying import Notifier
from services.delivery.outcomes import Recorder
from services.delivery.poller import poll
from services.delivery.reads import Reads
from services.delivery.rectifying import rectify
from services.delivery.render import Frame
from services.delivery.stages import Stages
from services.delivery.subscribing import subscribing
from services.delivery.sweeps import sweep
from services.delivery.worker import Parts, Worker
from services.kit.bus import Subscription
from services.kit.hookkeys import HookKeys
from services.kit.lead import run_as_leader
from services.kit.partners import Partners
from services.kit.ports.consent import Consent
from services.kit.ports.delivery import Delivery
from services.kit.ports.referral import Referral
from services.kit.ports.vault import Vault
from services.kit.runtime import Runtime, Service
from services.kit.subscriptions import Subscriptions

SWEEP_SECONDS: Final = 1.0


async def build(rt: Runtime) -> Service:
    """Make the service of this process."""
    parts = await make_parts(rt)
    stages = Stages(parts)
    worker = Worker(parts, stages)
    consumer = Consumer(
        parts.partners,
        rt.clock,
        worker.wake,
        alias_key=parts.frame.alias_key,
        cell=rt.settings.cell,
        erasure_days=rt.settings.erasure_days_default,
        subscriptions=(known := Subscriptions(parts.pool)),
    )
    return Service(
        name="delivery",
        provides={Delivery: Reads(parts, stages)},
        subscriptions=[
            Subscription(
                consumer="delivery",
                topic="cauce.case",
                handle=consumer.handle,
                types=TYPES,
                after=consumer.after,
            ),
            Subscription(
                consumer=notices.CONSUMER,
                topic=notices.TOPIC,
                handle=notices.Notices(parts.partners, rt.clock).handle,
                types=notices.TYPES,
            ),
        ],
        loops=[
            worker.run,
            partial(run_as_leader, rt, "delivery-sweep", partial(_sweeping, parts, known)),
            partial(
                run_as_leader,
                rt,
                "delivery-poll",
                partial(_polling, parts, rt.settings.poll_seconds),
            ),
            partial(
                run_as_leader,
                rt,
                "delivery-subscriptions",
                partial(subscribing, parts, known),
            ),
            partial(run_as_leader, rt, "delivery-notifications", Notifier(parts).run),
        ],
        close=[parts.links.close],
    )


async def make_parts(rt: Runtime) -> Parts:
    """Everything a worker works with, from the runtime."""
    settings, pool = rt.settings, await rt.pool()
    zone, partners = ZoneInfo(settings.time_zone), Partners(pool)
    referral = rt.port(Referral)
    networks = private_networks(settings.egress_private_networks)
    return Parts(
        pool=pool,
        partners=partners,
        authority=Authority(
            pool,
            rt.port(Consent),
            partners,
            rt.clock,
            seed=settings.secret("grant.ed25519"),
            seconds=settings.call_seconds,
            zone=zone,
            cell=settings.cell,
        ),
        recorder=Recorder(pool, rt.clock, rt.metrics, cell=settings.cell),
        confirmer=Confirmer(pool, referral, cell=settings.cell),
        links=Links(
            Http(networks, seconds=settings.call_seconds),
            settings.secret("client.es384"),
            HookKeys(settings.secrets_dir),
            settings.public_url,
        ),
        vault=rt.port(Vault),
        referral=referral,
        frame=Frame(
            base=settings.canonical_base, zone=zone, alias_key=settings.secret("alias.key")
        ),
        clock=rt.clock,
        metrics=rt.metrics,
        log=rt.log,
        cell=settings.cell,
        window_ms=settings.window_ms,
        concurrency=settings.delivery_concurrency,
        partner_concurrency=settings.partner_concurrency,
    )


async def _sweeping(parts: Parts, known: Subscriptions, _: asyncpg.Connection) -> None:
    while True:
        await sweep(parts)
        while await rectify(parts, known) == amendments.MOST:
            pass
        await asyncio.sleep(SWEEP_SECONDS)


async def _polling(parts: Parts, seconds: float, _: asyncpg.Connection) -> None:
    while True:
        await poll(parts)
        await asyncio.sleep(seconds)
