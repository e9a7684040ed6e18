"""An installation whose parts can be killed one by one, with traffic, and judged afterwards.

The parts are the hub and the vault (started through `crashing`, which strikes at a step), the
broker and PostgreSQL, all of this rig alone. `Rig.strike` is one kill: a step, a victim,
a start again.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg

from services.console.local import kafka as kafka_node
from services.console.local import plan, postgres, processes
from services.console.local.keys import make_secrets
from services.console.local.place import Place
from services.console.local.ports import free_ports
from services.kit.settings import Settings
from services.kit.steps import STEPS
from tests.support import servers
from tests.support.crash_evidence import gather
from tests.support.crash_judge import Evidence, Violation, judge
from tests.support.crash_partners import enter_partners
from tests.support.crash_traffic import Traffic
from tests.support.crashing import Plan
from tests.support.hub import Hub, running_hub

PARTS = (plan.HUB, plan.VAULT, kafka_node.NAME, postgres.NAME)
REACH_SECONDS = 25.0
DOWN_SECONDS = 0.5
QUIET_SECONDS = 60.0
_WAITING = {
    "events": "select count(*) from bus.pending",
    "deliveries": "select count(*) from delivery.task where state in ('queued', 'claimed')",
    "reports": """select count(*) from delivery.task
        where state in ('done', 'failed') and not confirmed and kind = 'content'""",
    "intents": "select count(*) from delivery.intent where state = 'open'",
    "leaves": "select count(*) from custody.waiting",
}
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
    reached: Counter[str] = field(default_factory=Counter)
    _strikes: int = 0

    @property
    def place(self) -> Place:
        """The folder of the installation."""
        return self.hub.place

    def traffic(self, seed: int, **how: object) -> Traffic:
        """Clients of `ong-norte`."""
        home = plan.partner_home(self.place, plan.ONG)
        url = self.hub.settings.public_url
        key_file, data = home / "client.es384", home / "clients"
        return Traffic(hub=url, key_file=key_file, data=data, seed=seed, **how)  # type: ignore[arg-type]

    def strike(self, point: Point, traffic: Traffic, *, how: str = "kill", nth: int = 1) -> bool:
        """Kill a part at a step and start it again; False when nobody passed that step."""
        self._strikes += 1
        flag = self.place.root / f"strike-{self._strikes}"
        victim = processes.find(self.place, point.part)
        assert victim is not None, f"{point.part} does not run"
        Plan(step=point.step, nth=nth, how=how, victim=victim.pid, flag=str(flag)).write(
            self.plan_file
        )
        until = time.monotonic() + REACH_SECONDS
        while not flag.exists():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        traffic.strike()
        time.sleep(DOWN_SECONDS)
        self.restart(point.part)
        traffic.calm()
        self.reached[point.step] += 1
        return True

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
        """Start hub or vault under the plan, perhaps with a planted fault."""
        self.hub.start(*parts, crash=(f"@{self.plan_file}", planted))

    def quiet(self) -> None:
        """Wait until nothing waits and nothing new happens."""
        asyncio.run(_quiet(self.pg.admin_dsn))

    def evidence(self, traffic: Traffic) -> Evidence:
        """What the witnesses say of everything since the rig began."""
        return gather(self.place, self.pg, self.kafka, traffic.ledger())

    def judged(self, traffic: Traffic) -> list[Violation]:
        """Wait until all is quiet, then judge."""
        self.quiet()
        return judge(self.evidence(traffic))


async def _quiet(dsn: str) -> None:
    until = time.monotonic() + QUIET_SECONDS
    before, still = -1, 0
    waiting: dict[str, int] = {}
    while still < 4:
        if time.monotonic() > until:
            raise AssertionError(f"not quiet after {QUIET_SECONDS:.0f} s: {waiting}")
        with suppress(OSError, asyncpg.PostgresError):
            conn = await asyncpg.connect(dsn)
            try:
                waiting = {name: await conn.fetchval(sql) for name, sql in _WAITING.items()}
                events = await conn.fetchval(_SUM)
            finally:
                await conn.close()
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
        with running_hub(place, settings, parts) as hub:
            rig = Rig(
                hub=hub, server=server, kafka=kafka, pg=pg, plan_file=place.root / "plan.json"
            )
            enter_partners(place, settings, pg.admin_dsn)
            rig.start(plan.VAULT)
            rig.start(plan.HUB)
            yield rig


def rig_settings(settings: Settings) -> Settings:
    """Checkpoints every second, so that their steps are passed often."""
    return settings.model_copy(update={"checkpoint_seconds": 1.0})


def second_hub(rig: Rig) -> Hub:
    """A second copy of the hub on the same databases, on ports of its own."""
    public, admin = free_ports(2)
    settings = rig.hub.settings.model_copy(
        update={
            "public_url": f"http://127.0.0.1:{public}",
            "public_port": public,
            "admin_port": admin,
        }
    )
    return replace(rig.hub, settings=settings)
