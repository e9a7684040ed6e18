"""What delivery tests share: the person, the partner's behaviour and store, a death at a step."""

import asyncio
from typing import Any

import aiohttp

from connectors.sdk.types import Name, Person, Telecom
from services.kit.steps import OBSERVERS
from tests.support.path import Path
from tests.support.shelter import Shelter

PERSON = Person(
    names=(Name(family="Quispe", given=("Ayelén",)),),
    sex="female",
    age_band="age_26_40",
    country="COL",
    telecom=(Telecom(system="phone", value="+57 300 555 0142"),),
)


async def behave(shelter: Shelter, **wanted: Any) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            try:
                async with session.post(f"{shelter.base}/_control", json=wanted) as answer:
                    assert answer.status == 200
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


def held_by(shelter: Shelter, kind: str) -> dict[str, dict[str, Any]]:
    """Resources of the partner's store by id, after its whole journal."""
    found: dict[str, dict[str, Any]] = {}
    record: Any
    for record in shelter.journal("effect") + shelter.journal("answer"):
        for resource in record["resources"]:
            if resource["resourceType"] == kind:
                found[resource["id"]] = resource
    for record in shelter.journal("erasure"):
        for removed_kind, rid in record["removed"]:
            if removed_kind == kind:
                found.pop(rid, None)
    return found


def effects(shelter: Shelter, key: Any) -> list[Any]:
    return [r for r in shelter.journal("effect") if r["key"] == str(key)]


async def task_id(path: Path, ref: Any, kind: str = "content") -> Any:
    return await path.admin.fetchval(
        "select task_id from delivery.task where referral_ref=$1 and kind=$2 order by seq limit 1",
        ref,
        kind,
    )


async def hurry(path: Path) -> None:
    """Let every waiting retry be due now."""
    await path.admin.execute("update delivery.task set next_at = now() where state = 'queued'")


class Killed(BaseException):
    """What a delivery dies of at a step."""


async def die_at(path: Path, step: str) -> None:
    """One turn of the worker, in which every delivery ends at this step and records nothing."""

    def observer(name: str) -> None:
        if name == step:
            raise Killed

    OBSERVERS.append(observer)
    try:
        await path.worker.turn()
        await asyncio.gather(*path.worker._running, return_exceptions=True)
    finally:
        OBSERVERS.remove(observer)
