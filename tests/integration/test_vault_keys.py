"""Keys die for good: what is left on disk opens nothing once their epoch has gone."""

import asyncio
import io
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from services.kit import crypto
from services.kit.ports.vault import KeyQuery
from services.vault import key_rows
from services.vault.keystore import EpochMissingError, FileKeystore, KeyName, Wrapped
from tests.integration.vault_world import PURPOSE, SECRET_NAME, World, grant, item, make_world, sign
from tests.support.servers import Databases


@pytest.fixture
async def world(pg: Databases, tmp_path: Path) -> AsyncIterator[World]:
    made = await make_world(pg.dsn("vault", pg.vault), tmp_path)
    yield made
    await made.pool.close()


@pytest.fixture
async def vault_admin(pg: Databases) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(pg.vault_admin_dsn)
    yield connection
    await connection.close()


async def kill(world: World, one: Any, purpose: str = PURPOSE) -> None:
    async with world.pool.acquire() as conn, conn.transaction():
        await key_rows.kill_keys(conn, [KeyName(one.case_ref, purpose, 1)])


async def next_epoch(world: World) -> list[int]:
    return await replace(world.epochs, length=timedelta()).rotate()


async def test_epochs_follow_one_another_and_live_keys_move_along(world: World) -> None:
    one = item()
    (put,) = await world.vault.put([one])
    assert await world.epochs.rotate() == []
    assert await next_epoch(world) == []
    assert world.keystore.epochs() == [1, 2]
    assert await next_epoch(world) == [1]
    assert await next_epoch(world) == [2]
    assert world.keystore.epochs() == [3, 4]
    query = KeyQuery(case_ref=one.case_ref, purpose=PURPOSE)
    assert await world.vault.keys([query]) == [put.keys[0]]
    (released,) = await world.vault.release(sign(world, [grant(one, 1)]))
    assert released.rule == "released"


async def test_more_rows_than_one_rewrap_takes_move_while_records_arrive(world: World) -> None:
    items = [item(record=b'{"split":{}}') for _ in range(64 * 5)]
    for start in range(0, len(items), 64):
        await world.vault.put(items[start : start + 64])
    await next_epoch(world)
    late = [item() for _ in range(20)]
    rotation = asyncio.ensure_future(next_epoch(world))
    await asyncio.gather(*(world.vault.put([one]) for one in late))
    assert await rotation == [1]
    await world.epochs.check()
    queries = [KeyQuery(case_ref=one.case_ref, purpose=PURPOSE) for one in (*items[-40:], *late)]
    assert None not in await world.vault.keys(queries)


async def test_a_row_under_a_missing_epoch_is_an_alarm_and_is_not_skipped(world: World) -> None:
    one, two = item(), item()
    await world.vault.put([one])
    await next_epoch(world)
    await world.vault.put([two])
    (world.folder / "epochs" / "1.key").unlink()
    fresh = FileKeystore(world.folder / "epochs", world.root)
    world.vault._keystore = fresh
    epochs = replace(world.epochs, keystore=fresh)
    with pytest.raises(EpochMissingError):
        await epochs.check()
    assert b"cauce_epochs_missing 2.0" in world.metrics.text()
    with pytest.raises(EpochMissingError):
        await replace(epochs, length=timedelta()).rotate()
    with pytest.raises(EpochMissingError):
        await world.vault.keys([KeyQuery(case_ref=one.case_ref, purpose=PURPOSE)])
    results = await world.vault.release(sign(world, [grant(one, 1), grant(two, 1)]))
    assert [result.rule for result in results] == ["epoch-missing", "released"]
    assert (
        await world.pool.fetchval(
            "select count(*) from keys.data_key where epoch = 1 and wrapped is not null"
        )
        == 2
    )
    good = await world.vault.keys([KeyQuery(case_ref=two.case_ref, purpose=PURPOSE)])
    assert good != [None]
    await world.pool.execute("truncate keys.data_key")


def killed(_: int) -> None:
    raise OSError("killed")


async def test_a_crash_between_rewrap_and_destruction_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = item()
    await world.vault.put([one])
    await next_epoch(world)
    await world.epochs._begin(3)
    with monkeypatch.context() as patch:
        patch.setattr(world.keystore, "destroy_epoch", killed)
        with pytest.raises(OSError, match="killed"):
            await world.epochs.rotate()
    assert await world.epochs.rotate() == [1]
    assert await world.vault.keys([KeyQuery(case_ref=one.case_ref, purpose=PURPOSE)]) != [None]


