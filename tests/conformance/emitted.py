"""Everything that the hub emits in FHIR, from one real run: what it sends, shows and refuses.

It leaves the judgement to the validator; here each resource only gets a name that says where it
came from.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

from connectors.fhir_r4 import notification
from connectors.sandbox.people import person
from connectors.sandbox.samples import BASE, Permit, Sample
from connectors.sandbox.smart import TokenClient
from tests.conformance.installation import Installation, free_port
from tests.conformance.recorder import Recorder, running_recorder
from tests.support.bundles import MUTATIONS
from tests.support.withdrawal_world import (
    Organisation,
    Referred,
    Shelter,
    World,
    home_of,
    running_world,
    until,
)

SOURCE, PUSHED, PULLING = "ong-norte", "refugio-sur", "casa-quieta"
KINDS = ("shelter_specialized", "legal_counsel")
FHIR = "application/fhir+json"
PATCH = "application/json-patch+json"
FORM = "application/x-www-form-urlencoded"
OUTCOME = {"system": f"{BASE}/CodeSystem/referral-outcome", "code": "service_provided"}
REASON = {"system": f"{BASE}/CodeSystem/referral-reason-code", "code": "no_capacity"}
Json = dict[str, Any]


@dataclass(kw_only=True)
class Scene:
    """A run under way, and what it has given off: name → resource."""

    world: World
    recorder: Recorder
    found: dict[str, Json] = field(default_factory=dict)
    people: int = 0

    async def call(
        self, name: str, org: str, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """A request of a partner whose answer is kept under this name."""
        if body is not None:
            headers.setdefault("Content_Type", FHIR)
        status, answer, heads = await self.world.call(org, method, path, body, **headers)
        self.keep(f"{name} ({org}, {status})", answer)
        return status, answer, heads

    def keep(self, name: str, resource: Any) -> None:
        """Note a resource."""
        if isinstance(resource, dict) and "resourceType" in resource:
            self.found[name] = resource

    async def refer(self, to_org: str, **changes: Any) -> Referred:
        """A referral of somebody new."""
        self.people += 1
        sample = Sample(
            person=person(8_000_000 + self.people),
            to_org=to_org,
            entry=f"{to_org}-casa",
            **changes,
        )
        return await self.world.refer(sample.bundle())

    async def task(self, referred: Referred, org: str, status: str = "") -> Json:
        """A party's Task, once it has a status."""

        async def reached() -> Any:
            alias = await self.world.alias(org, "task", referred.referral_ref)
            if alias is None:
                return None
            code, body, _ = await self.world.call(org, "GET", f"/fhir/Task/{alias}")
            known = code == 200 and body["meta"]["versionId"] != "0"
            return body if known and status in ("", body["status"]) else None

        found: Json = await until(reached, f"never {status}")
        return found

    async def answer(self, referred: Referred, org: str, status: str, **elements: Any) -> None:
        """A party writes a status and reads its Task."""
        task = await self.task(referred, org)
        elements = {"status": status, **elements}
        patch = [{"op": "add", "path": f"/{k}", "value": v} for k, v in elements.items()]
        version = f'W/"{task["meta"]["versionId"]}"'
        path = f"/fhir/Task/{task['id']}"
        code, body, _ = await self.call(
            f"PATCH Task to {status}", org, "PATCH", path, patch,
            Content_Type=PATCH, If_Match=version, Prefer="return=representation",
        )  # fmt: skip
        assert code == 200, body
        for side in (SOURCE, org):
            seen = await self.task(referred, side)
            self.keep(f"Task {seen['status']} after {status} ({side})", seen)

    async def read_all(self, referred: Referred, org: str, when: str) -> None:
        """Everything that a party may read of a referral."""
        task = await self.task(referred, org)
        self.keep(f"Task {when} ({org})", task)
        _, request, _ = await self.call(
            f"ServiceRequest {when}", org, "GET", f"/fhir/{task['focus']['reference']}"
        )
        if "subject" in request:
            who = request["subject"]["reference"]
            await self.call(f"Patient {when}", org, "GET", f"/fhir/{who}")
        for consent in request.get("supportingInfo", []):
            await self.call(f"Consent {when}", org, "GET", f"/fhir/{consent['reference']}")


