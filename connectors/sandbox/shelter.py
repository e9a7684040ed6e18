"""`refugio-sur`: what its system does with a request, apart from HTTP.

Every effect is in the journal before it is answered. Record kinds, which judges read: `call`
(arrival of a request, before anything else), `effect` (resources written, with the idempotency
key and the moment), `erasure` (a person's data removed), `answer` (a status this partner gave a
referral).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors.sandbox.behaviour import Behaviour
from connectors.sandbox.erasing import categories, is_erasure, needed_elsewhere, parts_of, without
from connectors.sandbox.fhir_store import Effect, FhirError, FhirStore, Resource
from connectors.sandbox.journal import Journal


@dataclass(frozen=True)
class Request:
    """One write as it arrived."""

    method: str
    path: str
    key: str
    not_after: datetime | None
    entries: list[dict[str, Any]]
    transaction: bool


@dataclass
class Shelter:
    """The partner's system: store, journal, answers by idempotency key."""

    journal: Journal
    behaviour: Behaviour = field(default_factory=Behaviour)
    store: FhirStore = field(default_factory=FhirStore)
    answered: dict[str, Any] = field(default_factory=dict)
    on_referral: Callable[[Resource], None] = lambda _: None
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    @classmethod
    def open(cls, data: Path) -> "Shelter":
        """Load the journal of `data`."""
        shelter = cls(Journal(data / "refugio.jsonl"))
        for record in shelter.journal.records():
            shelter._replay(record)
        return shelter

    def _replay(self, record: dict[str, Any]) -> None:
        kind = record["kind"]
        if kind in {"effect", "answer"}:
            for resource in record["resources"]:
                self.store.apply(resource)
        if kind == "erasure":
            self._erase(record)
        if record.get("key") and "response" in record:
            self.answered[record["key"]] = record["response"]

    async def arrived(self, request: Request, now: datetime) -> None:
        """Note the call itself."""
        await self.journal.append(
            {
                "kind": "call",
                "at": now.isoformat(),
                "method": request.method,
                "path": request.path,
                "key": request.key,
                "not_after": request.not_after and request.not_after.isoformat(),
            }
        )

    async def perform(self, request: Request) -> Any:
        """Take effect once per idempotency key and answer."""
        if not request.key or not self.behaviour.honours_idempotency:
            return await self._perform(request)
        lock = self._locks.setdefault(request.key, asyncio.Lock())
        async with lock:
            if request.key in self.answered:
                return self.answered[request.key]
            return await self._perform(request)

    async def _perform(self, request: Request) -> Any:
        now = datetime.now(UTC)
        if self.behaviour.honours_not_after and request.not_after and now > request.not_after:
            raise FhirError(412, "not-after")
        effects = self.store.plan(request.entries, now)
        erasure = next((e.resource for e in effects if e.changed and is_erasure(e.resource)), None)
        if erasure is not None and not self.behaviour.erasure_after_ms:
            return await self._perform_erasure(request, erasure, now)
        written = [effect.resource for effect in effects if effect.changed]
        for resource in written:
            self.store.apply(resource)
        response = _response(effects) if request.transaction else effects[0].resource
        await self._commit("effect", request, now, written, response)
        for effect in effects:
            if effect.created and effect.resource["resourceType"] == "Task":
                self.on_referral(effect.resource)
        return response

    async def _commit(
        self, kind: str, request: Request, now: datetime, written: list[Resource], response: Any
    ) -> None:
        record = {
            "kind": kind,
            "at": now.isoformat(),
            "key": request.key,
            "resources": written,
            "response": response,
        }
        await self.journal.append(record)
        if request.key:
            self.answered[request.key] = response

    async def _perform_erasure(self, request: Request, task: Resource, now: datetime) -> Any:
        done, record = self.erasure_of(task, now)
        response = (
            _response([Effect(done, created=True, changed=True)]) if request.transaction else done
        )
        record |= {"key": request.key, "response": response}
        await self.journal.append(record)
        self._erase(record)
        if request.key:
            self.answered[request.key] = response
        return response

    def erasure_of(self, task: Resource, now: datetime) -> tuple[Resource, dict[str, Any]]:
        """The erase Task as completed, and the journal record of what goes and what changes."""
        rid, gone = self._named(task), categories(task)
        effect = self.behaviour.erasure_effect if rid else "never_received"
        removed, changed = [], []
        if rid and effect == "deleted":
            parts = parts_of(self.store.resources, rid)
            if gone:
                left = (without(self.store.resources[key], gone) for key in parts)
                changed = [self.store.next_version(r, r["id"], now) for r in left if r]
            else:
                kept = needed_elsewhere(self.store.resources, rid)
                removed = [list(key) for key in parts if key not in kept]
        output = {
            "type": {"coding": [{"code": "withdrawal-effect"}]},
            "valueCodeableConcept": {"coding": [{"code": effect}]},
        }
        done = self.store.next_version(
            {**task, "status": "completed", "output": [output]}, task["id"], now
        )
        return done, {
            "kind": "erasure",
            "at": now.isoformat(),
            "removed": removed,
            "changed": changed,
            "effect": effect,
            "task": done,
        }

    async def complete_erasure(self, rid: str) -> None:
        """Answer a pending erase Task now."""
        _, record = self.erasure_of(self.store.get("Task", rid), datetime.now(UTC))
        await self.journal.append(record)
        self._erase(record)

    def _erase(self, record: dict[str, Any]) -> None:
        for kind, rid in record["removed"]:
            self.store.remove(kind, rid)
        for resource in record.get("changed", ()):
            self.store.apply(resource)
        self.store.apply(record["task"])

    def _named(self, task: Resource) -> str | None:
        """Id of the referral that an erase Task names by its focus, where we hold it."""
        focus = task.get("focus", {})
        identifier = focus.get("identifier", {})
        pair = ("Task", identifier.get("system", ""), identifier.get("value", ""))
        rid = self.store.by_identifier.get(pair) or focus.get("reference", "").removeprefix("Task/")
        return rid if ("Task", rid) in self.store.resources else None

    async def answer(self, rid: str, changes: Resource) -> Resource:
        """Write our own status on a referral, durably."""
        now = datetime.now(UTC)
        task = self.store.next_version({**self.store.get("Task", rid), **changes}, rid, now)
        self.store.apply(task)
        await self.journal.append({"kind": "answer", "at": now.isoformat(), "resources": [task]})
        return task


def _response(effects: list[Effect]) -> Resource:
    entries = []
    for effect in effects:
        kind, rid = effect.resource["resourceType"], effect.resource["id"]
        version = effect.resource["meta"]["versionId"]
        entries.append(
            {
                "resource": effect.resource if is_erasure(effect.resource) else None,
                "response": {
                    "status": "201 Created" if effect.created else "200 OK",
                    "location": f"{kind}/{rid}/_history/{version}",
                    "etag": f'W/"{version}"',
                    "lastModified": effect.resource["meta"]["lastUpdated"],
                },
            }
        )
    for entry in entries:
        if entry["resource"] is None:
            del entry["resource"]
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}
