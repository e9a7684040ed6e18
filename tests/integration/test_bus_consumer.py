"""What a consumer does with records: the cursor, gaps, duplicates, poison, replay."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
import pytest

from schemas.codec import Encoded, frame
from services.kit.consuming import Consumer
from services.kit.logs import Log
from services.kit.metrics import Metrics
from services.kit.records import Received, Record, Subscription
from tests.support.bus import Book, book_of, delivered, make_book, put, revoked
from tests.support.servers import Databases

TYPES = frozenset({"referral.delivered"})


class RuleError(Exception):
    rule = "unmapped-code"
    field = "to_org"


@dataclass
class Bench:
    book: Book
    consumer: Consumer
    referral: asyncpg.Pool
    delivery: asyncpg.Pool
    metrics: Metrics
    after: list[Received]

    async def published(self, events: Sequence[Encoded]) -> list[Record]:
        """The events in the record, and as the log would hand them over."""
        positions = await put(self.referral, events)
        return [
            Record(
                topic="cauce.case",
                partition=0,
                offset=seq,
                case_ref=event.key,
                seq=seq,
                schema_id=event.schema_id,
                value=frame(event.schema_id, seq, event.body, event.facts, event.stats_facts),
            )
            for event, seq in zip(events, positions, strict=True)
        ]

    async def seen(self, case: UUID) -> list[int]:
        return await book_of(self.delivery, case)

    async def cursor(self, case: UUID) -> tuple[int, bool] | None:
        row = await self.delivery.fetchrow(
            "select last_seq, parked from delivery.cursor"
            " where consumer = 'delivery' and case_ref = $1",
            case,
        )
        return (row["last_seq"], row["parked"]) if row else None


@pytest.fixture
async def bench(pg: Databases) -> AsyncIterator[Bench]:
    await make_book(pg)
    referral = await asyncpg.create_pool(pg.dsn("referral"), min_size=0, max_size=4)
    delivery = await asyncpg.create_pool(pg.dsn("delivery"), min_size=0, max_size=4)
    book, metrics, after = Book(), Metrics(), list[Received]()

    async def wake(events: Sequence[Received]) -> None:
        after.extend(events)

    consumer = Consumer(
        schema="delivery",
        subscription=Subscription(
            consumer="delivery", topic="cauce.case", handle=book.handle, types=TYPES, after=wake
        ),
        pool=delivery,
        hub_pool=delivery,
        metrics=metrics,
        log=Log("delivery"),
    )
    yield Bench(book, consumer, referral, delivery, metrics, after)
    await referral.close()
    await delivery.close()


async def test_events_take_effect_once_and_in_order_and_the_cursor_passes_over_others(
    bench: Bench,
) -> None:
    case = uuid4()
    records = await bench.published([delivered(case), revoked(case), delivered(case)])
    await bench.consumer.take(records)
    await bench.consumer.take(records)
    await bench.consumer.take(records[1:])
    assert await bench.seen(case) == [1, 3]
    assert await bench.cursor(case) == (3, False)
    assert [event.seq for event in bench.after] == [1, 3]


async def test_a_gap_is_filled_from_the_record_before_going_on(bench: Bench) -> None:
    case = uuid4()
    records = await bench.published([delivered(case) for _ in range(6)])
    await bench.consumer.take([records[0]])
    await bench.consumer.take([records[3], records[5]])
    assert await bench.seen(case) == [1, 2, 3, 4, 5, 6]


async def test_a_new_consumer_reads_what_was_before_it(bench: Bench) -> None:
    case = uuid4()
    records = await bench.published([delivered(case) for _ in range(5)])
    await bench.consumer.take([records[4]])
    assert await bench.seen(case) == [1, 2, 3, 4, 5]


async def test_a_gap_longer_than_one_page_of_the_record_is_filled(bench: Bench) -> None:
    case = uuid4()
    records: list[Record] = []
    for _ in range(20):
        records += await bench.published([delivered(case) for _ in range(60)])
    await bench.consumer.take([records[-1]])
    assert await bench.seen(case) == list(range(1, 1201))


async def test_more_cases_than_one_statement_takes_are_all_handled(bench: Bench) -> None:
    cases = [uuid4() for _ in range(150)]
    records: list[Record] = []
    for start in range(0, 150, 50):
        records += await bench.published([delivered(case) for case in cases[start : start + 50]])
    await bench.consumer.take(records)
    assert [await bench.seen(case) for case in cases] == [[1]] * 150


async def test_poison_parks_its_own_case_and_leaves_a_pointer(bench: Bench, pg: Databases) -> None:
    bad, good = uuid4(), uuid4()
    events = [delivered(bad), delivered(bad), delivered(good), delivered(bad), delivered(good)]
    records = await bench.published(events)
    bench.book.fail[events[1].event_id] = RuleError("Ximena Canario")
    await bench.consumer.take(records)
    assert (await bench.seen(bad), await bench.seen(good)) == ([1], [1, 2])
    assert await bench.cursor(bad) == (1, True)
    later = await bench.published([delivered(bad)])
    await bench.consumer.take(later)
    assert await bench.seen(bad) == [1]
    admin = await asyncpg.connect(pg.admin_dsn)
    row = await admin.fetchrow(
        "select body from bus.event where topic = 'cauce.dead' and key = $1", events[1].event_id
    )
    await admin.close()
    assert row is not None
    assert b"unmapped-code" in row["body"]
    assert b"imena" not in row["body"]
    assert "cauce_parked_cases" in bench.metrics.text().decode()


async def test_a_replay_handles_what_was_missed_and_unparks_in_one_transaction(
    bench: Bench,
) -> None:
    case = uuid4()
    events = [delivered(case) for _ in range(4)]
    records = await bench.published(events)
    bench.book.fail[events[1].event_id] = RuleError()
    await bench.consumer.take(records)
    still = await bench.consumer.replay(case)
    assert (still.handled, still.rule) == (0, "unmapped-code")
    assert (await bench.seen(case), await bench.cursor(case)) == ([1], (1, True))
    bench.book.fail.clear()
    done = await bench.consumer.replay(case)
    assert (done.handled, done.rule) == (3, None)
    assert (await bench.seen(case), await bench.cursor(case)) == ([1, 2, 3, 4], (4, False))
    with pytest.raises(LookupError):
        await bench.consumer.replay(case)
    await bench.consumer.take(await bench.published([delivered(case)]))
    assert await bench.seen(case) == [1, 2, 3, 4, 5]


async def test_a_fault_of_the_infrastructure_is_raised_and_nothing_has_happened(
    bench: Bench,
) -> None:
    one, two = uuid4(), uuid4()
    events = [delivered(one), delivered(two)]
    records = await bench.published(events)
    bench.book.fail[events[1].event_id] = asyncpg.DeadlockDetectedError()
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await bench.consumer.take(records)
    assert (await bench.seen(one), await bench.cursor(one)) == ([], None)
    bench.book.fail.clear()
    await bench.consumer.take(records)
    assert (await bench.seen(one), await bench.seen(two)) == ([1], [1])


async def test_a_zombie_that_comes_late_changes_nothing(bench: Bench) -> None:
    """It holds a batch that its successor has handled: its write fails at the cursor."""
    case = uuid4()
    records = await bench.published([delivered(case) for _ in range(3)])
    async with bench.delivery.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(
            "insert into delivery.cursor (consumer, case_ref, last_seq) values ('delivery', $1, 3)",
            case,
        )
        import asyncio

        zombie = asyncio.create_task(bench.consumer.take(records))
        await asyncio.sleep(0.2)
        assert not zombie.done()
        await transaction.commit()
        await zombie
    assert await bench.seen(case) == []
    assert await bench.cursor(case) == (3, False)


async def test_a_frame_that_cannot_be_decoded_parks_its_case(bench: Bench) -> None:
    case = uuid4()
    (good,) = await bench.published([delivered(case)])
    bad = Record(
        topic="cauce.case", partition=0, offset=9, case_ref=case, seq=good.seq,
        schema_id=good.schema_id, value=good.value[:-1],
    )  # fmt: skip
    await bench.consumer.take([bad])
    assert await bench.cursor(case) == (0, True)
    assert (await bench.consumer.replay(case)).handled == 1


async def test_the_statements_of_the_cursor_never_scan_a_table(bench: Bench, pg: Databases) -> None:
    from services.kit import consuming
    from tests.support.plans import sequential_scans

    cases = [uuid4() for _ in range(64)]
    await bench.consumer.take(await bench.published([delivered(case) for case in cases]))
    statements: list[tuple[str, list[object]]] = [
        (consuming._ADVANCE, [cases, [2] * 64, [2] * 64]),
        (consuming._OPEN, [cases]),
        (consuming._LOCK, [cases]),
        (consuming._MOVE, [cases, [3] * 64]),
    ]
    async with bench.delivery.acquire() as conn:
        for statement, arguments in statements:
            text = statement.format(schema="delivery")
            assert await sequential_scans(conn, pg, text, "delivery", *arguments) == set()
