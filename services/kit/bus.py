"""Subscriptions on Kafka: the only place where FastStream is used.

It guards that an offset is committed only after the transaction of its records, that a fault of the
infrastructure is retried in place without skipping, and that records of a partition taken from us
are dropped. What a record does to a case is `kit.consuming`'s business.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.security import SASLScram512

from schemas.codec import DecodeError
from services.kit.consuming import Consumer
from services.kit.db import Unavailable
from services.kit.logs import Log
from services.kit.metrics import Metrics
from services.kit.records import Handle, Received, Record, Replayed, Subscription, record_of
from services.kit.settings import Settings

__all__ = ["Broker", "Handle", "Received", "Replayed", "Subscription"]

POLL_MS: Final = 20
MOST_RECORDS: Final = 500
FETCH_BYTES: Final = 4096
FETCH_MS: Final = 50
"""A fetch answers when there is so much, or after so long: else every few events are a fetch of
their own for each consumer, which costs client and broker more than handling them."""
HOLD_SECONDS: Final = 1.0
"""Longest that records nobody handles wait for company before the cursor is moved over them."""
BACK_OFF: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
LAG_SECONDS: Final = 15.0
_DAY_MS: Final = 24 * 3600 * 1000


def kafka_password(settings: Settings, service: str) -> str:
    """Password of a service's Kafka principal."""
    return settings.secret(f"kafka.{service}").decode("ascii").strip()


