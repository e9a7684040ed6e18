"""Publishes what the record holds: pending events to Kafka, in order, at least once.

It guards that only this leader writes to the log, that consent is read again right before, and that
an event leaves `bus.pending` only when every replica has it. It keeps no position of its own:
numbers are given before commits, so "everything after the last" would lose slow transactions.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaProducer

from schemas.codec import frame
from services.kit.bus import kafka_password
from services.kit.db import Unavailable
from services.kit.lead import run_as_leader
from services.kit.runtime import Runtime, Service
from services.kit.steps import step
from services.relay import domain, store

BATCH: Final = 500
POLL_SECONDS: Final = 1.0
KEEP_HOUSE_SECONDS: Final = 60.0
MEASURE_SECONDS: Final = 5.0
ACK_SECONDS: Final = 30.0
FRESH_SECONDS: Final = 2.0
"""Longest from reading consent to sending: a withdrawal binds 2 s after its commit."""


class Relay:
    """The one writer of the log."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._wake = asyncio.Event()
        self._forgot_on: date | None = None

    async def run(self) -> None:
        """Publish while this process leads."""
        await run_as_leader(self._rt, "relay", self._publish)

    async def _publish(self, conn: asyncpg.Connection) -> None:
        await self._keep_house(conn)
        await conn.add_listener("bus", self._woken)
        producer = make_producer(self._rt)
        tasks: list[asyncio.Task[None]] = []
        try:
            await producer.start()
            tasks = [
                asyncio.create_task(self._pump(conn, producer)),
                asyncio.create_task(self._keep_house_often()),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.wait_for(producer.stop(), 2)

    async def _pump(self, conn: asyncpg.Connection, producer: Any) -> None:
        while True:
            self._wake.clear()
            while await self.publish_some(conn, producer):
                pass
            try:
                await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
            except TimeoutError:
                continue
            await asyncio.sleep(self._rt.settings.window_ms / 1000)

    def _woken(self, *_: object) -> None:
        self._wake.set()

    async def publish_some(self, conn: asyncpg.Connection, producer: Any) -> int:
        """Send one batch and strike it off; answers its size.

        A batch that lay here for long (a frozen process) is taken again: consent was read with it.
        """
        taken = self._rt.monotonic()
        rows = await store.take(conn, BATCH)
        if not rows:
            return 0
        step("relay.taken")
        if self._rt.monotonic() - taken > FRESH_SECONDS:
            return len(rows)
        await self._send(producer, rows)
        step("relay.acked")
        await store.acknowledge(conn, [row["id"] for row in rows])
        self._rt.metrics.inc("cauce_events_published_total", len(rows))
        return len(rows)

    async def _send(self, producer: Any, rows: Sequence[asyncpg.Record]) -> None:
        """In order of their numbers; order within a key is that of `seq` (the counter's lock)."""
        cell = self._rt.settings.cell
        sent = [
            await producer.send(
                row["topic"],
                key=str(row["key"]).encode(),
                value=frame(
                    row["schema_id"], row["seq"], row["body"], row["facts"], row["stats_facts"]
                ),
                headers=domain.headers(row["type"], row["event_id"], cell),
            )
            for row in rows
        ]
        step("relay.sent")
        async with asyncio.timeout(ACK_SECONDS):
            await asyncio.gather(*sent)

    async def _keep_house_often(self) -> None:
        while True:
            await asyncio.sleep(KEEP_HOUSE_SECONDS)
            conn = await self._rt.own_connection()
            try:
                await self._keep_house(conn)
                await self.forget(conn)
            finally:
                await conn.close(timeout=1)

    async def _keep_house(self, conn: asyncpg.Connection) -> None:
        """Partitions of the days around today; days past their retention go."""
        today = _today(self._rt.clock())
        made = await store.make_partitions(conn, *domain.needed(today))
        await store.drop_left_over(conn)
        days, busy = await store.partitions(conn), await store.waiting_days(conn)
        for day in domain.doomed(days, today, busy):
            await store.drop_partition(conn, day)
        if made:
            self._rt.log.info("partitions-made", count=made)

    async def forget(self, conn: asyncpg.Connection) -> None:
        """Once a day: events of topics that are kept for less time than the day they are in."""
        today = _today(self._rt.clock())
        if self._forgot_on == today:
            return
        for day, topics in domain.forgotten(await store.partitions(conn), today).items():
            await store.forget(conn, topics, day)
        self._forgot_on = today

    async def measure(self) -> None:
        """Bring the gauges of what waits up to date, every 5 s, in every copy."""
        while True:
            pool = await self._rt.pool()
            async with pool.acquire() as conn:
                number, oldest = await store.waiting(conn)  # type: ignore[arg-type]
            age = (self._rt.clock() - oldest).total_seconds() if oldest else 0.0
            self._rt.metrics.set("cauce_events_pending", number)
            self._rt.metrics.set("cauce_event_age_seconds", max(0.0, age))
            await asyncio.sleep(MEASURE_SECONDS)

    async def ping(self) -> None:
        """Raise without tomorrow's partition."""
        pool = await self._rt.pool()
        async with pool.acquire() as conn:
            days = await store.partitions(conn)  # type: ignore[arg-type]
        if domain.needed(_today(self._rt.clock()))[1] not in days:
            raise Unavailable("partitions")


def _today(now: datetime) -> date:
    return now.astimezone(UTC).date()


def make_producer(rt: Runtime) -> Any:
    """An idempotent producer as the relay's principal; a record is acknowledged by all replicas."""
    settings = rt.settings
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap,
        security_protocol=settings.kafka_security,
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username="relay",
        sasl_plain_password=kafka_password(settings, "relay"),
        client_id="cauce-relay",
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        max_batch_size=1 << 17,
        request_timeout_ms=15_000,
    )


async def build(rt: Runtime) -> Service:
    """Wire the relay."""
    relay = Relay(rt)
    return Service(
        name="relay",
        loops=[relay.run, relay.measure],
        pings={"partitions": relay.ping},
    )
