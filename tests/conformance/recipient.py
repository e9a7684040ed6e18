"""A stranger's FHIR server as recipient: what must hold there, whatever the server is.

The hub pushes to it through `proxy`; its people answer by writing Task in their own server, and
the hub learns of it by polling.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from connectors.fhir_r4.outbound.bundle import erasure_criteria
from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from tests.conformance.installation import Installation
from tests.conformance.proxy import FAULTS, Proxy
from tests.support.withdrawal_world import Organisation, Referred, World, running_world, until

FHIR_JSON = "application/fhir+json"
ORG = "hospital-ajeno"
BASE = "https://cauce.example/fhir"
TASK = f"{BASE}/NamingSystem/task"
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Server:
    """The stranger's server as its own people reach it."""

    base: str
    headers: Mapping[str, str]

    async def read(self, path: str) -> dict[str, Any]:
        """GET."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.base + path, headers={"Accept": FHIR_JSON, **self.headers}) as answer,
        ):
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = json.loads(await answer.read())
            return found

    async def write(self, resource: dict[str, Any]) -> None:
        """PUT under the version that was read."""
        path = f"/{resource['resourceType']}/{resource['id']}"
        headers = {
            "Content-Type": FHIR_JSON,
            "If-Match": f'W/"{resource["meta"]["versionId"]}"',
            **self.headers,
        }
        async with (
            aiohttp.ClientSession() as session,
            session.put(self.base + path, data=json.dumps(resource), headers=headers) as answer,
        ):
            assert answer.status in {200, 201}, await answer.text()

    async def found(self, criteria: str) -> list[dict[str, Any]]:
        """The resources that a search answers with."""
        bundle = await self.read("/" + quote(criteria, safe="?=&%|:/_-"))
        return [entry["resource"] for entry in bundle.get("entry", [])]


@dataclass(kw_only=True)
class Scene:
    """One run against one server."""

    world: World
    server: Server
    proxy: Proxy
    tell: Tell
    people: int = 0

    async def refer(self, **changed: Any) -> Referred:
        """A referral of somebody new."""
        self.people += 1
        return await self.world.refer(
            Sample(
                person=person(7_000_000 + self.people),
                to_org=ORG,
                entry=f"{ORG}-casa",
                **changed,
            ).bundle()
        )

    async def task_of(self, referred: Referred) -> dict[str, Any] | None:
        """The referral's Task at the server; more than one is an error."""
        alias = await self.world.alias(ORG, "task", referred.referral_ref)
        found = await self.server.found(f"Task?identifier={TASK}|{alias}")
        assert len(found) <= 1, f"{len(found)} Tasks for one referral"
        return found[0] if found else None

    async def arrived(self, referred: Referred) -> dict[str, Any]:
        """Its Task, once it is there and the hub knows."""
        await self.status(referred, "delivered")
        task = await self.task_of(referred)
        assert task is not None, "delivered, but not there"
        return task

    async def status(self, referred: Referred, wanted: str) -> None:
        """Wait until the hub has the referral in this state."""

        async def reached() -> bool:
            found = await self.world.admin.fetchval(
                "select status from referral.referral where referral_ref = $1",
                referred.referral_ref,
            )
            return bool(found == wanted)

        await until(reached, f"never {wanted}", seconds=60)

    async def answer(self, referred: Referred, status: str, **more: Any) -> None:
        """Their people write a status into their own server."""
        task = await self.task_of(referred)
        assert task is not None
        await self.server.write({**task, "status": status, **more})

    async def of_task(self, task: dict[str, Any], element: str) -> dict[str, Any]:
        """What the Task refers to at the server."""
        reference = task[element]["reference"].split("/")
        return await self.server.read("/" + "/".join(reference[-2:]))


async def deliver(scene: Scene) -> None:
    """A delivery arrives whole: four resources that refer to one another there."""
    referred = await scene.refer()
    task = await scene.arrived(referred)
    request = await scene.of_task(task, "focus")
    patient = await scene.of_task(task, "for")
    assert request["subject"]["reference"].endswith(f"Patient/{patient['id']}")
    assert "telecom" not in patient, "contact before acceptance"
    assert len(request["supportingInfo"]) == 1
    scene.tell("a delivery arrives whole, its references are the server's own")


