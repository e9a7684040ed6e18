"""Consumers on a real broker and database: partitions, faults in the middle, copies, restarts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.kit.bus import Broker
from services.kit.logs import Log
from services.kit.metrics import Metrics
from services.kit.records import Received, Subscription
from services.kit.runtime import Host, Runtime
from services.kit.settings import Settings
from services.relay.app import Relay
from tests.support.bus import Book, book_of, delivered, make_book, put, running
from tests.support.servers import Databases


@pytest.fixture
async def referral(pg: Databases, settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    """A pool that puts events, with a relay that publishes them."""
    await make_book(pg)
    pool = await asyncpg.create_pool(pg.dsn("referral"), min_size=0, max_size=8)
    host = Host("test", settings)
    async with running(Relay(Runtime(host, "relay")).run()):
        yield pool
    await host.stop()
    await pool.close()


@pytest.fixture
async def delivery(pg: Databases) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(pg.dsn("delivery"), min_size=0, max_size=8)
    yield pool
    await pool.close()


def broker(settings: Settings, pool: asyncpg.Pool, book: Book) -> Broker:
    return Broker(
        settings=settings,
        service="delivery",
        subscription=Subscription(
            consumer="delivery",
            topic="cauce.case",
            handle=book.handle,
            types=frozenset({"referral.delivered"}),
        ),
        pool=pool,
        hub_pool=pool,
        metrics=Metrics(),
        log=Log("delivery"),
    )


async def booked(pool: asyncpg.Pool, cases: Sequence[UUID]) -> int:
    query = "select count(*) from delivery.book where case_ref = any($1::uuid[])"
    return int(await pool.fetchval(query, list(cases)))


async def until(pool: asyncpg.Pool, cases: Sequence[UUID], wanted: int) -> None:
    async with asyncio.timeout(30):
        while await booked(pool, cases) < wanted:  # noqa: ASYNC110 -- it is a table that changes
            await asyncio.sleep(0.05)


async def test_a_database_fault_in_the_middle_of_a_batch_over_many_partitions_loses_nothing(
    settings: Settings, referral: asyncpg.Pool, delivery: asyncpg.Pool
) -> None:
    cases = [uuid4() for _ in range(24)]
    book = Book()
    faults = iter(
        [asyncpg.DeadlockDetectedError(), ConnectionResetError(), asyncpg.AdminShutdownError()]
    )

    class Shaky(Book):
        async def handle(self, conn: asyncpg.Connection, events: Sequence[Received]) -> None:
            middle = len(events) // 2
            await super().handle(conn, events[:middle])
            if len(events) > 4 and (fault := next(faults, None)) is not None:
                raise fault
            await super().handle(conn, events[middle:])

    book = Shaky()
    for _ in range(5):
        await put(referral, [delivered(case) for case in cases])
    async with running(broker(settings, delivery, book).run()):
        await until(delivery, cases, 120)
    assert next(faults, None) is None
    assert [await book_of(delivery, case) for case in cases] == [[1, 2, 3, 4, 5]] * 24


async def test_two_copies_of_a_service_share_the_cases_and_one_may_die(
    settings: Settings, referral: asyncpg.Pool, delivery: asyncpg.Pool
) -> None:
    cases = [uuid4() for _ in range(30)]
    one, two = Book(), Book()

    async def put_some() -> None:
        for _ in range(10):
            await put(referral, [delivered(case) for case in cases])
            await asyncio.sleep(0.05)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(broker(settings, delivery, one).run()))
        async with running(broker(settings, delivery, two).run()):
            await asyncio.sleep(2)
            await put_some()
            await until(delivery, cases, 300)
        await put_some()
        await until(delivery, cases, 600)
    assert one.calls
    assert two.calls
    assert [await book_of(delivery, case) for case in cases] == [list(range(1, 21))] * 30


async def test_after_a_restart_the_offset_and_the_lag_are_where_they_were_left(
    settings: Settings, referral: asyncpg.Pool, delivery: asyncpg.Pool
) -> None:
    case = uuid4()
    book = Book()
    for _ in range(3):
        await put(referral, [delivered(case)])
    first = broker(settings, delivery, book)
    async with running(first.run()):
        await until(delivery, [case], 3)
        await asyncio.sleep(0.3)
        await first.ping()
        assert await asyncio.to_thread(first._lag) == 0
    again = Book()
    second = broker(settings, delivery, again)
    async with running(second.run()):
        await asyncio.sleep(1.5)
        assert again.calls == 0
        await put(referral, [delivered(case)])
        await until(delivery, [case], 4)
    assert await book_of(delivery, case) == [1, 2, 3, 4]
