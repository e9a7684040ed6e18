"""The custody log: leaves get places, checkpoints are signed, a changed leaf is noticed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from services.custody import note, store, tree
from services.custody.app import Custody
from services.kit.leaf import Leaf, append_leaves, leaf
from services.kit.runtime import Host, Runtime
from services.kit.settings import Settings
from tests.support.bus import running
from tests.support.plans import sequential_scans
from tests.support.servers import Databases

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def some_leaf() -> Leaf:
    return leaf("accepted", NOW, actor="gateway", case_ref=uuid4(), categories=("contact",))


async def append(pool: asyncpg.Pool, leaves: list[Leaf]) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await append_leaves(conn, leaves)  # type: ignore[arg-type]


@pytest.fixture
async def gateway(pg: Databases) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(pg.dsn("gateway"), min_size=0, max_size=4)
    yield pool
    await pool.close()


@pytest.fixture
async def own(pg: Databases) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(pg.dsn("custody"))
    yield conn
    await conn.close()


@pytest.fixture
async def custody(settings: Settings) -> AsyncIterator[Custody]:
    host = Host("test", settings.model_copy(update={"checkpoint_leaves": 50}))
    yield Custody(Runtime(host, "custody"))
    await host.stop()


async def test_leaves_are_sequenced_signed_and_proved(
    gateway: asyncpg.Pool, own: asyncpg.Connection, custody: Custody
) -> None:
    leaves = [some_leaf() for _ in range(60)]
    async with running(custody.run()):
        for start in range(0, 60, 10):
            await append(gateway, leaves[start : start + 10])
        async with asyncio.timeout(15):
            while (found := await store.newest(own)) is None or found[0].size < 50:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    text = await custody.sign_now()
    checkpoint = note.verify(text, custody.origin, custody.public)
    assert checkpoint.size == 60
    for one in leaves[::7]:
        placed = await store.place_of(own, one.ref)
        assert placed is not None
        path = await store.proof(own, tree.inclusion_ranges(placed[0], checkpoint.size))
        assert tree.verify_inclusion(one.hash, placed[0], 60, path, checkpoint.root)
    assert (await store.verify_all(own)).intact
    assert await custody.sign_now() == text


async def test_a_wrong_hash_is_not_taken(gateway: asyncpg.Pool) -> None:
    good = some_leaf()
    bad = Leaf(ref=good.ref, kind=good.kind, body=good.body + b" ", salt=good.salt, hash=good.hash)
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await append(gateway, [bad])


async def test_no_service_reads_or_changes_the_log(gateway: asyncpg.Pool) -> None:
    for statement in (
        "select * from custody.leaf",
        "update custody.leaf set kind = 'refused'",
        "delete from custody.entry",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await gateway.execute(statement)


@pytest.mark.parametrize(
    "change",
    [
        "update custody.leaf set body = body || ' '::bytea where id = $1",
        "update custody.leaf set hash = sha256('x'::bytea) where id = $1",
        "delete from custody.leaf where id = $1",
        "update custody.node n set hash = sha256('x'::bytea) from custody.entry e"  # noqa: ISC004
        " where n.level = 0 and n.number = e.position and e.leaf_id = $1",
    ],
)
async def test_a_changed_leaf_is_noticed_and_named(
    gateway: asyncpg.Pool, own: asyncpg.Connection, custody: Custody, change: str
) -> None:
    one = some_leaf()
    await append(gateway, [one, some_leaf()])
    await custody.sign_now()
    placed = await store.place_of(own, one.ref)
    assert placed is not None
    transaction = own.transaction()
    await transaction.start()
    number = await own.fetchval("select id from custody.leaf where leaf_ref = $1", one.ref)
    await own.execute(change, number)
    report = await store.verify_all(own)
    await transaction.rollback()
    assert placed[0] in report.damaged
    assert not report.intact
    assert (await store.verify_all(own)).intact


async def test_a_leaf_and_its_hash_changed_together_break_the_signed_root(
    gateway: asyncpg.Pool, own: asyncpg.Connection, custody: Custody
) -> None:
    one = some_leaf()
    await append(gateway, [one])
    await custody.sign_now()
    transaction = own.transaction()
    await transaction.start()
    await own.execute(
        "update custody.leaf set body = body || ' '::bytea, hash = sha256('\\x00'::bytea || salt"
        " || body || ' '::bytea) where leaf_ref = $1",
        one.ref,
    )
    await own.execute(
        "update custody.node n set hash = l.hash from custody.leaf l join custody.entry e"
        " on e.leaf_id = l.id where n.level = 0 and n.number = e.position and l.leaf_ref = $1",
        one.ref,
    )
    report = await store.verify_all(own)
    await transaction.rollback()
    assert (report.damaged, report.root_matches) == ((), False)


async def test_a_rewritten_tree_is_not_signed(
    gateway: asyncpg.Pool, own: asyncpg.Connection, custody: Custody
) -> None:
    await append(gateway, [some_leaf() for _ in range(3)])
    await custody.sign_now()
    await append(gateway, [some_leaf()])
    transaction = own.transaction()
    await transaction.start()
    await store.sequence(own)
    size = await store.size(own)
    level, number = tree.edge_places(size)[0]
    await own.execute(
        "update custody.node set hash = sha256('x'::bytea) where level = $1 and number = $2",
        level,
        number,
    )
    with pytest.raises(ValueError, match="does not continue"):
        await custody.sign(own)
    await transaction.rollback()


async def test_hot_statements_of_the_log_never_scan_a_table(
    pg: Databases, gateway: asyncpg.Pool
) -> None:
    leaves = [some_leaf() for _ in range(64)]
    async with gateway.acquire() as conn:
        scans = await sequential_scans(
            conn,
            pg,
            "select custody.append($1, $2, $3, $4, $5)",
            [one.ref for one in leaves],
            [one.kind for one in leaves],
            [one.body for one in leaves],
            [one.salt for one in leaves],
            [one.hash for one in leaves],
        )
        assert scans == set()
        timeline = await sequential_scans(conn, pg, "select * from custody.of_case($1)", uuid4())
    assert timeline <= {"custody.checkpoint"}
