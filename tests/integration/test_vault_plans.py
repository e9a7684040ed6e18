"""No call of the vault reads a table from end to end."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from services.kit.ports.vault import KeyQuery, Lookup
from services.vault import key_rows
from services.vault.keystore import KeyName
from tests.integration.vault_world import PURPOSE, World, grant, item, make_world, sign
from tests.support.servers import Databases

_SCANS = """
select schemaname || '.' || relname as name, seq_scan from pg_stat_user_tables
 where schemaname in ('vault', 'keys') and seq_scan > 0"""


@pytest.fixture
async def world(pg: Databases, tmp_path: Path) -> AsyncIterator[World]:
    made = await make_world(pg.dsn("vault", pg.vault), tmp_path)
    yield made
    await made.pool.close()


async def test_no_hot_statement_scans_a_table(world: World, pg: Databases) -> None:
    items = [item(case_ref=uuid4()) for _ in range(64)]
    for _ in range(3):
        await world.vault.put([item() for _ in range(64)])
    await flush(world)
    admin = await asyncpg.connect(pg.vault_admin_dsn)
    await admin.execute("analyze")
    before = {row["name"]: row["seq_scan"] for row in await admin.fetch(_SCANS)}
    stored = await world.vault.put(items)
    await world.vault.keep([one.attempt for one in items[:32]])
    await world.vault.release(
        sign(world, [grant(i, r.vault_version) for i, r in zip(items, stored, strict=True)])
    )
    await world.vault.grants([uuid4()])
    await world.vault.resolve([Lookup(org="ong-norte", identifiers=items[0].identifiers)])
    await world.vault.keys([KeyQuery(case_ref=i.case_ref, purpose=PURPOSE) for i in items])
    await world.vault.forget([one.attempt for one in items[32:]])
    async with world.pool.acquire() as conn, conn.transaction():
        await key_rows.kill_keys(conn, [KeyName(i.case_ref, PURPOSE, 1) for i in items])
    await world.epochs.check()
    await flush(world)
    after = {row["name"]: row["seq_scan"] for row in await admin.fetch(_SCANS)}
    await admin.close()
    assert after == before


async def flush(world: World) -> None:
    """Let every connection of the pool report what it has counted."""
    connections = [await world.pool.acquire() for _ in range(6)]
    for connection in connections:
        await connection.execute("select pg_stat_force_next_flush()")
        await connection.fetchval("select 1")
    for connection in connections:
        await world.pool.release(connection)
    async with world.pool.acquire() as conn:
        await conn.execute("select pg_sleep(0.1)")
