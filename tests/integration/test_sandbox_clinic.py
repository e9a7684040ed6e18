"""`clinica-demo` beside a whole hub: told by webhook, it fetches, answers by message, deletes."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from connectors.sandbox.natives import NativeSample
from connectors.sandbox.people import person
from services.console.local import plan, processes
from services.console.local.place import Place
from services.console.local.world import make_world
from services.kit.settings import Settings
from tests.support.hub import running_hub
from tests.support.servers import Databases, Kafka

pytestmark = pytest.mark.timeout(120)


async def test_the_clinic_is_told_fetches_answers_deletes_and_refers_itself(
    place: Place, settings: Settings, pg: Databases, kafka: Kafka
) -> None:
    with running_hub(place, settings, (plan.VAULT, plan.HUB, plan.ONG)) as hub:
        await asyncio.to_thread(make_world, place, settings)
        hub.start(plan.CLINICA)
        try:
            async with aiohttp.ClientSession() as session:
                await _run(session, settings)
        finally:
            processes.stop(place, plan.CLINICA)


async def _run(session: aiohttp.ClientSession, settings: Settings) -> None:
    clinic = f"http://127.0.0.1:{settings.clinica_port}"
    ong = f"http://127.0.0.1:{settings.ong_port}/_control"
    to_shelter = NativeSample(
        person=person(71),
        org=plan.CLINICA,
        to_org=plan.REFUGIO,
        entry="refugio-sur-casa",
        categories=("pseudonymous_core", "contact"),
        service_type="shelter_specialized",
    )
    sent = await _post(session, f"{clinic}/_control/refer", {"body": to_shelter.body()})
    assert sent["status"] == 201, sent
    document = NativeSample(person=person(72), rich=True).body()
    referred = await _post(session, f"{ong}/refer", {"body": document})
    assert referred["status"] == 201, referred
    told = await _until(session, clinic, lambda r: r.get("what") == "accept")
    assert [r["status"] for r in told if r["kind"] == "sent"] == [200, 200]
    (data,) = (r["document"] for r in told if r["kind"] == "data")
    assert data["referral"]["data_categories"] == ["health", "pseudonymous_core"]
    repeated = await _post(session, f"{ong}/refer", {"body": document, "key": referred["key"]})
    assert repeated["body"] == referred["body"]
    other = {"body": NativeSample(person=person(73)).body(), "key": referred["key"]}
    assert (await _post(session, f"{ong}/refer", other))["status"] == 409
    withdrawal = {"consent": referred["body"]["consent"]["id"], "native": True}
    assert (await _post(session, f"{ong}/withdraw", withdrawal))["status"] == 201
    told = await _until(session, clinic, lambda r: r.get("what") == "erased")
    assert [r["effect"] for r in told if r["kind"] == "erasure"] == ["deleted"]
    assert [r["status"] for r in told if r.get("what") == "erased"] == [200]


async def _post(session: aiohttp.ClientSession, url: str, body: Any) -> Any:
    async with session.post(url, json=body) as answer:
        return await answer.json()


async def _until(
    session: aiohttp.ClientSession, url: str, wanted: Callable[[Any], bool]
) -> list[Any]:
    records: list[Any] = []
    for _ in range(150):
        async with session.get(f"{url}/journal") as answer:
            records = (await answer.json())["told"]
        if any(wanted(one) for one in records):
            return records
        await asyncio.sleep(0.1)
    raise AssertionError([(r["kind"], r.get("what"), r.get("status")) for r in records])
