"""Wiring of the consent service: the port, the expiry sweep, the consumer."""

import asyncio
from functools import partial
from typing import Final

import asyncpg

from services.consent import consumer, store
from services.consent.service import ConsentService
from services.kit.bus import Subscription
from services.kit.db import Unavailable
from services.kit.lead import run_as_leader
from services.kit.ports.batch import MAX_BATCH
from services.kit.ports.consent import Consent
from services.kit.runtime import Runtime, Service

SWEEP_SECONDS: Final = 0.5
"""How long past its end a permit may wait to be announced; it permits nothing meanwhile."""


async def build(rt: Runtime) -> Service:
    """Make the service of this process."""
    pool = await rt.pool()
    service = ConsentService(pool, rt.metrics, cell=rt.settings.cell)

    async def ping() -> None:
        if await store.named_cell(pool) != rt.settings.cell:
            raise Unavailable("the cell is not named yet")

    async def sweep(_: asyncpg.Connection) -> None:
        await store.name_cell(pool, rt.settings.cell)
        while True:
            if await service.expire_due() < MAX_BATCH:
                await asyncio.sleep(SWEEP_SECONDS)

    return Service(
        name="consent",
        provides={Consent: service},
        subscriptions=[
            Subscription(
                consumer="consent",
                topic="cauce.case",
                handle=consumer.handle,
                types=consumer.TYPES,
                after=None,
            )
        ],
        loops=[partial(run_as_leader, rt, "consent-expiry", sweep)],
        pings={"cell": ping},
    )