async def pushed(scene: Scene) -> None:
    """Deliveries, contact after acceptance, a partial and a whole withdrawal, at a FHIR server."""
    permits = (Permit(PULLING, "service_referral", ("pseudonymous_core",)),)
    rich: Json = {
        "rich": True,
        "service_type": "legal_counsel",
        "purpose": "legal_assistance",
        "categories": ("pseudonymous_core", "contact", "identity", "exploitation_details",
                       "experience_narrative", "migration_status"),
    }  # fmt: skip
    first = await scene.refer(PUSHED, more_permits=permits)
    second = await scene.refer(PUSHED, **rich)
    minor = await scene.refer(PUSHED, minor=True)
    for one in (first, second, minor):
        await scene.task(one, SOURCE, "accepted")
    await scene.read_all(first, SOURCE, "accepted, usual")
    await scene.read_all(second, PUSHED, "accepted, full")
    await until(lambda: _true(len(scene.recorder.sent) >= 6), "contact never followed")
    for one in (first, second):
        answer = await scene.world.agency.withdraw(one.ids["Consent"])
        scene.keep(f"PATCH Consent ({SOURCE}, {answer['status']})", answer["body"])
        await scene.task(one, SOURCE, "cancelled")
    await scene.read_all(first, SOURCE, "withdrawn")
    await until(
        lambda: _true(sum("erase" in str(body) for _, body in scene.recorder.sent) >= 2),
        "never asked to delete",
    )
    for number, (what, body) in enumerate(list(scene.recorder.sent)):
        scene.keep(f"sent {number}: {what}", body)


async def pulled(scene: Scene) -> None:
    """Every status a recipient can write, and what both sides read then."""
    output = [{"type": {"text": "outcome"}, "valueCodeableConcept": {"coding": [OUTCOME]}}]
    reason = {"coding": [REASON]}
    waiting = {"coding": [{"system": f"{BASE}/CodeSystem/business-status",
                           "code": "awaiting-information"}]}  # fmt: skip
    one = await scene.refer(PULLING)
    await scene.read_all(one, PULLING, "requested")
    await scene.answer(one, PULLING, "received")
    await scene.answer(one, PULLING, "received", businessStatus=waiting, statusReason=reason)
    await scene.answer(one, SOURCE, "requested")
    await scene.answer(one, PULLING, "accepted")
    await scene.answer(one, PULLING, "in-progress")
    await scene.answer(one, PULLING, "on-hold", statusReason=reason)
    await scene.answer(one, PULLING, "in-progress")
    await scene.answer(one, PULLING, "completed", output=output)
    await scene.read_all(one, PULLING, "completed")
    two = await scene.refer(PULLING)
    await scene.answer(two, PULLING, "rejected", statusReason=reason)
    three = await scene.refer(PULLING)
    await scene.answer(three, PULLING, "accepted")
    await scene.answer(three, PULLING, "failed", statusReason=reason)
    await _abort(scene)