class Broker:
    """One subscription's life on Kafka: own principal, own group, one flight at a time."""

    def __init__(
        self,
        *,
        settings: Settings,
        service: str,
        subscription: Subscription,
        pool: asyncpg.Pool,
        hub_pool: asyncpg.Pool,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._settings = settings
        self._service = service
        self._subscription = subscription
        self._metrics = metrics
        self._log = log
        self.consumer = Consumer(
            schema=service,
            subscription=subscription,
            pool=pool,
            hub_pool=hub_pool,
            metrics=metrics,
            log=log,
        )
        self._held: list[Record] = []
        self._held_since = 0.0
        self._flight = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._kafka: Any = None
        self._done: dict[TopicPartition, int] = {}
        """Per partition of ours, the offset up to which everything is handled."""

    async def run(self) -> None:
        """Consume until cancelled; raises when Kafka cannot be reached at all."""
        settings = self._settings
        broker = KafkaBroker(
            settings.kafka_bootstrap,
            security=SASLScram512(
                username=self._service,
                password=kafka_password(settings, self._service),
                use_ssl=settings.kafka_security == "SASL_SSL",
            ),
            client_id=f"cauce-{self._service}",
            consumer_only=True,
            allow_auto_create_topics=False,
            graceful_timeout=1.0,
            apply_types=False,  # nothing to inject; it costs a thread hop for each batch
            logger=None,
        )
        subscriber = broker.subscriber(
            self._subscription.topic,
            group_id=self._subscription.consumer,
            batch=True,
            max_records=MOST_RECORDS,
            batch_timeout_ms=POLL_MS,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            fetch_min_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_MS,
            max_poll_interval_ms=_DAY_MS,
            session_timeout_ms=6_000,  # the least a broker allows: how long kill -9 holds work up
            heartbeat_interval_ms=1_000,
            no_reply=True,
            decoder=_whole,
        )

        @subscriber
        async def arrived(message: KafkaMessage) -> None:
            await self._arrived(message)

        self._held.clear()
        self._done.clear()
        self._wanted.clear()
        try:
            await broker.start()
            self._kafka = subscriber.consumer
            await self.consumer.count_parked()
            while True:
                await self._gather()
                async with self._flight:
                    await self._flush(force=self._wanted.is_set())
        finally:
            self._kafka = None
            await asyncio.wait_for(broker.stop(), 2)

    async def _gather(self) -> None:
        """Wait for a record that is to be handled, then a little for its company.

        A fetch brings what the first partitions had; the others follow at once in the next.
        """
        try:
            await asyncio.wait_for(self._wanted.wait(), HOLD_SECONDS / 2)
        except TimeoutError:
            return
        await asyncio.sleep(self._settings.window_ms / 1000)

    async def ping(self) -> None:
        """Raise unless this consumer is connected to the log."""
        if self._kafka is None or not await self._kafka._client.force_metadata_update():  # noqa: SLF001 -- aiokafka has no public probe
            raise Unavailable("kafka")

    async def replay(self, case_ref: UUID) -> Replayed:
        """Handle a parked case again, see `Consumer.replay`."""
        return await self.consumer.replay(case_ref)

    async def _arrived(self, message: KafkaMessage) -> None:
        async with self._flight:
            if self._kafka is None:
                self._kafka = message.consumer
            raw = message.raw_message
            for one in raw if isinstance(raw, tuple) else (raw,):
                self._hold(one)

    def _hold(self, raw: Any) -> None:
        try:
            record = record_of(raw.topic, raw.partition, raw.offset, raw.key, raw.value)
        except DecodeError as error:
            # Only the relay may write here; such a record is nobody's event.
            self._metrics.inc(
                "cauce_events_handled_total",
                consumer=self._subscription.consumer,
                result="unreadable",
            )
            self._log.error("record-unreadable", error, partition=raw.partition, offset=raw.offset)
            return
        if not self._held:
            self._held_since = time.monotonic()
        self._held.append(record)
        self._done.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        if self.consumer.wants(record):
            self._wanted.set()

    async def _flush(self, *, force: bool) -> None:
        """Handle what is held, then commit its offsets; retries in place until it succeeds."""
        if not self._held or not (force or time.monotonic() - self._held_since >= HOLD_SECONDS):
            return
        records, self._held = self._held, []
        self._wanted.clear()
        for attempt in range(1_000_000):
            mine = self._still_mine(records)
            try:
                await self.consumer.take(mine)
                break
            except Exception as error:  # noqa: BLE001 -- `take` raises infrastructure faults only
                self._metrics.inc(
                    "cauce_faults_total", service=self._service, kind="infrastructure"
                )
                self._log.warning("batch-retried", error, attempt=attempt, count=len(mine))
                await asyncio.sleep(BACK_OFF[min(attempt, len(BACK_OFF) - 1)])
        await self._commit(self._still_mine(records))

    def _still_mine(self, records: Sequence[Record]) -> list[Record]:
        if self._kafka is None:
            return []
        assigned = self._kafka.assignment()
        return [r for r in records if TopicPartition(r.topic, r.partition) in assigned]

    async def _commit(self, records: Sequence[Record]) -> None:
        offsets: dict[TopicPartition, int] = {}
        for record in records:
            place = TopicPartition(record.topic, record.partition)
            offsets[place] = max(offsets.get(place, 0), record.offset + 1)
        if not offsets or self._kafka is None:
            return
        self._done.update(offsets)
        try:
            await self._kafka.commit(offsets)
        except (KafkaError, ValueError) as error:
            # A lost partition or broker: the records come again and are recognised.
            self._log.warning("offsets-not-committed", error, count=len(offsets))

    async def measure(self) -> None:
        """Set the lag gauge every 15 s."""
        while True:
            self._metrics.set(
                "cauce_consumer_lag", self._lag(), consumer=self._subscription.consumer
            )
            await asyncio.sleep(LAG_SECONDS)

    def _lag(self) -> int:
        """Records of our partitions that are not handled yet, by what the last fetch told."""
        if self._kafka is None:
            return 0
        ends = {place: self._kafka.highwater(place) for place in self._kafka.assignment()}
        return sum(
            max(0, end - self._done[p]) for p, end in ends.items() if end and p in self._done
        )


async def _whole(message: KafkaMessage) -> KafkaMessage:
    """The handler gets the message as it came; `kit.consuming` looks at the schema id first."""
    return message
