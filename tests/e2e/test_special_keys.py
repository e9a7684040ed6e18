"""Epoch keys and their end, in the running vault, under traffic.

Epochs last seconds here. Copies of pages and dumps: `tests/integration/test_vault_keys.py`.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest

from connectors.sandbox.samples import Permit
from services.console.local.place import Place
from services.kit.settings import Settings
from services.vault.keystore import EpochMissingError, FileKeystore, KeyName, Wrapped
from tests.support import servers
from tests.support.hub import Hub
from tests.support.special import EPOCH_SECONDS, Special, sample, short_epochs, special_world
from tests.support.withdrawal_world import Referred, until


@pytest.fixture(scope="module")
def settings(secrets: Place, pg: servers.Databases, kafka: servers.Kafka) -> Settings:
    return short_epochs(secrets, servers.settings_for(secrets, pg, kafka))


@pytest.fixture
async def world(hub: Hub, pg: servers.Databases) -> AsyncIterator[Special]:
    async with special_world(hub, pg) as made:
        yield made


async def test_service_goes_on_while_epochs_come_and_go_and_copies_lose_their_worth(
    world: Special, tmp_path: Path
) -> None:
    """What this shows of copies, and what it does not.

    Tables alone, of whatever time, open nothing of a purpose whose key died two epochs ago, and
    neither do copied key files with the tables of now. Who copied key files *and* tables before the
    withdrawal holds what both opened then: epochs end what lies about, not what was taken together.
    """
    folder = world.hub.settings.vault_keys_dir
    legal = Permit("refugio-sur", "legal_assistance", ("pseudonymous_core",))
    referred = await world.refer(sample(more_permits=(legal,)).bundle())
    await world.becomes(referred, "accepted")
    copied_rows = await key_rows(world, referred.case_ref)
    copied = FileKeystore(
        Path(shutil.copytree(folder / "epochs", tmp_path / "epochs")),
        (folder / "root.key").read_bytes(),
    )
    assert openable(copied, copied_rows) == len(copied_rows) > 0
    await world.agency.withdraw(referred.ids["Consent"])
    await world.answered(referred)

    sent: list[Referred] = []
    first = newest = await newest_epoch(world)
    while newest < first + 3:
        sent.append(await world.refer(sample().bundle()))
        newest = await newest_epoch(world)
        await rows_have_their_epoch(world, folder)
        await asyncio.sleep(0.1)
    for one in sent:
        await world.becomes(one, "accepted")
    assert len(sent) >= 10
    assert await world.metric("cauce_epochs_missing", world.hub.settings.vault_admin_port) == 0

    present = FileKeystore(folder / "epochs", (folder / "root.key").read_bytes())
    assert openable(present, copied_rows) == 0, "a copy of the tables"
    assert await key_rows(world, referred.case_ref) == [], "the key is dead"
    now = [row for one in sent for row in await key_rows(world, one.case_ref)]
    assert openable(copied, now) == 0, "a copy of the key files, with the tables of now"
    assert openable(present, now) > 0, "the search finds what does open"
    assert openable(copied, copied_rows) == len(copied_rows), "both taken together before"
    gone = await world.in_vault("select epoch from keys.epoch where destroyed_at is not null")
    told = await world.admin.fetch("select body from custody.leaf where kind = 'epoch_destroyed'")
    destroyed = {json.loads(row["body"])["version"] for row in told}
    assert {row["epoch"] for row in gone} >= destroyed >= set(range(1, newest - 2))


async def test_a_row_under_a_missing_epoch_is_an_alarm_and_stays(
    world: Special, tmp_path: Path
) -> None:
    folder, port = world.hub.settings.vault_keys_dir / "epochs", world.hub.settings.vault_admin_port
    await world.refer(sample().bundle())
    epoch = max(int(file.stem) for file in folder.glob("*.key"))
    hidden = Path(shutil.move(folder / f"{epoch}.key", tmp_path))
    count = "select count(*) as n from keys.data_key where epoch = $1"
    assert (await world.in_vault(count, epoch))[0]["n"] > 0

    async def ready() -> bool:
        async with world.session.get(f"http://127.0.0.1:{port}/ready") as answer:
            return answer.status == 200

    async def alarm() -> bool:
        return not await ready() and bool(await world.metric("cauce_epochs_missing", port))

    await until(alarm, "no alarm", 10)
    before = (await world.in_vault(count, epoch))[0]["n"]
    await asyncio.sleep(2 * EPOCH_SECONDS)
    assert (await world.in_vault(count, epoch))[0]["n"] == before, "neither skipped nor dropped"
    assert await alarm()
    shutil.move(hidden, folder)
    await until(ready, "the alarm stays", 10)
    referred = await world.refer(sample().bundle())
    await world.becomes(referred, "accepted")


Row = tuple[KeyName, Wrapped]


async def key_rows(world: Special, case_ref: UUID) -> list[Row]:
    """The live wrapped keys of a case."""
    rows = await world.in_vault(
        "select * from keys.data_key where case_ref = $1 and wrapped is not null", case_ref
    )
    return [
        (KeyName(case_ref, r["purpose"], r["version"]), Wrapped(r["epoch"], r["wrapped"]))
        for r in rows
    ]


def openable(keystore: FileKeystore, rows: list[Row]) -> int:
    """How many of the keys a keystore opens."""
    opened = 0
    for name, wrapped in rows:
        with suppress(EpochMissingError):
            keystore.unwrap(name, wrapped)
            opened += 1
    return opened


async def newest_epoch(world: Special) -> int:
    found: int = (await world.in_vault("select max(epoch) as e from keys.epoch"))[0]["e"]
    return found


async def rows_have_their_epoch(world: Special, folder: Path) -> None:
    """Rows were wrapped anew and committed before their epoch's file went."""
    files = {int(file.stem) for file in (folder / "epochs").glob("*.key")}
    rows = await world.in_vault(
        "select distinct epoch from keys.data_key where wrapped is not null"
    )
    lost = {row["epoch"] for row in rows if row["epoch"] <= max(files)} - files
    assert not lost, "a row whose epoch was destroyed before it was wrapped anew"
