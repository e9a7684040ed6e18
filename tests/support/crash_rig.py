"""An installation whose parts can be killed one by one, with traffic, and judged afterwards.

The parts are the hub and the vault (started through `crashing`, which strikes at a step), the
broker and PostgreSQL, all of this rig alone. `Rig.strike` is one kill: a step, a victim,
a start again.
"""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import asyncpg

from services.console.local import kafka as kafka_node
from services.console.local import plan, postgres, processes
from services.console.local.keys import make_secrets
from services.console.local.place import Place
from services.console.local.ports import free_ports
from services.kit.settings import Settings
from services.kit.steps import STEPS
from tests.support import servers
from tests.support.crash_clinic import Clinic
from tests.support.crash_evidence import gather
from tests.support.crash_judge import judge
from tests.support.crash_partners import clinic_of, enter_partners
from tests.support.crash_seen import Evidence, Violation
from tests.support.crash_traffic import Traffic
from tests.support.crashing import Plan
from tests.support.hub import Hub, running_hub

COPY = "hub-2"
PARTS = (plan.HUB, plan.VAULT, kafka_node.NAME, postgres.NAME)
REACH_SECONDS = 25.0
DOWN_SECONDS = 0.5
FROZEN_SECONDS = 12.0
"""Longer than a consumer may be silent (10 s) before its partitions go to another."""
QUIET_SECONDS = 90.0
_WAITING = {
    "events": "select count(*) from bus.pending",
    "deliveries": "select count(*) from delivery.task where state in ('queued', 'claimed')",
    "reports": """select count(*) from delivery.task
        where state in ('done', 'failed') and not confirmed and kind = 'content'""",
    "intents": "select count(*) from delivery.intent where state = 'open'",
    "amendments": """select count(*) from delivery.amendment a join delivery.intent i
        on i.case_ref = a.case_ref and i.vault_version < a.since_version and i.state <> 'not_sent'
        where not exists (select from delivery.rectified r
            where r.referral_ref = i.referral_ref and r.version >= a.version)""",
    "leaves": "select count(*) from custody.waiting",
    "notes": "select count(*) from delivery.notification where state = 'queued'",
    "numbers": "select count(*) from delivery.subscription where last_number > sent_number",
}
_LAG = """
select count(*) from bus.counter c left join {schema}.cursor k
    on k.case_ref = c.key and k.consumer = $1
 where c.topic = 'cauce.case' and coalesce(k.last_seq, 0) < c.last_seq
   and not coalesce(k.parked, false)"""
_LAST = "select key, last_seq from bus.counter where topic = 'cauce.case'"
_CURSORS = "select case_ref, last_seq from vault.cursor where not parked"
CONSUMERS = ("consent", "referral", "delivery")
_SUM = "select count(*) from bus.event"


@dataclass(frozen=True)
class Point:
    """One kill: when `step` is passed, `part` dies."""

    step: str
    part: str


def every_point() -> list[Point]:
    """The full product: each step with each part."""
    return [Point(step, part) for step in STEPS for part in PARTS]


def covering_points() -> list[Point]:
    """Every step once and every part several times."""
    return [Point(step, PARTS[n % len(PARTS)]) for n, step in enumerate(STEPS)]


