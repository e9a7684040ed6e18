"""Withdrawals aimed at announcements, reads and notes at a partner with a webhook; judged.

The clinic is an endpoint in the test's own process, now quick, now slow: told, it reads soon,
and it answers each request to erase. What it did is written down as the journal that
`withdrawal_judge` reads: an announcement takes effect when it has arrived, a read when it is
answered.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
import orjson
from aiohttp import web

from connectors.fhir_r4 import notification
from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from services.console.local import plan, processes
from services.kit.aliases import alias
from tests.support.hooks import values
from tests.support.hub import Hub
from tests.support.natives import twin
from tests.support.servers import Databases
from tests.support.withdrawal import quiet
from tests.support.withdrawal_judge import EFFECT_DELAY, Facts, Judged, gather, judged
from tests.support.withdrawal_world import Organisation, World, running_world

CLINIC: Final = "clinica-sur"
SOURCE: Final = "ong-norte"
SENT: Final = "cauce.referral.sent"
ERASE: Final = "cauce.erasure.requested"
REVOKED: Final = "cauce.referral.revoked"
JSON: Final = {"Content_Type": "application/json"}
SLOW_SECONDS: Final = (0.0, 0.05, 0.3, 0.8, 1.3)
READ_AFTER: Final = (0.0, 0.1, 0.5, 1.0)
AIMED: Final = 0.7
PATIENCE: Final = 15.0
FROZEN_SECONDS: Final = 0.8
"""A read that was checked right before is answered after it: so long, and it is still in time."""
ABREAST: Final = 24


@dataclass
class Clinic:
    """The partner's endpoint; `journal` is for the judge, `notes` and `events` for the tests."""

    base: str = ""
    slow: float = 0.0
    journal: list[dict[str, Any]] = field(default_factory=list)
    notes: list[tuple[datetime, str, str]] = field(default_factory=list)
    """When, type and the clinic's own id of the referral."""
    events: list[tuple[datetime, str]] = field(default_factory=list)
    """When it was told, and of which referral, by its subscription."""
    mark_of: dict[str, str] = field(default_factory=dict)
    came: dict[str, asyncio.Event] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    """Status of each read that was refused."""
    world: World | None = None
    _acts: set[asyncio.Task[None]] = field(default_factory=set)

    def arrival(self, subject: str) -> asyncio.Event:
        """Set once a referral was announced here."""
        return self.came.setdefault(subject, asyncio.Event())

    async def take(self, request: web.Request) -> web.Response:
        """`/in`: a webhook."""
        event = orjson.loads(await request.read())
        now, mark, data = datetime.now(UTC), request.headers["webhook-id"], event["data"]
        if event["type"] == SENT:
            subject = event["subject"]
            self.notes.append((now, SENT, subject))
            self.mark_of[subject] = mark
            self._write("effect", mark, now, resources=[_held(subject)])
            self.arrival(subject).set()
            self._begin(self._read(subject))
            await asyncio.sleep(self.slow)
        elif event["type"] == ERASE:
            self._write("call", mark, now, path="/fhir/Task")
            self._begin(self._erase(mark, event["subject"], data["referral"]))
        else:
            self.notes.append((now, event["type"], event["subject"]))
        return web.Response(status=204)

    async def hear(self, request: web.Request) -> web.Response:
        """`/told`: a notification."""
        for event in values(orjson.loads(await request.read()))["events"]:
            focus = event.get("focus", "").rpartition("/")[2]
            self.events.append((datetime.now(UTC), focus))
        return web.Response(status=200)

    def _begin(self, work: Any) -> None:
        act = asyncio.create_task(work)
        self._acts.add(act)
        act.add_done_callback(self._acts.discard)

    def _write(self, kind: str, mark: str, at: datetime, **fields: Any) -> None:
        self.journal.append({"kind": kind, "key": mark, "at": at.isoformat(), **fields})

    async def _read(self, subject: str) -> None:
        """Read the content soon; an answer that comes is an effect of its own."""
        await asyncio.sleep(random.choice(READ_AFTER))
        status, _ = await insist(self.world, CLINIC, "GET", f"/v1/referrals/{subject}/data")
        if status == 200:
            now = datetime.now(UTC)
            self._write("effect", self.mark_of[subject], now, resources=[_held(subject)])
        else:
            self.refused.append(status)

    async def _erase(self, mark: str, request: str, subject: str) -> None:
        path = f"/v1/erasure-requests/{request}/effect"
        removed = [["Referral", subject]]
        self._write("erasure", mark, datetime.now(UTC), removed=removed)
        await insist(self.world, CLINIC, "POST", path, {"effect": "deleted"})


