"""Withdrawals aimed at calls under way, while parts are killed, frozen and down; then judged.

`python -m tests.support.withdrawal --count 500` makes servers of its own, fires and prints the
histogram of (partner's effect − withdrawal). Judged from the recipient's journal, the consent
tables and the custody log (`withdrawal_judge`), not from what the hub says of itself.
"""

import argparse
import asyncio
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg

from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from services.consent.service import ConsentService
from services.console.local import kafka as kafka_node
from services.console.local import plan, processes
from services.console.local.keys import make_secrets
from services.kit.metrics import Metrics
from services.kit.ports.consent import Withdrawal
from tests.support import servers
from tests.support.hub import Hub, running_hub
from tests.support.withdrawal_judge import Judged, judge
from tests.support.withdrawal_world import (
    Organisation,
    Referred,
    Shelter,
    World,
    running_world,
)

SLOW_MS = (50, 200, 500, 900, 1200, 1500)
AIMED = 0.85
"""Share of withdrawals that wait until their call is under way."""
PATIENCE = 20.0
PARTS = (0.0, 0.05, 0.2, 0.5, 0.8, 1.05)
"""At which part of the recipient's slowness a withdrawal comes."""
VOLLEY = 10
"""How many calls under way a blow waits for."""
CALM_SHARE = 0.25
"""Share of the cases before the first blow."""
RECOVERY_SECONDS = 12.0
"""For so long after a blow Kafka waits for consumers that died (their session timeout)."""
FROZEN_SECONDS = (1.0, 1.6, 2.6)
BLOWS = (
    ("frozen", plan.HUB),
    ("killed", plan.HUB),
    ("frozen", plan.VAULT),
    ("killed", plan.REFUGIO),
    ("frozen", plan.HUB),
    ("frozen", kafka_node.NAME),
    ("killed", plan.VAULT),
    ("killed", plan.HUB),
)
FAULTS = ("commit_then_500", "cut_after", "cut_before", "unavailable")
CALM = "calm"
QUIET_SECONDS = 60.0
_WAITING = """
select (select count(*) from bus.pending)
    + (select count(*) from delivery.task where state in ('queued', 'claimed'))
    + (select count(*) from delivery.task
        where state in ('done', 'failed') and not confirmed and kind = 'content')
    + (select count(*) from delivery.intent where state = 'open')
    + (select count(*) from delivery.erasure where state <> 'acknowledged')
"""
_OPEN = "select count(*) from referral.referral where status <> all($1::text[])"
_EVENTS = "select count(*) from bus.event"
_ENDED = ["revoked", "cancelled", "rejected", "expired", "completed", "entered_in_error"]


