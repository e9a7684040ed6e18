"""The relay on a real broker: everything arrives, once acknowledged it is struck off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from schemas.codec import decode, peek
from services.kit.runtime import Host, Runtime
from services.kit.settings import Settings
from services.relay.app import Relay
from tests.support.bus import delivered, put, revoked, running
from tests.support.servers import Databases, Kafka


@asynccontextmanager
async def host_of(settings: Settings) -> AsyncIterator[Host]:
    host = Host("test", settings)
    try:
        yield host
    finally:
        await host.stop()


async def drain(kafka: Kafka, topic: str, wanted: int) -> list[Any]:
    """Everything on a topic, at least `wanted` records."""
    consumer = AIOKafkaConsumer(
        topic, **kafka.client(), auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    found: list[Any] = []
    try:
        async with asyncio.timeout(20):
            while len(found) < wanted:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
            for records in (await consumer.getmany(timeout_ms=300)).values():
                found += records
    finally:
        await consumer.stop()
    return found


async def until_published(pg: Databases) -> None:
    admin = await asyncpg.connect(pg.admin_dsn)
    async with asyncio.timeout(20):
        while await admin.fetchval("select count(*) from bus.pending"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await admin.close()


@pytest.fixture
async def referral(pg: Databases) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(pg.dsn("referral"), min_size=0, max_size=8)
    yield pool
    await pool.close()


async def test_every_event_arrives_in_order_with_routing_headers_only(
    pg: Databases, kafka: Kafka, settings: Settings, referral: asyncpg.Pool
) -> None:
    cases = [uuid4() for _ in range(20)]
    async with host_of(settings) as host:
        relay = Relay(Runtime(host, "relay"))
        async with running(relay.run()):
            puts = [
                put(referral, [delivered(case), revoked(case)]) for case in cases for _ in range(5)
            ]
            await asyncio.gather(*puts)
            await until_published(pg)
            assert host.metrics.text()
    records = await drain(kafka, "cauce.case", 200)
    assert len(records) == 200
    order: dict[UUID, list[int]] = {}
    for record in records:
        event: Any = decode(record.value)
        assert record.key == str(event.case_ref).encode()
        assert [name for name, _ in record.headers] == [
            "ce_specversion", "ce_id", "ce_type", "ce_source", "traceparent",
        ]  # fmt: skip
        assert dict(record.headers)["ce_id"] == str(event.event_id).encode()
        order.setdefault(event.case_ref, []).append(peek(record.value)[1])
    assert order == {case: list(range(1, 11)) for case in cases}


async def test_two_relays_take_turns_and_nothing_is_lost_when_the_leader_is_cut_off(
    pg: Databases, kafka: Kafka, settings: Settings, referral: asyncpg.Pool
) -> None:
    case = uuid4()
    admin = await asyncpg.connect(pg.admin_dsn)

    async def again(relay: Relay) -> None:
        while True:
            with suppress(Exception):
                await relay.run()
            await asyncio.sleep(0.1)

    async with host_of(settings) as host:
        relays = [Relay(Runtime(host, "relay")) for _ in range(2)]
        async with running(again(relays[0])), running(again(relays[1])):
            for round_ in range(4):
                for _ in range(10):
                    await put(referral, [delivered(case)])
                if round_ in (1, 2):
                    await admin.execute(
                        "select pg_terminate_backend(l.pid) from pg_locks l join pg_database d"
                        " on d.oid = l.database where l.locktype = 'advisory' and l.granted"
                        " and d.datname = $1",
                        pg.hub,
                    )
            await until_published(pg)
    await admin.close()
    records = await drain(kafka, "cauce.case", 40)
    seqs = [peek(r.value)[1] for r in records if r.key == str(case).encode()]
    assert list(dict.fromkeys(seqs)) == list(range(1, 41))


async def test_it_is_not_ready_without_the_partitions_of_the_coming_days(
    pg: Databases, settings: Settings
) -> None:
    async with host_of(settings) as host:
        relay = Relay(Runtime(host, "relay"))
        await relay.ping()
        admin = await asyncpg.connect(pg.admin_dsn)
        names = await admin.fetch(
            "select relname from pg_class where relname like 'event_2%' and relkind = 'r'"
            " order by relname desc limit 1"
        )
        await admin.execute(f"drop table bus.{names[0]['relname']}")
        await admin.close()
        with pytest.raises(Exception, match="partitions"):
            await relay.ping()
        async with running(relay.run()), asyncio.timeout(10):
            while True:
                with suppress(Exception):
                    await relay.ping()
                    break
                await asyncio.sleep(0.05)