@dataclass(kw_only=True)
class Rig:
    """One installation under fire."""

    hub: Hub
    server: postgres.Server
    kafka: servers.Kafka
    pg: servers.Databases
    plan_file: Path
    clinic: Clinic
    _strikes: int = 0
    _victim: int = 0
    _copy_ports: Sequence[int] = ()

    @property
    def place(self) -> Place:
        """The folder of the installation."""
        return self.hub.place

    def traffic(self, seed: int, hub: str | None = None, withdraw_at: str | None = None) -> Traffic:
        """Clients of `ong-norte` at a copy of the hub."""
        home = plan.partner_home(self.place, plan.ONG)
        url = hub or self.hub.settings.public_url
        key_file, data = home / "client.es384", home / "clients"
        return Traffic(hub=url, key_file=key_file, data=data, seed=seed, withdraw_at=withdraw_at)

    def strike(self, point: Point, traffic: Traffic, *, nth: int = 1) -> bool:
        """Kill a part at a step and start it again; False when nobody passed that step."""
        if not self.reach(point, nth=nth):
            return False
        traffic.strike()
        self._reap()
        time.sleep(DOWN_SECONDS)
        self.restart(point.part)
        traffic.calm()
        return True

    def freeze(self, step: str, traffic: Traffic) -> bool:
        """The hub stands still at a step until others have its work, then goes on as a zombie."""
        frozen = processes.find(self.place, plan.HUB)
        assert frozen is not None, "the hub does not run"
        if not self.reach(Point(step, plan.HUB), how="freeze"):
            # The copy leads what only one may do: it begins anew, behind this one.
            processes.kill(self.place, COPY)
            self.start_copy()
            return False
        traffic.strike()
        time.sleep(FROZEN_SECONDS)
        frozen.send_signal(signal.SIGCONT)
        traffic.calm()
        return True

    def reach(self, point: Point, *, how: str = "kill", nth: int = 1) -> bool:
        """Kill or freeze a part when the step is passed; False when nobody passed it."""
        self._strikes += 1
        flag = self.place.root / f"strike-{self._strikes}"
        victim = processes.find(self.place, point.part)
        assert victim is not None, f"{point.part} does not run"
        self._victim = victim.pid
        struck = Plan(step=point.step, nth=nth, how=how, victim=victim.pid, flag=str(flag))
        struck.write(self.plan_file)
        until = time.monotonic() + REACH_SECONDS
        while not flag.exists():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def _reap(self) -> None:
        """Our dead child goes for good: PostgreSQL will not start while its old pid exists."""
        with suppress(ChildProcessError):
            os.waitpid(self._victim, 0)

    def restart(self, part: str) -> None:
        """Start a dead part and wait until it is ready."""
        processes.kill(self.place, part)
        if part == kafka_node.NAME:
            port = int(self.kafka.bootstrap.rpartition(":")[2])
            broker = kafka_node.broker_of(self.place, port=port, controller_port=0)
            kafka_node.start_broker(self.place, broker, dies_with_us=True)
        elif part == postgres.NAME:
            postgres.start_server(self.place, self.server, dies_with_us=True)
        else:
            self.start(part)

    def start(self, *parts: str, planted: str = "-") -> None:
        """Start hub or vault under the plan, perhaps with a planted fault; wait until it lives.

        It is ready later: the log gives a dead consumer's partitions away after 10 s only.
        """
        for part in parts:
            command = self.hub.command(part, (f"@{self.plan_file}", planted))
            processes.start(self.place, command)
            where = plan.ready_address(self.hub.settings, part)
            processes.wait_until(self.place, part, partial(_lives, *where), timeout=30)

    def start_copy(self) -> str:
        """Start a second copy of the hub, always on the same ports; answers its public address."""
        self._copy_ports = self._copy_ports or free_ports(2)
        public, admin = self._copy_ports
        url = f"http://127.0.0.1:{public}"
        ports = {"public_url": url, "public_port": public, "admin_port": admin}
        settings = self.hub.settings.model_copy(update=ports)
        command = plan.commands(self.place, settings)[plan.HUB]
        processes.start(self.place, replace(command, name=COPY, dies_with_us=True))
        lives = partial(_lives, "127.0.0.1", admin)
        processes.wait_until(self.place, COPY, lives, timeout=30)
        return url

    def wait_ready(self) -> None:
        """Wait until vault and hub are ready."""
        for part in (plan.VAULT, plan.HUB):
            self.hub.wait_ready(part)

    def quiet(self) -> None:
        """Wait until nothing waits and nothing new happens."""
        asyncio.run(_quiet(self.pg, self.clinic))

    def evidence(self, traffic: Traffic) -> Evidence:
        """What the witnesses say of everything since the rig began."""
        told = list(self.clinic.records)
        return replace(gather(self.place, self.pg, self.kafka, traffic.ledger()), told=told)

    def judged(self, traffic: Traffic) -> list[Violation]:
        """Wait until all is quiet, then judge; what was seen goes to standard output."""
        self.quiet()
        evidence = self.evidence(traffic)
        found = judge(evidence)
        told = Counter(f"{r['what']} {r['status']}" for r in evidence.ledger if "status" in r)
        for name, counted in (
            ("client", told),
            ("partner", Counter(r["kind"] for r in evidence.partner)),
            ("clinic", Counter(r["kind"] for r in evidence.told)),
            ("custody", Counter(leaf.kind for leaf in evidence.leaves)),
            ("topic", Counter(type(one.event).__name__ for one in evidence.topic)),
            ("violations", Counter(violation.rule for violation in found)),
        ):
            sys.stdout.write(f"{name}: {dict(counted)}\n")
        return found