@dataclass(kw_only=True)
class Fire:
    """One run: `count` cases, each withdrawn once, with or without disturbances."""

    world: World
    shelter: Shelter
    count: int
    seed: int = 1
    abreast: int = 40
    disturb: bool = True
    aimed: float = AIMED
    early: float = 0.2
    """Within how many seconds from acceptance the others come."""
    mode: str = CALM
    modes: dict[UUID, str] = field(default_factory=dict)
    through: Counter[str] = field(default_factory=Counter)
    _open: dict[UUID, asyncio.Event] = field(default_factory=dict)
    _done: bool = False
    _slow: float = 0.0
    _begun: int = 0
    _aiming: int = 0
    _armed: bool = False
    _blown: float = -1e9
    _struck: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> Judged:
        """Fire, wait until all is settled, judge."""
        self._chance = random.Random(self.seed)
        copy = await asyncpg.create_pool(self.world.pg.dsn("consent"), min_size=1, max_size=8)
        self._copy = ConsentService(copy, Metrics(), cell=self.world.hub.settings.cell)
        beside = [asyncio.create_task(work()) for work in (self._watch, self._vary)]
        begun = time.monotonic()
        trouble = asyncio.create_task(self._disturb())
        try:
            await self._cases()
            await trouble
        finally:
            self._done = True
            await asyncio.gather(*beside)
            await copy.close()
        print(f"{self.count} withdrawals in {time.monotonic() - begun:.0f} s", file=sys.stderr)
        await self._control(slow_ms=0, fault="", fault_calls=0)
        await quiet(self.world.admin)
        return await judge(self.world, self.shelter.records(), self.modes)

    async def _cases(self) -> None:
        room = asyncio.Semaphore(self.abreast)

        async def one(number: int) -> None:
            async with room:
                await self._case(number)

        await asyncio.gather(*(one(n) for n in range(self.count)))

    async def _case(self, number: int) -> None:
        sample = Sample(person=person(self.seed * 1_000_000 + number), seed=None)
        sample.key = str(uuid4())
        self._begun += 1
        referred = await self.world.refer(sample.bundle())
        seen = self._open.setdefault(referred.case_ref, asyncio.Event())
        if self._chance.random() < self.aimed:
            with suppress(TimeoutError):
                await asyncio.wait_for(seen.wait(), PATIENCE)
            await self._aim()
        else:
            await asyncio.sleep(self._chance.uniform(0, self.early))
        recent = time.monotonic() - self._blown < RECOVERY_SECONDS
        self.modes[referred.case_ref] = "recovering" if recent and self.mode == CALM else self.mode
        await self._withdraw(referred)

    async def _aim(self) -> None:
        """Wait for a moment within the call, or for the next blow to fall."""
        part = 1.0 if self._armed else self._chance.choice(PARTS)
        self._aiming += 1
        try:
            await asyncio.wait_for(self._struck.wait(), self._slow * part)
        except TimeoutError:
            return
        finally:
            self._aiming -= 1

    async def _withdraw(self, referred: Referred) -> None:
        """At the gateway; while something is wrong, also by another copy of the service."""
        if self.mode == CALM or self._chance.random() < 0.3:
            self.through["gateway"] += 1
            answer = await self.world.agency.withdraw(referred.ids["Consent"])
            assert answer["status"] in (200, 409), answer
            return
        self.through["copy"] += 1
        command = Withdrawal(
            command_id=uuid4(),
            consent_ref=referred.consent_ref,
            by_org="ong-norte",
            status="withdrawn",
            items=(),
        )
        while True:
            with suppress(asyncpg.PostgresError, OSError):
                done = (await self._copy.withdraw([command]))[0]
                assert done.rule is None, done
                return
            await asyncio.sleep(0.05)

    async def _watch(self) -> None:
        """Tell each case when a call for it is under way."""
        while not self._done:
            rows = await self.world.admin.fetch(
                "select case_ref from delivery.intent where state = 'open'"
            )
            for row in rows:
                self._open.setdefault(row["case_ref"], asyncio.Event()).set()
            await asyncio.sleep(0.02)

    async def _vary(self) -> None:
        """The recipient is now quick, now slow, and now and then loses a call."""
        while not self._done:
            slow = SLOW_MS[-1] if self._armed else self._chance.choice(SLOW_MS)
            switches: dict[str, Any] = {"slow_ms": slow}
            if self._chance.random() < 0.1:
                switches |= {"fault": self._chance.choice(FAULTS), "fault_calls": 2}
            await self._control(**switches)
            self._slow = slow / 1000
            await asyncio.sleep(0.15)

    async def _control(self, **switches: Any) -> None:
        with suppress(aiohttp.ClientError, OSError):
            url = f"{self.shelter.url}/_control"
            async with self.world.session.post(url, json=switches) as answer:
                assert answer.status == 200

    async def _disturb(self) -> None:
        """Blow after blow, spread over the run, each when calls are under way."""
        if not self.disturb:
            return
        for number, (what, name) in enumerate(BLOWS):
            await self._until(partial(self._reached, number))
            await self._arm()
            self.mode = f"{name} {what}"
            self._struck.set()
            blow = asyncio.create_task(self._freeze(name) if what == "frozen" else self._kill(name))
            await asyncio.sleep(0.3)
            self._struck.clear()
            await blow
            self.mode = CALM
            if name in (plan.HUB, kafka_node.NAME):
                self._blown = time.monotonic()

    def _reached(self, blow: int) -> bool:
        share = CALM_SHARE + (1 - CALM_SHARE) * blow / len(BLOWS)
        return self._begun >= self.count * share

    async def _arm(self) -> None:
        self._armed = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._until(lambda: self._aiming >= VOLLEY), 4)
        self._armed = False

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():  # noqa: ASYNC110 -- looks at plain counters
            await asyncio.sleep(0.02)

    async def _freeze(self, name: str) -> None:
        hub = self.world.hub
        _signal(hub, name, signal.SIGSTOP)
        await asyncio.sleep(self._chance.choice(FROZEN_SECONDS))
        _signal(hub, name, signal.SIGCONT)

    async def _kill(self, name: str) -> None:
        if name == self.shelter.org:
            self.shelter.kill()
            await asyncio.sleep(0.7)
            self.shelter.launch()
            await asyncio.to_thread(self.shelter.wait_ready)
            return
        hub = self.world.hub
        hub.kill(name)
        await asyncio.sleep(0.7)
        processes.start(hub.place, hub.command(name))
        await asyncio.to_thread(hub.wait_ready, name)