async def test_after_kill_and_destruction_old_pages_a_dump_and_all_keys_open_nothing(
    world: World, vault_admin: asyncpg.Connection, tmp_path: Path
) -> None:
    one = item(key_versions=((PURPOSE, 1), ("legal_assistance", 1)))
    await world.vault.put([one])
    admin = vault_admin
    old_pages = await copy_pages(admin)
    old_dump = await dump(admin)
    name = KeyName(one.case_ref, PURPOSE, 1)
    before = await world.pool.fetchrow(
        "select epoch, wrapped from keys.data_key where case_ref = $1 and purpose = $2",
        one.case_ref,
        PURPOSE,
    )
    assert before is not None
    assert before["wrapped"] in old_pages, "the copy holds the wrapped key"
    early_keys = shutil.copytree(world.folder / "epochs", tmp_path / "copied")
    copied = FileKeystore(early_keys, world.root)
    assert copied.unwrap(name, Wrapped(before["epoch"], before["wrapped"]))

    await kill(world, one)
    await next_epoch(world)
    await next_epoch(world)
    shutil.rmtree(early_keys)  # a copy of the key files is a second live keystore: it dies as well

    (dead,) = await world.vault.release(sign(world, [grant(one, 1)]))
    assert dead.rule == "key-dead"
    other = grant(one, 1, purpose="legal_assistance")
    (alive,) = await world.vault.release(sign(world, [other]))
    assert alive.rule == "released"

    everything = old_pages + old_dump + await copy_pages(admin) + await dump(admin)
    present = FileKeystore(world.folder / "epochs", world.root)
    assert present.epochs() == [2, 3]
    opened = openable(everything, name, present)
    assert opened == []
    other_name = KeyName(one.case_ref, "legal_assistance", 1)
    assert openable(everything, other_name, present), "the search finds what does open"
    for text in (SECRET_NAME, "CC-79900111", "+570000", "told in confidence"):
        assert text.encode() not in everything


def openable(pages: bytes, name: KeyName, keystore: FileKeystore) -> list[int]:
    """Every place in `pages` where a data key of that name opens under any key that is present."""
    size, aad = 12 + 32 + 16, name.associated()
    keys = [keystore._key(epoch) for epoch in keystore.epochs()]
    found = []
    for place in range(len(pages) - size + 1):
        piece = pages[place : place + size]
        if piece.count(0) > 8:  # a random nonce and ciphertext are not mostly zero
            continue
        for key in keys:
            try:
                crypto.aead_open(key, piece, aad)
            except crypto.CryptoError:
                continue
            found.append(place)
    return found


async def copy_pages(admin: asyncpg.Connection) -> bytes:
    """The files of the keystore's and the records' tables, as they lie on disk."""
    await admin.execute("checkpoint")
    folder = await admin.fetchval("show data_directory")
    content = b""
    for table in ("keys.data_key", "vault.version_key", "vault.version"):
        path = await admin.fetchval("select pg_relation_filepath($1::regclass)", table)
        with open(f"{folder}/{path}", "rb") as file:  # noqa: ASYNC230, PTH123
            content += file.read()
    return content


async def dump(admin: asyncpg.Connection) -> bytes:
    """A backup as it is to be made: every table but those of the keystore."""
    tables = await admin.fetch(
        "select table_schema || '.' || table_name as name from information_schema.tables"
        " where table_schema = 'vault' and table_type = 'BASE TABLE'"
    )
    assert len(tables) >= 8
    out = io.BytesIO()
    for table in tables:
        query = f"select * from {table['name']}"
        await admin.copy_from_query(query, output=out, format="binary")
    return out.getvalue()


async def test_killing_and_making_keys_at_once_never_leaves_a_dead_version_alive(
    world: World,
) -> None:
    for _ in range(10):
        case = uuid4()
        puts = [item(case_ref=case) for _ in range(4)]

        async def strike(one: Any = puts[0]) -> None:
            async with world.pool.acquire() as conn, conn.transaction():
                await key_rows.kill_keys(conn, [KeyName(one.case_ref, PURPOSE, 2)])

        await asyncio.gather(*(world.vault.put([one]) for one in puts), strike())
        rows = await world.pool.fetch(
            "select version from keys.data_key"
            " where case_ref = $1 and purpose = $2 and wrapped is not null",
            case,
            PURPOSE,
        )
        assert rows == []
