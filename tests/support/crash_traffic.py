"""Clients of the agency while parts of the hub die: some send again until answered, some only once.

Each client writes an fsynced ledger in the agency's format. Every case is of one of six kinds:
by FHIR one referral, two in a row, or one whose consent is taken back soon after; natively, to the
partner with a webhook, two in a row or one taken back; natively to the first, one put right soon.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import aiohttp
import orjson

from connectors.sandbox import journal
from connectors.sandbox.__main__ import SOURCE_SCOPE
from connectors.sandbox.agency import Agency
from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from connectors.sandbox.smart import TokenClient
from tests.support.crash_clinic import CLINIC
from tests.support.crash_seen import RIGHT
from tests.support.natives import twin

SOON_SECONDS = 1.0
LATER_SECONDS = 20.0
"""Half of the withdrawals come while the referral is on its way (or something has just died), half
when the recipient has it."""
_FIRST_PERSON = 10_000
BY_FHIR = ("one", "two", "withdrawn", "put right")
BY_HOOK = ("native", "native withdrawn")
"""Kinds of cases: to the partner that is pushed to, to the one that is told by webhook."""


class Native(Agency):
    """A client that speaks FHIR, and the native JSON where the address is of that surface."""

    async def _request(self, record: dict[str, Any]) -> tuple[int, Any]:
        if not record["path"].startswith("/v1/"):
            return await super()._request(record)
        headers = await self._headers(record["key"]) | {"Content-Type": "application/json"}
        url, data = self._hub + record["path"], orjson.dumps(record["body"])
        async with self._live().post(url, data=data, headers=headers) as answer:
            body = orjson.loads(await answer.read() or b"{}")
            if answer.status == 401:
                await self._tokens.token(self._live(), fresh=True)
            running = any(f["code"] == "in-progress" for f in body.get("faults", ()))
            return (503 if running else answer.status), body

    async def submit(self, body: Any) -> dict[str, Any]:
        """Send one native referral until the hub answers for good."""
        return await self._write("refer", "POST", "/v1/referrals", body, str(uuid4()))

    async def take_back(self, consent: str) -> dict[str, Any]:
        """Take back a consent natively."""
        path = f"/v1/consents/{consent}/withdrawals"
        return await self._write("withdraw", "POST", path, {"status": "withdrawn"}, str(uuid4()))

    async def put_right(self, case: str) -> dict[str, Any]:
        """Put right what a case says of the person."""
        body = {"command": "update", "expected_version": 1, "person": {"languages": [RIGHT]}}
        return await self._write(
            "put right", "POST", f"/v1/cases/{case}/commands", body, str(uuid4())
        )


class Once(Native):
    """A client that never sends anything a second time."""

    async def _send(self, record: dict[str, Any]) -> dict[str, Any]:
        try:
            status, body = await self._request(record)
        except (aiohttp.ClientError, TimeoutError, OSError):
            status, body = 0, {}
        answer = {
            "kind": "answer",
            "what": record["what"],
            "at": datetime.now(UTC).isoformat(),
            "key": record["key"],
            "status": status,
            "body": body,
        }
        await self.journal.append(answer)
        return answer


@dataclass
class Traffic:
    """Runs in a thread of its own until stopped; requests under way are finished then."""

    hub: str
    key_file: Path
    data: Path
    withdraw_at: str | None = None
    """Another copy of the hub, where consents are taken back."""
    clients: int = 6
    pause: float = 0.5
    seed: int = 1
    kinds: tuple[str, ...] = BY_FHIR + BY_HOOK
    _stop: threading.Event = field(default_factory=threading.Event)
    _begun: threading.Event = field(default_factory=threading.Event)
    _struck: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _withdrawing: set[asyncio.Task[object]] = field(default_factory=set)
    _people: int = _FIRST_PERSON
    _elsewhere: Native | None = None

    def __enter__(self) -> Self:
        """Begin to send."""
        self._people += self.seed * 1_000_000
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._begun.wait(timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        """Send nothing new, and wait for the answers to what is under way."""
        self._stop.set()
        self.strike()
        self._tell(self._closing.set)
        assert self._thread is not None
        self._thread.join(timeout=60)
        assert not self._thread.is_alive(), "requests got no answer for 60 s"

    def strike(self) -> None:
        """Something has just been killed: whoever is about to take back consent does it."""
        self._tell(self._struck.set)

    def calm(self) -> None:
        """Withdrawals come at their own time again."""
        self._tell(self._struck.clear)

    def _tell(self, change: Callable[[], None]) -> None:
        assert self._loop is not None, "the traffic has not begun"
        self._loop.call_soon_threadsafe(change)

    def ledger(self) -> list[dict[str, Any]]:
        """What all clients wrote down."""
        files = sorted(self.data.glob("*/ong.jsonl"))
        return [record for file in files for record in journal.read(file)]

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun.set()
        chance = random.Random(self.seed)
        agencies = [self._agency(Native, "again"), self._agency(Once, "once")]
        if self.withdraw_at:
            self._elsewhere = self._agency(Native, "elsewhere", self.withdraw_at)
            await self._elsewhere.start()
        for agency in agencies:
            await agency.start()
        try:
            await asyncio.gather(
                *(
                    self._client(agencies[n % 2], random.Random(chance.random()))
                    for n in range(self.clients)
                )
            )
            await asyncio.gather(*self._withdrawing)
        finally:
            for agency in agencies:
                await agency.stop()
            if self._elsewhere:
                await self._elsewhere.stop()

    def _agency(self, kind: type[Native], name: str, hub: str | None = None) -> Native:
        hub = hub or self.hub
        tokens = TokenClient("ong-norte", f"{hub}/oauth/token", self.key_file, SOURCE_SCOPE)
        return kind(self.data / f"{name}-{self.seed}", hub, tokens)

    async def _client(self, agency: Native, chance: random.Random) -> None:
        acts: dict[str, Callable[[Native, random.Random], Coroutine[Any, Any, None]]] = {
            "one": self._one,
            "two": self._two,
            "withdrawn": self._withdrawn,
            "put right": self._put_right,
            "native": self._native,
            "native withdrawn": self._native_withdrawn,
        }
        while not self._stop.is_set():
            await acts[chance.choice(self.kinds)](agency, chance)
            await asyncio.sleep(chance.uniform(0, 2 * self.pause))

    async def _one(self, agency: Native, _: random.Random) -> None:
        await agency.refer(self._sample().bundle())

    async def _two(self, agency: Native, _: random.Random) -> None:
        sample = self._sample(requisition=str(uuid4()))
        for _n in range(2):
            bundle = Sample(person=sample.person, requisition=sample.requisition).bundle()
            answer = await agency.refer(bundle)
            if answer["status"] != 200:
                return

    async def _withdrawn(self, agency: Native, chance: random.Random) -> None:
        answer = await agency.refer(self._sample().bundle())
        if answer["status"] != 200:
            return
        self._later(self._take_back(agency, _consent(answer["body"]), chance))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        later = asyncio.create_task(work)
        self._withdrawing.add(later)
        later.add_done_callback(self._withdrawing.discard)

    async def _native(self, agency: Native, _: random.Random) -> None:
        """Two in a row of one case, to the partner with a webhook."""
        sample = self._sample(requisition=str(uuid4()))
        for _n in range(2):
            one = Sample(
                person=sample.person,
                requisition=sample.requisition,
                to_org=CLINIC,
                entry=f"{CLINIC}-casa",
            )
            if (await agency.submit(twin(one.bundle())))["status"] != 201:
                return

    async def _put_right(self, agency: Native, chance: random.Random) -> None:
        answer = await agency.submit(twin(self._sample().bundle()))
        if answer["status"] == 201:
            case = answer["body"]["case"]["id"]
            self._later(self._correct(agency, case, chance.uniform(0, SOON_SECONDS)))

    async def _correct(self, agency: Native, case: str, wait: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._struck.wait(), wait)
        await agency.put_right(case)

    async def _native_withdrawn(self, agency: Native, chance: random.Random) -> None:
        sample = Sample(person=self._sample().person, to_org=CLINIC, entry=f"{CLINIC}-casa")
        answer = await agency.submit(twin(sample.bundle()))
        if answer["status"] == 201:
            consent = answer["body"]["consent"]["id"]
            self._later(self._take_back(agency, consent, chance, native=True))

    async def _take_back(
        self, agency: Native, consent: str, chance: random.Random, *, native: bool = False
    ) -> None:
        soon = chance.random() < 0.5
        sign = self._struck if soon else self._closing
        wait = chance.uniform(0, SOON_SECONDS if soon else LATER_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(sign.wait(), wait)
        if self._elsewhere and (self._struck.is_set() or chance.random() < 0.5):
            agency = self._elsewhere
        await (agency.take_back(consent) if native else agency.withdraw(consent))

    def _sample(self, requisition: str | None = None) -> Sample:
        self._people += 1
        return Sample(person=person(self._people), requisition=requisition)


def _consent(answer: dict[str, Any]) -> str:
    located = [str(e["response"].get("location", "")) for e in answer["entry"]]
    return next(p.split("/")[1] for p in located if p.startswith("Consent/"))
