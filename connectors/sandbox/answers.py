"""What `refugio-sur` answers to a referral.

Writes Task statuses at the hub, or here for a hub that polls.

Plans are made from the store alone, so a restart takes up every referral that is not yet at its
last answer.
"""

import asyncio
import contextlib

import aiohttp
import orjson

from connectors.sandbox.erasing import is_erasure
from connectors.sandbox.fhir_store import Resource
from connectors.sandbox.shelter import Shelter
from connectors.sandbox.smart import TokenClient

RETRY_SECONDS = 0.5
GIVE_UP = {400, 403, 404, 405, 410, 422}


class Answers:
    """One background task per referral that still owes an answer."""

    def __init__(self, shelter: Shelter, hub: str, canonical: str, tokens: TokenClient) -> None:
        self._shelter, self._hub, self._tokens = shelter, hub, tokens
        self._task_system = f"{canonical}/NamingSystem/task"
        self._code_system = f"{canonical}/CodeSystem"
        self._session: aiohttp.ClientSession | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take up what is open in the store, then listen for new referrals."""
        timeout = aiohttp.ClientTimeout(total=10)
        self._session = aiohttp.ClientSession(timeout=timeout)
        self._shelter.on_referral = self._begin
        for (kind, _), task in list(self._shelter.store.resources.items()):
            if kind == "Task":
                self._begin(task)

    async def stop(self) -> None:
        """Stop answering."""
        for running in self._running:
            running.cancel()
        for running in list(self._running):
            with contextlib.suppress(asyncio.CancelledError):
                await running
        if self._session is not None:
            await self._session.close()

    def _begin(self, task: Resource) -> None:
        work = self._erasure(task) if is_erasure(task) else self._answer(task["id"])
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _erasure(self, task: Resource) -> None:
        if task["status"] == "requested":
            await asyncio.sleep(self._shelter.behaviour.erasure_after_ms / 1000)
            await self._shelter.complete_erasure(task["id"])

    async def _answer(self, rid: str) -> None:
        behaviour = self._shelter.behaviour
        if behaviour.answer_by == "none":
            return
        statuses = [status for status, _ in behaviour.answers]
        current = self._status(rid)
        done = statuses.index(current) + 1 if current in statuses else 0
        if current not in {"requested", *statuses}:
            return
        for status, wait_ms in behaviour.answers[done:]:
            await asyncio.sleep(wait_ms / 1000)
            if self._status(rid) in {None, "cancelled", "entered-in-error"}:
                return
            if behaviour.answer_by == "patch" and not await self._at_hub(rid, status):
                return
            await self._shelter.answer(rid, self._changes(status))

    def _status(self, rid: str) -> str | None:
        task = self._shelter.store.resources.get(("Task", rid))
        return str(task["status"]) if task else None

    def _changes(self, status: str) -> Resource:
        changes: Resource = {"status": status}
        if status in {"rejected", "failed", "on-hold"}:
            system = f"{self._code_system}/referral-reason-code"
            coding = {"system": system, "code": self._shelter.behaviour.reject_reason}
            changes["statusReason"] = {"coding": [coding]}
        if status == "completed":
            system = f"{self._code_system}/referral-outcome"
            coding = {"system": system, "code": self._shelter.behaviour.outcome}
            kind = {
                "coding": [{"system": f"{self._code_system}/output", "code": "referral-outcome"}]
            }
            changes["output"] = [{"type": kind, "valueCodeableConcept": {"coding": [coding]}}]
        return changes

    async def _at_hub(self, rid: str, status: str) -> bool:
        """PATCH the hub's Task until it takes or refuses the status; False:

        refused, stop answering.
        """
        task = self._shelter.store.get("Task", rid)
        hub_id = next(
            (i["value"] for i in task["identifier"] if i.get("system") == self._task_system), None
        )
        if hub_id is None:
            return False
        while True:
            try:
                code = await self._patch(f"{self._hub}/fhir/Task/{hub_id}", self._changes(status))
            except (aiohttp.ClientError, TimeoutError, OSError):
                code = 0
            if code in {200, 204}:
                return True
            if code in GIVE_UP:
                return False
            await asyncio.sleep(RETRY_SECONDS)

    async def _patch(self, url: str, changes: Resource) -> int:
        session = self._session
        if session is None:
            raise TimeoutError
        token = await self._tokens.token(session)
        headers = {"Authorization": f"Bearer {token}"}
        async with session.get(url, headers=headers) as answer:
            if answer.status == 401:
                await self._tokens.token(session, fresh=True)
                return 401
            if answer.status != 200:
                return answer.status
            etag = answer.headers["ETag"]
        operations = [{"op": "add", "path": f"/{k}", "value": v} for k, v in changes.items()]
        headers |= {"If-Match": etag, "Content-Type": "application/json-patch+json"}
        async with session.patch(url, data=orjson.dumps(operations), headers=headers) as answer:
            return answer.status