def _held(subject: str) -> dict[str, Any]:
    return {"resourceType": "Referral", "id": subject}


@asynccontextmanager
async def listening() -> AsyncIterator[Clinic]:
    """The running endpoint."""
    made = Clinic()
    app = web.Application()
    app.router.add_post("/in", made.take)
    app.router.add_post("/told", made.hear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


async def insist(
    world: World | None, org: str, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """A request that is made again until the hub answers for good."""
    assert world is not None
    while True:
        status = 0
        answer: Any = {}
        with suppress(aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError):
            status, answer, _ = await world.call(org, method, path, body, **JSON, **headers)
        running = status == 409 and answer["faults"][0]["code"] == "in-progress"
        if status not in (0, 401, 429, 500, 502, 503, 504) and not running:
            return status, answer
        await asyncio.sleep(0.1)


async def subscribe(world: World, base: str) -> str:
    """The clinic's subscription to its own Tasks; its id."""
    content = {"extension": [{"url": notification.CONTENT, "valueCode": "id-only"}]}
    channel = {
        "type": "rest-hook",
        "endpoint": f"{base}/told",
        "payload": "application/fhir+json",
        "_payload": content,
    }
    wanted = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "own Tasks",
        "criteria": f"Task?owner=Organization/{CLINIC}",
        "channel": channel,
    }
    status, body, _ = await world.call(
        CLINIC, "POST", "/fhir/Subscription", wanted, Content_Type="application/fhir+json"
    )
    assert status == 201, body
    return str(body["id"])


@asynccontextmanager
async def hooked_world(hub: Hub, pg: Databases) -> AsyncIterator[tuple[World, Clinic]]:
    """The hub with the clinic and a source, which submits natively."""
    async with listening() as clinic:
        orgs = (
            Organisation(org=SOURCE, org_type="ngo", role="source"),
            Organisation(org=CLINIC, url=clinic.base, hook=f"{clinic.base}/in"),
        )
        async with running_world(hub, pg, orgs) as world:
            for org in (SOURCE, CLINIC):
                world.tokens[org].scope = ""
            clinic.world = world
            yield world, clinic


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A referral as its source knows it, as the clinic will, and as we do."""

    mine: str
    theirs: str
    consent: str
    referral_ref: UUID
    case_ref: UUID


async def submit(world: World, number: int) -> Submitted:
    """A native referral to the clinic that must be accepted."""
    sample = Sample(person=person(number), to_org=CLINIC, entry=f"{CLINIC}-casa", seed=None)
    body = orjson.loads(orjson.dumps(twin(sample.bundle())))
    status, answer = await insist(
        world, SOURCE, "POST", "/v1/referrals", body, Idempotency_Key=str(uuid4())
    )
    assert status == 201, answer
    row = await world.admin.fetchrow(
        "select r.referral_ref, r.case_ref from gateway.referral r join gateway.alias a"
        " using (referral_ref) where a.alias = $1 and a.org = $2",
        UUID(answer["referral"]["id"]),
        SOURCE,
    )
    assert row is not None
    key = (world.hub.place.secrets / "alias.key").read_bytes()
    return Submitted(
        mine=answer["referral"]["id"],
        theirs=str(alias(key, "task", row["referral_ref"], CLINIC)),
        consent=answer["consent"]["id"],
        referral_ref=row["referral_ref"],
        case_ref=row["case_ref"],
    )


async def take_back(world: World, one: Submitted) -> None:
    """Withdraw natively; a repeat after an answer that was lost finds it done."""
    status, answer = await insist(
        world, SOURCE, "POST", f"/v1/consents/{one.consent}/withdrawals", {}
    )
    assert status in (201, 409), answer


@dataclass(kw_only=True)
class HookFire:
    """One run: `count` cases, each withdrawn once; with `blows` the hub is killed and frozen."""

    world: World
    clinic: Clinic
    count: int
    seed: int = 1
    blows: bool = True
    aimed: float = AIMED
    early: float = 0.2
    """Within how many seconds from acceptance the others come."""
    modes: dict[UUID, str] = field(default_factory=dict)
    mode: str = "calm"
    _done: bool = False
    _begun: int = 0

    async def run(self) -> tuple[Judged, Facts]:
        """Fire, wait until all is settled, judge."""
        self._chance = random.Random(self.seed)
        beside = [asyncio.create_task(work()) for work in (self._vary, self._disturb)]
        room = asyncio.Semaphore(ABREAST)
        try:
            await asyncio.gather(*(self._case(room, n) for n in range(self.count)))
        finally:
            self._done = True
            await asyncio.gather(*beside)
        self.clinic.slow = 0
        await quiet(self.world.admin)
        await asyncio.sleep(0.5)
        facts = await gather(self.world, self.clinic.journal)
        return judged(facts, self.modes), facts

    async def _case(self, room: asyncio.Semaphore, number: int) -> None:
        async with room:
            self._begun += 1
            one = await submit(self.world, self.seed * 2_000_000 + number)
            if self._chance.random() < self.aimed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.clinic.arrival(one.theirs).wait(), PATIENCE)
                await asyncio.sleep(self.clinic.slow * self._chance.choice((0.0, 0.5, 1.0, 1.05)))
            else:
                await asyncio.sleep(self._chance.uniform(0, self.early))
            self.modes[one.case_ref] = self.mode
            await take_back(self.world, one)

    async def _vary(self) -> None:
        while not self._done:
            self.clinic.slow = self._chance.choice(SLOW_SECONDS)
            await asyncio.sleep(0.2)

    async def _disturb(self) -> None:
        """Kill the hub in the middle, freeze it later."""
        hub = self.world.hub
        for share, what in ((0.6, "killed"), (0.8, "frozen")):
            while self._begun < self.count * share and not self._done:  # noqa: ASYNC110 -- counters
                await asyncio.sleep(0.02)
            if not self.blows or self._done:
                return
            self.mode = f"hub {what}"
            if what == "killed":
                hub.kill(plan.HUB)
                await asyncio.sleep(0.5)
                processes.start(hub.place, hub.command(plan.HUB))
                await asyncio.to_thread(hub.wait_ready, plan.HUB)
            else:
                hub.freeze(plan.HUB)
                await asyncio.sleep(FROZEN_SECONDS)
                hub.thaw(plan.HUB)
            self.mode = "recovering"


def late_notes(clinic: Clinic, ends: dict[str, datetime]) -> list[str]:
    """Notes that came past their time, but for those that say that it is over."""
    found = []
    for at, kind, subject in clinic.notes:
        end = ends.get(subject)
        if end is not None and kind != REVOKED and at > end + EFFECT_DELAY:
            found.append(f"{kind} {(at - end).total_seconds():.3f} s after the withdrawal")
    return found


def strangers_told(
    clinic: Clinic, ends: dict[str, datetime], doubtful: frozenset[str]
) -> list[str]:
    """Referrals never announced of which the subscription told past their time.

    Those are left out of which the hub cannot know: its call may have arrived.
    """
    found = []
    for at, focus in clinic.events:
        end = ends.get(focus)
        if end is None or focus in doubtful | clinic.mark_of.keys():
            continue
        if at > end + EFFECT_DELAY:
            found.append(f"told {(at - end).total_seconds():.3f} s after the withdrawal")
    return found


async def until(check: Any, what: str, seconds: float = 20) -> None:
    """Ask again until the answer is true."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)