def _signal(hub: Hub, name: str, number: int) -> None:
    process = processes.find(hub.place, name)
    assert process is not None, f"{name} does not run"
    for one in (process, *process.children(recursive=True)):
        one.send_signal(number)


async def quiet(admin: asyncpg.Pool) -> None:
    """Wait until nothing is under way, every referral has ended and every erasure was answered."""
    until = time.monotonic() + QUIET_SECONDS
    while await admin.fetchval(_OPEN, _ENDED):
        assert time.monotonic() < until, "referrals are still open"
        await asyncio.sleep(0.3)
    await quiet_deliveries(admin)


async def quiet_deliveries(admin: asyncpg.Pool) -> None:
    """Wait until nothing is under way, no erasure is unanswered and nothing new happens."""
    until = time.monotonic() + QUIET_SECONDS
    before, still = -1, 0
    while still < 3:
        assert time.monotonic() < until, "not settled"
        waiting, events = await admin.fetchval(_WAITING), await admin.fetchval(_EVENTS)
        still = still + 1 if not waiting and events == before else 0
        before = events
        await asyncio.sleep(0.4)


async def fire(hub: Hub, pg: servers.Databases, shelter: Shelter, count: int, **how: Any) -> Judged:
    """One whole run on a running hub whose recipient is `shelter`."""
    orgs = [
        Organisation(org="ong-norte", org_type="ngo", role="source"),
        Organisation(org=shelter.org, url=shelter.url),
    ]
    async with running_world(hub, pg, orgs) as world:
        return await Fire(world=world, shelter=shelter, count=count, **how).run()


def main() -> int:
    """The long run by command; exit status 1 when anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.withdrawal")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calm", action="store_true", help="nothing is killed or frozen")
    options = parser.parse_args()
    with (
        servers.temporary_place() as place,
        servers.running_postgres(place) as server,
        servers.running_kafka(place) as kafka,
    ):
        make_secrets(place, place.root / "vault-keys")
        pg = servers.new_databases(place, server)
        settings = servers.settings_for(place, pg, kafka)
        with running_hub(place, settings, (plan.VAULT, plan.HUB)) as hub:
            shelter = Shelter(hub=hub, org="refugio-sur", port=settings.refugio_port)
            shelter.start()
            how = {"seed": options.seed, "disturb": not options.calm}
            found = asyncio.run(fire(hub, pg, shelter, options.count, **how))
    print(found.report())
    return 1 if found.violations else 0


if __name__ == "__main__":
    sys.exit(main())