async def _abort(scene: Scene) -> None:
    referred = await scene.refer(PULLING)
    await scene.answer(referred, PULLING, "accepted")
    code = {"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "abort"}
    document = {
        "resourceType": "Task",
        "identifier": [{"system": "urn:x-ong-norte", "value": "abort-1"}],
        "status": "requested",
        "intent": "order",
        "code": {"coding": [code]},
        "focus": {"reference": f"Task/{referred.ids['Task']}"},
        "reasonCode": {"coding": [REASON | {"code": "duplicate"}]},
    }
    status, body, _ = await scene.call(
        "POST abort Task", SOURCE, "POST", "/fhir/Task", document, Prefer="return=representation"
    )
    assert status == 201, body
    await scene.read_all(referred, PULLING, "cancellation requested")
    await scene.answer(referred, PULLING, "cancelled")
    await scene.call("abort Task answered", SOURCE, "GET", f"/fhir/Task/{body['id']}")


async def searched(scene: Scene) -> None:
    """Searchsets of both sides, the accounting, the directory and the statement."""
    for org in (SOURCE, PUSHED, PULLING):
        for path in ("Task", "Task?_count=2", "AuditEvent", "Organization", "HealthcareService",
                     "Subscription"):  # fmt: skip
            await scene.call(f"GET {path}", org, "GET", f"/fhir/{path}")
        _, audits, _ = await scene.world.call(org, "GET", "/fhir/AuditEvent")
        for entry in audits.get("entry", [])[:2]:
            name = entry["resource"]["id"]
            await scene.call("AuditEvent", org, "GET", f"/fhir/AuditEvent/{name}")
    for path in (f"Organization/{PUSHED}", f"HealthcareService/{PUSHED}-casa", "metadata"):
        await scene.call(path, SOURCE, "GET", f"/fhir/{path}")
    await _patient_search(scene)


async def _patient_search(scene: Scene) -> None:
    number = person(8_000_001).number
    wanted = quote(f"https://{SOURCE}.example/people|{number}")
    url = scene.world.hub.settings.public_url + "/fhir/Patient/_search"
    bearer = await scene.world.tokens[SOURCE].token(scene.world.session)
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": FORM}
    async with scene.world.session.post(
        url, data=f"identifier={wanted}", headers=headers
    ) as answer:
        assert answer.status == 200, await answer.text()
        scene.keep("POST Patient/_search", await answer.json(content_type=None))


async def subscribed(scene: Scene) -> None:
    """A subscription through its life: handshake, event, `$status`, `$events`."""
    content = {"extension": [{"url": notification.CONTENT, "valueCode": "id-only"}]}
    document = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "new work",
        "criteria": f"Task?owner=Organization/{PUSHED}",
        "channel": {
            "type": "rest-hook",
            "endpoint": f"{scene.recorder.base}/told",
            "payload": FHIR,
            "_payload": content,
        },
    }
    status, body, _ = await scene.call(
        "POST Subscription", PUSHED, "POST", "/fhir/Subscription", document
    )
    assert status == 201, body
    path = f"/fhir/Subscription/{body['id']}"
    await until(lambda: _true(scene.recorder.told), "no handshake")
    await scene.refer(PUSHED)
    await until(lambda: _true(len(scene.recorder.told) >= 2), "no event")
    await scene.call("Subscription", PUSHED, "GET", path)
    await scene.call("Subscription/$status", PUSHED, "GET", f"{path}/$status")
    await scene.call("Subscription/$events", PUSHED, "GET", f"{path}/$events?eventsSinceNumber=1")
    for number, body in enumerate(list(scene.recorder.told)):
        scene.keep(f"notification {number}", body)


async def refused(scene: Scene) -> None:
    """An OperationOutcome of every refusal of the mapping, and of others."""
    url = scene.world.hub.settings.public_url + "/fhir"
    for mutation in MUTATIONS:
        bundle = Sample(person=person(8_900_000), rich=True, minor=mutation.minor).bundle()
        mutation.change(bundle)
        await scene.call(f"refusal: {mutation.name}", SOURCE, "POST", "/fhir", bundle)
    for path in ("Task/1", "Task?x=1", "Patient?identifier=a|b", "Encounter", "Task/1/$x"):
        await scene.call(f"refusal: GET {path}", SOURCE, "GET", f"/fhir/{path}")
    async with aiohttp.ClientSession() as session, session.get(f"{url}/Task") as answer:
        scene.keep("refusal: no token", await answer.json(content_type=None))


async def _true(value: Any) -> bool:
    return bool(value)


@asynccontextmanager
async def running_scene(installation: Installation) -> AsyncIterator[Scene]:
    """A source, a recipient that is pushed to through the recorder, and one that pulls."""
    shelter = Shelter(hub=installation.hub, org=PUSHED, port=free_port())
    async with running_recorder(shelter.url) as recorder:
        orgs = (
            Organisation(org=SOURCE, org_type="ngo", role="source", service_types=KINDS),
            Organisation(
                org=PUSHED,
                url=recorder.base,
                token_url=f"{shelter.url}/oauth/token",
                service_types=KINDS,
            ),
            Organisation(org=PULLING, service_types=KINDS),
        )
        async with running_world(installation.hub, installation.pg, orgs) as world:
            shelter.launch()
            await asyncio.to_thread(shelter.wait_ready)
            for org in (SOURCE, PUSHED, PULLING):
                world.tokens[org] = TokenClient(
                    org,
                    f"{world.hub.settings.public_url}/oauth/token",
                    home_of(installation.hub.place, org) / "client.es384",
                    "",
                )
            try:
                yield Scene(world=world, recorder=recorder)
            finally:
                shelter.kill()


async def collect(installation: Installation) -> dict[str, Json]:
    """Play everything; name → resource."""
    async with running_scene(installation) as scene:
        for part in (pushed, pulled, subscribed, searched, refused):
            await part(scene)
        return scene.found
