"""Collects what the judge reads: partner's journal, ledgers, topic dump, custody leaves."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from connectors.sandbox import journal
from schemas.codec import decode
from schemas.topics import topics
from services.console.local import plan
from services.console.local.place import Place
from services.custody import store as custody
from services.kit.aliases import alias
from tests.support.crash_seen import Evidence, LeafSeen, Published
from tests.support.servers import Databases, Kafka

TOPIC = "cauce.case"
_LEAVES = "select at, kind, convert_from(body, 'UTF8') as body from custody.leaf order by id"


def gather(place: Place, pg: Databases, kafka: Kafka, ledger: Sequence[Any]) -> Evidence:
    """Everything, as it stands now."""
    key = (place.secrets / "alias.key").read_bytes()
    data = plan.partner_home(place, plan.REFUGIO) / "data"
    topic, leaves = asyncio.run(_from_servers(pg, kafka))
    return Evidence(
        partner=list(journal.read(data / "refugio.jsonl")),
        ledger=list(ledger),
        topic=topic,
        leaves=leaves,
        alias=partial(_alias, key),
    )


def _alias(key: bytes, kind: Any, ref: UUID, org: str) -> UUID:
    return alias(key, kind, ref, org)


async def _from_servers(pg: Databases, kafka: Kafka) -> tuple[list[Published], list[LeafSeen]]:
    topic = await dump(kafka)
    conn = await asyncpg.connect(pg.admin_dsn)
    try:
        rows = await conn.fetch(_LEAVES)
        report = await custody.verify_all(conn)
    finally:
        await conn.close()
    assert report.intact, "the custody log is not what was signed"
    leaves = [LeafSeen(at=r["at"], kind=r["kind"], body=json.loads(r["body"])) for r in rows]
    return topic, leaves


async def dump(kafka: Kafka) -> list[Published]:
    """Every record of the log of cases."""
    consumer = AIOKafkaConsumer(
        **kafka.client(), enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        count = next(topic.partitions for topic in topics() if topic.name == TOPIC)
        places = [TopicPartition(TOPIC, number) for number in range(count)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: list[Published] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                found += [_published(place, record) for record in records]
        return found
    finally:
        await consumer.stop()


def _published(place: TopicPartition, record: Any) -> Published:
    return Published(
        at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
        partition=place.partition,
        offset=record.offset,
        event=decode(record.value),
    )
