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
from contextlib import asynccontextmanager, suppress
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
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
from services.kit.ports import Withdrawal
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
FAULTS = ("commit_then_500", "cut_after", "cut_before", "unavailable")
CALM = "calm"
QUIET_SECONDS = 60.0
_QUIET = """
select (select count(*) from bus.pending)
    + (select count(*) from delivery.task where state in ('queued', 'claimed'))
    + (select count(*) from delivery.intent where state = 'open')
    + (select count(*) from delivery.erasure where state <> 'acknowledged')
    + (select count(*) from referral.referral where status <> all($1::text[]))
"""
_ENDED = ["revoked", "cancelled", "rejected", "expired", "completed", "entered_in_error"]


@dataclass(kw_only=True)
class Fire:
    """One run: `count` cases, each withdrawn once, with or without disturbances."""

    world: World
    shelter: Shelter
    count: int
    seed: int = 1
    abreast: int = 48
    disturb: bool = True
    mode: str = CALM
    modes: dict[UUID, str] = field(default_factory=dict)
    through: Counter[str] = field(default_factory=Counter)
    _open: dict[UUID, asyncio.Event] = field(default_factory=dict)
    _done: bool = False
    _slow: float = 0.0

    async def run(self) -> Judged:
        """Fire, wait until all is settled, judge."""
        self._chance = random.Random(self.seed)  # noqa: S311 -- a seed repeats a run
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
        referred = await self._refer(sample.bundle())
        seen = self._open.setdefault(referred.case_ref, asyncio.Event())
        if self._chance.random() < 0.8:
            with suppress(TimeoutError):
                await asyncio.wait_for(seen.wait(), 4)
            await asyncio.sleep(self._slow * self._chance.choice((0, 0.1, 0.5, 0.9, 1.1)))
        else:
            await asyncio.sleep(self._chance.uniform(0, 0.2))
        self.modes[referred.case_ref] = self.mode
        await self._withdraw(referred)

    async def _refer(self, bundle: dict[str, Any]) -> Referred:
        return await self.world.refer(bundle)

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
            switches: dict[str, Any] = {"slow_ms": self._chance.choice(SLOW_MS)}
            self._slow = switches["slow_ms"] / 1000
            if self._chance.random() < 0.1:
                switches |= {"fault": self._chance.choice(FAULTS), "fault_calls": 2}
            await self._control(**switches)
            await asyncio.sleep(0.15)

    async def _control(self, **switches: Any) -> None:
        with suppress(aiohttp.ClientError, OSError):
            url = f"{self.shelter.url}/_control"
            async with self.world.session.post(url, json=switches) as answer:
                assert answer.status == 200

    async def _disturb(self) -> None:
        if not self.disturb:
            return
        await asyncio.sleep(3)
        hub = self.world.hub
        for what in (self._frozen, self._killed):
            for name in (plan.HUB, plan.VAULT):
                await what(hub, name)
        await self._frozen(hub, kafka_node.NAME)
        await self._partner_down()
        await self._frozen(hub, plan.HUB, 2.5)
        await self._killed(hub, plan.HUB)

    async def _frozen(self, hub: Hub, name: str, seconds: float = 1.2) -> None:
        self.mode = f"{name} frozen"
        _signal(hub, name, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        _signal(hub, name, signal.SIGCONT)
        await self._calm()

    async def _killed(self, hub: Hub, name: str) -> None:
        self.mode = f"{name} killed"
        hub.kill(name)
        await asyncio.sleep(0.7)
        await asyncio.to_thread(hub.start, name)
        await self._calm()

    async def _partner_down(self) -> None:
        self.mode = "recipient killed"
        self.shelter.kill()
        await asyncio.sleep(0.7)
        await asyncio.to_thread(self.shelter.start)
        await self._calm()

    async def _calm(self) -> None:
        await asyncio.sleep(0.3)
        self.mode = CALM
        await asyncio.sleep(1.5)


def _signal(hub: Hub, name: str, number: int) -> None:
    process = processes.find(hub.place, name)
    assert process is not None, f"{name} does not run"
    for one in (process, *process.children(recursive=True)):
        one.send_signal(number)


async def quiet(admin: asyncpg.Pool) -> None:
    """Wait until nothing is under way and every request to erase was answered."""
    until = time.monotonic() + QUIET_SECONDS
    while await admin.fetchval(_QUIET, _ENDED):
        assert time.monotonic() < until, "not settled"
        await asyncio.sleep(0.3)


ORGS = (
    Organisation(org="ong-norte", org_type="ngo", role="source"),
    Organisation(org="refugio-sur"),
)


@asynccontextmanager
async def under_fire(
    hub: Hub, pg: servers.Databases, shelter: Shelter, count: int, **how: Any
) -> AsyncIterator[Fire]:
    """A fire on a running hub whose recipient is `shelter`."""
    orgs = [ORGS[0], Organisation(org=shelter.org, url=shelter.url)]
    async with running_world(hub, pg, orgs) as world:
        yield Fire(world=world, shelter=shelter, count=count, **how)


async def fire(
    hub: Hub, pg: servers.Databases, shelter: Shelter, count: int, **how: Any
) -> Judged:
    """One whole run."""
    async with under_fire(hub, pg, shelter, count, **how) as made:
        return await made.run()


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
