"""The SQL doors of the exchange: positions, rights, the gate, partitions, plans."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import uuid4

import asyncpg
import pytest

from schemas.topics import event_types
from services.kit.exchange import put_events
from services.relay import store
from tests.support.bus import delivered, put, revoked
from tests.support.servers import Databases


@pytest.fixture
async def referral(pg: Databases) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(pg.dsn("referral"), min_size=0, max_size=8)
    yield pool
    await pool.close()


@pytest.fixture
async def admin(pg: Databases) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(pg.admin_dsn)
    yield conn
    await conn.close()


async def test_the_table_of_types_is_what_the_schemas_declare(admin: asyncpg.Connection) -> None:
    rows = await admin.fetch("select type, topic, gated, owners from bus.type")
    assert {r["type"]: (r["topic"], r["gated"], tuple(r["owners"])) for r in rows} == {
        e.type: (e.topic, e.gated, tuple(sorted(e.owners))) for e in event_types().values()
    }


async def test_positions_in_a_case_have_no_gaps_whoever_puts(referral: asyncpg.Pool) -> None:
    case, other = uuid4(), uuid4()

    async def some() -> list[int]:
        return await put(referral, [delivered(case), revoked(other), delivered(case)])

    answers = await asyncio.gather(*(some() for _ in range(20)))
    seen = sorted(seq for answer in answers for seq in (answer[0], answer[2]))
    assert seen == list(range(1, 41))
    assert all(answer[2] == answer[0] + 1 for answer in answers)


async def test_a_rolled_back_put_leaves_no_gap(referral: asyncpg.Pool) -> None:
    case = uuid4()
    async with referral.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        assert await put_events(cast("asyncpg.Connection", conn), [delivered(case)]) == [1]
        await transaction.rollback()
    assert await put(referral, [delivered(case)]) == [1]


@pytest.mark.parametrize("role", ["gateway", "consent", "delivery", "custody", "vault"])
async def test_only_its_owner_may_emit_an_event(pg: Databases, role: str) -> None:
    pool = await asyncpg.create_pool(pg.dsn(role), min_size=0, max_size=1)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await put(pool, [delivered(uuid4())])
    for forbidden in ("put_referral", "put_as"):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError)):
            await pool.execute(f"select bus.{forbidden}(null,null,null,null,null,null,null,null)")
    await pool.close()


async def test_more_than_64_events_at_once_are_refused(referral: asyncpg.Pool) -> None:
    case = uuid4()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await put(referral, [delivered(case) for _ in range(65)])


async def test_services_cannot_read_the_tables_of_the_exchange(referral: asyncpg.Pool) -> None:
    for table in ("event", "pending", "counter", "type"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await referral.fetch(f"select * from bus.{table}")


async def test_partitions_exist_for_tomorrow_and_an_old_one_goes(
    pg: Databases, admin: asyncpg.Connection
) -> None:
    relay = await asyncpg.connect(pg.dsn("relay"))
    today = datetime.now(UTC).date()
    assert {today, today + timedelta(days=1)} <= set(await store.partitions(relay))
    old = today - timedelta(days=200)
    assert await store.make_partitions(relay, old, old) == 1
    assert await store.make_partitions(relay, old, old) == 0
    await store.drop_partition(relay, old)
    assert old not in await store.partitions(relay)
    assert await admin.fetchval("select to_regclass($1)", f"bus.event_{old:%Y%m%d}") is None
    await relay.close()


async def test_events_of_a_topic_are_forgotten_by_the_day_unless_they_wait_for_the_log(
    pg: Databases, referral: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    relay = await asyncpg.connect(pg.dsn("relay"))
    old = datetime.now(UTC).date() - timedelta(days=120)
    await store.make_partitions(relay, old, old)
    sent, waiting = uuid4(), uuid4()
    for case in (sent, waiting):
        await put(referral, [delivered(case)])
    await admin.execute(
        "with gone as (delete from bus.pending p using bus.event e"
        " where e.id = p.id and e.key = $1) update bus.event set day = $3 where key in ($1, $2)",
        sent,
        waiting,
        old,
    )
    await store.forget(relay, ["cauce.indicator"], old)
    assert await admin.fetchval("select count(*) from bus.event where day = $1", old) == 2
    await store.forget(relay, ["cauce.case"], old)
    left = await admin.fetch("select key from bus.event where day = $1", old)
    assert [row["key"] for row in left] == [waiting]
    await admin.execute(
        "delete from bus.pending p using bus.event e where e.id = p.id and e.day = $1", old
    )
    await store.drop_partition(relay, old)
    await relay.close()


async def test_hot_statements_of_the_exchange_never_scan_a_table(
    pg: Databases, referral: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    from tests.support.plans import sequential_scans

    cases = [uuid4() for _ in range(64)]
    for _ in range(5):
        await put(referral, [delivered(case) for case in cases])
    await admin.execute("analyze bus.event; analyze bus.pending; analyze bus.counter")
    async with referral.acquire() as conn:
        read = await sequential_scans(
            conn, pg, "select * from bus.read($1::uuid[], $2::bigint[])", cases, [1] * 64
        )
    assert read == set()
    relay = await asyncpg.connect(pg.dsn("relay"))
    assert await sequential_scans(relay, pg, "select * from bus.take($1)", 500) == set()
    rows = await store.take(relay, 100)
    ids = [row["id"] for row in rows]
    assert len(ids) == 100
    assert await sequential_scans(relay, pg, "select bus.acknowledge($1::bigint[])", ids) == set()
    await relay.close()