def _lives(host: str, port: int) -> bool:
    try:
        with urlopen(f"http://{host}:{port}/live", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def _look(pg: servers.Databases) -> tuple[dict[str, int], int]:
    """What waits, and how many events there are."""
    conn = await asyncpg.connect(pg.admin_dsn)
    try:
        waiting = {name: await conn.fetchval(sql) for name, sql in _WAITING.items()}
        for name in CONSUMERS:
            waiting[name] = await conn.fetchval(_LAG.format(schema=name), name)
        last = await conn.fetch(_LAST)
        events = await conn.fetchval(_SUM)
    finally:
        await conn.close()
    conn = await asyncpg.connect(pg.vault_admin_dsn)
    try:
        cursors = {r["case_ref"]: r["last_seq"] for r in await conn.fetch(_CURSORS)}
    finally:
        await conn.close()
    waiting["vault"] = sum(cursors.get(r["key"], 0) < r["last_seq"] for r in last)
    return waiting, events


async def _quiet(pg: servers.Databases, clinic: Clinic) -> None:
    until = time.monotonic() + QUIET_SECONDS
    before, still = -1, 0
    waiting: dict[str, int] = {}
    while still < 4:
        if time.monotonic() > until:
            raise AssertionError(f"not quiet after {QUIET_SECONDS:.0f} s: {waiting}")
        with suppress(OSError, asyncpg.PostgresError):
            waiting, events = await _look(pg)
            waiting["clinic"] = clinic.busy
            still = still + 1 if not any(waiting.values()) and events == before else 0
            before = events
        await asyncio.sleep(0.5)


@contextmanager
def running_rig(names: Sequence[str] = plan.OURS) -> Iterator[Rig]:
    """Servers and processes of a rig of its own, with the demo's partners."""
    with (
        servers.temporary_place() as place,
        servers.running_postgres(place) as server,
        servers.running_kafka(place) as kafka,
    ):
        make_secrets(place, place.root / "vault-keys")
        pg = servers.new_databases(place, server)
        settings = rig_settings(servers.settings_for(place, pg, kafka))
        parts = [name for name in names if name not in (plan.VAULT, plan.HUB, plan.ONG)]
        with running_hub(place, settings, parts) as hub, clinic_of(place, settings) as clinic:
            rig = Rig(
                hub=hub,
                server=server,
                kafka=kafka,
                pg=pg,
                plan_file=place.root / "plan.json",
                clinic=clinic,
            )
            enter_partners(place, settings, pg.admin_dsn, clinic)
            rig.start(plan.VAULT)
            rig.start(plan.HUB)
            rig.wait_ready()
            clinic.subscribe()
            yield rig


def rig_settings(settings: Settings) -> Settings:
    """Checkpoints every second, so that their steps are passed often."""
    return settings.model_copy(update={"checkpoint_seconds": 1.0})