async def faults(scene: Scene) -> None:
    """Under each fault a referral arrives, and once."""
    for fault in FAULTS:
        scene.proxy.faults[:] = [fault]
        before = len(scene.proxy.bodies)
        referred = await scene.refer()
        await scene.arrived(referred)
        tries = len(scene.proxy.bodies) - before
        scene.tell(f"fault {fault}: there once ({tries} transactions)")
    people = len(
        await scene.server.found(
            f"Patient?identifier={BASE}/NamingSystem/pairwise/{ORG}|&_count=200"
        )
    )
    assert people == scene.people, f"{people} people for {scene.people}"


async def answers(scene: Scene) -> None:
    """Answers written there come here by polling; contact follows `accepted`, once."""
    referred = await scene.refer()
    await scene.arrived(referred)
    await scene.answer(referred, "accepted")
    await scene.status(referred, "accepted")

    async def has_contact() -> bool:
        task = await scene.task_of(referred)
        return task is not None and "telecom" in await scene.of_task(task, "for")

    await until(has_contact, "contact never followed", seconds=60)
    scene.tell("accepted there is accepted here; contact follows, the person is the same Patient")
    await scene.answer(referred, "in-progress")
    await scene.status(referred, "in_progress")
    outcome = {"system": f"{BASE}/CodeSystem/referral-outcome", "code": "service_provided"}
    kind = {"text": "outcome"}
    output = {"type": kind, "valueCodeableConcept": {"coding": [outcome]}}
    await scene.answer(referred, "completed", output=[output])
    await scene.status(referred, "completed")
    scene.tell("in-progress and completed with its outcome come back by polling")


async def withdrawal(scene: Scene) -> None:
    """A withdrawal becomes a request to delete there; their answer becomes ours."""
    referred = await scene.refer()
    await scene.arrived(referred)
    answer = await scene.world.agency.withdraw(referred.ids["Consent"])
    assert answer["status"] == 200, answer["body"]
    await scene.status(referred, "revoked")

    async def asked() -> Any:
        return await scene.world.admin.fetchval(
            "select sent_at from delivery.erasure where referral_ref = $1", referred.referral_ref
        )

    await until(asked, "never asked to delete", seconds=60)
    row = await scene.world.admin.fetchrow(
        "select * from delivery.erasure where referral_ref = $1", referred.referral_ref
    )
    assert row is not None
    tasks = await scene.server.found(f"Task?{erasure_criteria(BASE, row['task_id'])}")
    assert len(tasks) == 1, f"{len(tasks)} requests to delete"
    effect = {"system": f"{BASE}/CodeSystem/withdrawal-effect", "code": "deleted"}
    output = {"type": {"text": "effect"}, "valueCodeableConcept": {"coding": [effect]}}
    await scene.server.write({**tasks[0], "status": "completed", "output": [output]})

    async def reported() -> Any:
        return await scene.world.admin.fetchval(
            "select effect from delivery.erasure where referral_ref = $1", referred.referral_ref
        )

    assert await until(reported, "effect never polled", seconds=60) == "deleted"
    scene.tell("a withdrawal is one request to delete there; `deleted` comes back by polling")


async def play(
    installation: Installation, proxy: Proxy, server: Server, tell: Tell, scope: str = ""
) -> None:
    """Every scene, in this order, against one server."""
    recipient = Organisation(
        org=ORG, url=proxy.url, token_url=proxy.token_url, answers="poll", scope=scope
    )
    orgs = (Organisation(org="ong-norte", org_type="ngo", role="source"), recipient)
    async with running_world(installation.hub, installation.pg, orgs) as world:
        scene = Scene(world=world, server=server, proxy=proxy, tell=tell)
        for part in (deliver, faults, answers, withdrawal):
            await part(scene)
