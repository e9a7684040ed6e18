"""`clinica-demo` beside a whole hub: told by webhook, it fetches, answers by message, deletes."""

import asyncio
from typing import Any

import aiohttp
import pytest

from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from services.console.local import plan, processes
from services.console.local.place import Place
from services.console.local.world import make_world
from services.kit.settings import Settings
from tests.support.hub import running_hub
from tests.support.natives import twin
from tests.support.servers import Databases, Kafka

pytestmark = pytest.mark.timeout(120)


def native(number: int, **changes: Any) -> Any:
    sample = Sample(
        person=person(number),
        to_org=plan.CLINICA,
        entry="clinica-demo-consulta",
        service_type="psychosocial",
        **changes,
    )
    return twin(sample.bundle())


async def test_the_clinic_is_told_fetches_answers_and_refers_itself(
    place: Place, settings: Settings, pg: Databases, kafka: Kafka
) -> None:
    with running_hub(place, settings, (plan.VAULT, plan.HUB, plan.ONG)) as hub:
        await asyncio.to_thread(make_world, place, settings)
        hub.start(plan.CLINICA)
        try:
            await _run(settings)
        finally:
            processes.stop(place, plan.CLINICA)


async def _run(settings: Settings) -> None:
    url = f"http://127.0.0.1:{settings.clinica_port}"
    async with aiohttp.ClientSession() as session:
        own = native(71) | {}
        own["referral"]["to_org"], own["referral"]["directory_entry"] = (
            "refugio-sur",
            "refugio-sur-casa",
        )
        own["consent"]["items"][0]["to_org"] = "refugio-sur"
        async with session.post(f"{url}/_control/refer", json={"body": own}) as answer:
            sent = await answer.json()
        assert sent["status"] in {200, 201, 202}, sent
        ong = f"http://127.0.0.1:{settings.ong_port}"
        sample = Sample(
            person=person(72),
            to_org=plan.CLINICA,
            entry="clinica-demo-consulta",
            service_type="psychosocial",
        )
        async with session.post(f"{ong}/_control/refer", json={"bundle": sample.bundle()}) as got:
            referred = await got.json()
        assert referred["status"] == 200, referred
        told = await _until(session, url, lambda r: r["kind"] == "sent" and r["what"] == "accept")
        assert [r["status"] for r in told if r["kind"] == "sent"] == [200, 200]
        (data,) = (r["document"] for r in told if r["kind"] == "data")
        assert data["referral"]["service_type"] == "psychosocial"
        places = [e["response"]["location"] for e in referred["body"]["entry"]]
        consent = next(p.split("/")[1] for p in places if p.startswith("Consent/"))
        async with session.post(f"{ong}/_control/withdraw", json={"consent": consent}) as got:
            assert (await got.json())["status"] == 200
        told = await _until(session, url, lambda r: r["kind"] == "sent" and r["what"] == "erased")
        assert [r["effect"] for r in told if r["kind"] == "erasure"] == ["deleted"]
        assert [r["status"] for r in told if r.get("what") == "erased"] == [200]


async def _until(session: aiohttp.ClientSession, url: str, wanted: Any) -> list[Any]:
    records: list[Any] = []
    for _ in range(150):
        async with session.get(f"{url}/journal") as answer:
            records = (await answer.json())["told"]
        if any(wanted(one) for one in records):
            return [r for r in records if r["kind"] != "done"]
        await asyncio.sleep(0.1)
    raise AssertionError([(r["kind"], r.get("what"), r.get("status")) for r in records])
