"""The sandbox recipient keeps its promises: durable, idempotent, deaf after Not-After."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from connectors.sandbox.smart import TokenClient
from tests.support.shelter import Shelter

CANONICAL = "https://cauce.example/fhir"


class Hub:
    """The hub's side of the exchange, as an HTTP client."""

    def __init__(self, shelter: Shelter, session: aiohttp.ClientSession) -> None:
        self.shelter, self.session = shelter, session
        self.tokens = TokenClient("hub", f"{shelter.base}/oauth/token", shelter.hub_key, "")

    async def ready(self) -> None:
        for _ in range(200):
            try:
                async with self.session.get(f"{self.shelter.base}/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
        raise AssertionError("the sandbox did not start")

    async def post(
        self, bundle: dict[str, Any], key: str, not_after: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        token = await self.tokens.token(self.session)
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
        if not_after:
            headers["Cauce-Not-After"] = not_after
        url = f"{self.shelter.base}/fhir"
        async with self.session.post(url, json=bundle, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def control(self, **switches: object) -> None:
        async with self.session.post(f"{self.shelter.base}/_control", json=switches) as answer:
            assert answer.status == 200


def referral(task: str) -> dict[str, Any]:
    system = f"{CANONICAL}/NamingSystem/task"
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": task}]}
    resource = {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "identifier": [{"system": system, "value": task}],
        "for": {"reference": "urn:uuid:p"},
    }
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": "urn:uuid:p",
                "resource": patient,
                "request": {"method": "PUT", "url": f"Patient?identifier=urn:x|{task}"},
            },
            {
                "fullUrl": "urn:uuid:t",
                "resource": resource,
                "request": {
                    "method": "POST",
                    "url": "Task",
                    "ifNoneExist": f"identifier={system}|{task}",
                },
            },
        ],
    }


@pytest.fixture
def shelter(tmp_path: Path) -> Iterator[Shelter]:
    """A started shelter, killed in the end."""
    running = Shelter(tmp_path)
    running.start()
    try:
        yield running
    finally:
        running.kill()


async def test_a_repeat_with_the_same_key_has_no_second_effect(shelter: Shelter) -> None:
    """Same key, same answer, one effect; also after kill -9."""
    async with aiohttp.ClientSession() as session:
        hub = Hub(shelter, session)
        await hub.ready()
        bundle, key = referral("t1"), str(uuid4())
        status, first = await hub.post(bundle, key)
        assert status == 200
        assert (await hub.post(bundle, key)) == (200, first)
        shelter.kill()
        shelter.start()
        await hub.ready()
        hub.tokens._until = 0.0
        assert (await hub.post(bundle, key)) == (200, first)
    assert len(shelter.journal("effect")) == 1
    assert len(shelter.journal("call")) == 3


async def test_nothing_takes_effect_after_the_not_after_instant(shelter: Shelter) -> None:
    """A slow partner that honours Cauce-Not-After drops what became too late."""
    async with aiohttp.ClientSession() as session:
        hub = Hub(shelter, session)
        await hub.ready()
        await hub.control(slow_ms=300)
        limit = (datetime.now(UTC) + timedelta(milliseconds=100)).isoformat()
        status, body = await hub.post(referral("late"), str(uuid4()), limit)
    assert status == 412
    assert body["issue"][0]["details"]["coding"][0]["code"] == "not-after"
    assert shelter.journal("effect") == []


@pytest.mark.parametrize(
    ("fault", "effects"),
    [("unavailable", 0), ("cut_before", 0), ("commit_then_500", 1), ("cut_after", 1)],
)
async def test_each_fault_does_what_it_says(shelter: Shelter, fault: str, effects: int) -> None:
    """One faulty call, then the repeat with the same key succeeds with one effect in all."""
    async with aiohttp.ClientSession() as session:
        hub = Hub(shelter, session)
        await hub.ready()
        await hub.tokens.token(session)
        await hub.control(fault=fault, fault_calls=1)
        key = str(uuid4())
        if fault.startswith("cut"):
            with pytest.raises(aiohttp.ClientError):
                await hub.post(referral("f"), key)
        else:
            status, _ = await hub.post(referral("f"), key)
            assert status >= 500
        assert len(shelter.journal("effect")) == effects
        status, _ = await hub.post(referral("f"), key)
        assert status == 200
    assert len(shelter.journal("effect")) == 1


async def test_a_call_without_a_token_of_ours_is_refused(shelter: Shelter) -> None:
    """No authentication bypass exists."""
    async with aiohttp.ClientSession() as session:
        hub = Hub(shelter, session)
        await hub.ready()
        async with session.post(f"{shelter.base}/fhir", json=referral("x")) as answer:
            assert answer.status == 401
    assert shelter.journal("call") == []


async def test_an_erase_task_removes_the_referral_and_says_so(shelter: Shelter) -> None:
    """The person's resources go, the answer says what was done; unknown is never_received."""
    async with aiohttp.ClientSession() as session:
        hub = Hub(shelter, session)
        await hub.ready()
        await hub.post(referral("t9"), str(uuid4()))
        system = f"{CANONICAL}/NamingSystem/task"
        effects = []
        for value in ("t9", "unknown"):
            erase = {
                "resourceType": "Task",
                "status": "requested",
                "intent": "order",
                "code": {"coding": [{"code": "erase"}]},
                "focus": {"identifier": {"system": system, "value": value}},
            }
            token = await hub.tokens.token(session)
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4())}
            url = f"{shelter.base}/fhir/Task"
            async with session.post(url, json=erase, headers=headers) as answer:
                body = await answer.json(content_type=None)
            output = body["output"][0]["valueCodeableConcept"]["coding"][0]["code"]
            effects.append((body["status"], output))
    assert effects == [("completed", "deleted"), ("completed", "never_received")]
