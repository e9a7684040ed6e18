"""Who waits on a service is told when it changes: by webhook, thin, and nobody else."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from connectors.sandbox.samples import BASE
from connectors.webhook import signing
from services.kit.crypto import new_ed25519
from services.kit.settings import Settings
from tests.support import servers
from tests.support.bundles import concept
from tests.support.gateway_world import World, whole
from tests.support.hooks import Endpoint, endpoint

SOURCE, OWNER, ENTRY = "ong-norte", "refugio-sur", "refugio-sur-casa"
KIND = "cauce.directory.entry_changed"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(settings: Settings, pg: servers.Databases) -> AsyncIterator[tuple[World, Endpoint]]:
    async with whole(settings, pg.admin_dsn) as world, endpoint() as told:
        _, public = new_ed25519()
        keys = [signing.written("whpk_", public)]
        hook = {"url": f"{told.base}/in", "scheme": "v1a", "public_keys": keys}
        await world.admin.execute(
            "update gateway.partner set version = version + 1, record = record || $2"
            " where org = $1",
            SOURCE,
            orjson.dumps({"webhook": hook}).decode(),
        )
        await asyncio.sleep(1.2)
        yield world, told


async def change(world: World, status: str) -> None:
    path = f"/v1/directory/services/{ENTRY}/capacity"
    body = {"capacity_status": status, "capacity_free": 0 if status == "full" else 2}
    answer, said, _ = await world.call("PUT", path, OWNER, body, Content_Type="application/json")
    assert answer == 200, said


async def test_a_source_with_an_open_referral_is_told_and_one_without_is_not(
    hub: tuple[World, Endpoint],
) -> None:
    world, told = hub
    await change(world, "limited")
    ids = await world.refer(person=person(31_001))
    await world.task_of(ids)
    await change(world, "full")
    for _ in range(200):
        found = [body for body in told.bodies() if body["type"] == KIND]
        if found:
            break
        await asyncio.sleep(0.05)
    (note,) = found
    data = note["data"]
    assert set(data) == {"id", "version", "status", "capacity", "href"}
    assert (data["id"], data["status"], data["capacity"]) == (ENTRY, "active", "full")
    path = data["href"].removeprefix(world.host.settings.public_url)
    status, entry, _ = await world.call("GET", path, SOURCE)
    assert (status, entry["capacity_status"], entry["address"]) == (200, "full", None)
    task = await world.task_of(ids, OWNER)
    reason = concept(f"{BASE}/CodeSystem/referral-reason-code", "other")
    assert (await world.answer(task, OWNER, status="rejected", statusReason=reason))[0] == 200
    await change(world, "accepting")
    await asyncio.sleep(2)
    assert [b["type"] for b in told.bodies()].count(KIND) == 1
