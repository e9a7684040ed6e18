"""The process: what every service is given, and the life of all services in it.

It guards that each service has its own pool, role, Kafka principal and clock, that ports resolve to
the implementation in this process or to a client, that a failed background loop starts again, and
that SIGTERM ends everything within three seconds. Rules live in the services.
"""

import asyncio
import gc
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import asyncpg
import uvloop
from starlette.routing import Route

from services.kit import db, rpc, serving
from services.kit.bus import Broker, Replayed, Subscription
from services.kit.logs import Log, capture_crashes, capture_libraries
from services.kit.metrics import Metrics
from services.kit.ports.vault import Vault
from services.kit.settings import Settings

P = TypeVar("P")
Loop = Callable[[], Awaitable[None]]
RESTART_SECONDS: Final = 1.0
STOP_SECONDS: Final = 2.5


@dataclass(kw_only=True)
class Service:
    """What a service brings into the process."""

    name: str
    provides: dict[type, object] = field(default_factory=dict)
    subscriptions: list[Subscription] = field(default_factory=list)
    public: list[Route] = field(default_factory=list)
    admin: list[Route] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    pings: dict[str, Loop] = field(default_factory=dict)
    close: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


class Runtime:
    """What one service is given."""

    def __init__(self, host: "Host", name: str) -> None:
        self._host = host
        self.name = name
        self.settings: Settings = host.settings
        self.metrics: Metrics = host.metrics
        self.log = Log(name, dropped=lambda: host.metrics.inc("cauce_log_fields_dropped_total"))

    def clock(self) -> datetime:
        """Now, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        return time.monotonic()

    @property
    def database(self) -> str:
        """The database this service's tables are in."""
        vault = self.name == "vault"
        return self.settings.vault_database_name if vault else self.settings.database_name

    async def pool(self) -> asyncpg.Pool:
        """Connections as this service's role to its own database."""
        return await self._host.pool(self.name, self.database)

    async def hub_pool(self) -> asyncpg.Pool:
        """Connections as this service's role to the hub's database."""
        return await self._host.pool(self.name, self.settings.database_name)

    async def own_connection(self) -> asyncpg.Connection:
        """A connection outside the pool (leaders, listeners); the caller closes it."""
        return await db.connect(self.settings, self.name, self.database)

    def port(self, protocol: type[P]) -> P:
        """The port, found when it is first called: in this process, else over `vault_url`."""
        return cast("P", _LazyPort(self._host, self.name, protocol))

    def leading(self, name: str, *, now: bool) -> None:
        """Note that this process leads `name`, or no longer does."""
        self.metrics.set("cauce_leader", 1 if now else 0, leader=name)
        self.log.info("leading" if now else "not-leading", leader=name)

    async def replay(self, consumer: str, case_ref: UUID) -> Replayed:
        """Handle a parked case of a consumer in this process again; LookupError if not here."""
        return await self._host.broker(consumer).replay(case_ref)

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something in the background until the process stops; errors are logged."""
        self._host.spawn(self, work)


class _LazyPort:
    """Resolves a port at its first call, when all services of the process are built."""

    def __init__(self, host: "Host", caller: str, protocol: type) -> None:
        self._host = host
        self._caller = caller
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._host.implementation(self._caller, self._protocol), name)
        setattr(self, name, method)
        return method


Build = Callable[[Runtime], Awaitable[Service]]


class Host:
    """All services of one process."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.metrics = Metrics()
        self.log = Log("kit", dropped=lambda: self.metrics.inc("cauce_log_fields_dropped_total"))
        self.services: list[Service] = []
        self._runtimes: dict[str, Runtime] = {}
        self._pools: dict[tuple[str, str], asyncpg.Pool] = {}
        self._clients: dict[tuple[str, type], rpc.Client] = {}
        self._brokers: dict[str, Broker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[serving.Server] = []

    async def pool(self, role: str, database: str) -> asyncpg.Pool:
        """The one pool of a role and database."""
        if (role, database) not in self._pools:
            self._pools[role, database] = await db.create_pool(self.settings, role, database)
        return self._pools[role, database]

    def broker(self, consumer: str) -> Broker:
        """The consumer's broker; LookupError when it runs in another process."""
        return self._brokers[consumer]

    def implementation(self, caller: str, protocol: type) -> object:
        """What answers calls of `protocol`; LookupError when nobody here does."""
        for service in self.services:
            if protocol in service.provides:
                return service.provides[protocol]
        if protocol is not Vault:
            raise LookupError(f"no service here provides {protocol.__name__}")
        if (caller, protocol) not in self._clients:
            secret = self.settings.secret(f"service.{caller}")
            self._clients[caller, protocol] = rpc.Client(
                protocol,
                self.settings.vault_url,
                lambda: rpc.make_service_token(caller, secret),
                timeout_seconds=5.0,
            )
        return self._clients[caller, protocol]

    async def start(self, builders: Mapping[str, Build]) -> None:
        """Build every service, open the ports, begin to consume; raises what forbids it."""
        for name, build in builders.items():
            self._runtimes[name] = Runtime(self, name)
            self.services.append(await build(self._runtimes[name]))
        self._servers = await serving.start(self)
        for service in self.services:
            rt = self._runtimes[service.name]
            for subscription in service.subscriptions:
                broker = Broker(
                    settings=self.settings,
                    service=service.name,
                    subscription=subscription,
                    pool=await rt.pool(),
                    hub_pool=await rt.hub_pool(),
                    metrics=self.metrics,
                    log=rt.log,
                )
                self._brokers[subscription.consumer] = broker
                self.spawn(rt, self._forever(rt, broker.run))
                self.spawn(rt, self._forever(rt, broker.measure))
            for loop in service.loops:
                self.spawn(rt, self._forever(rt, loop))
        self.log.info("started", part=self.name, count=len(self.services))

    def spawn(self, rt: Runtime, work: Awaitable[None]) -> None:
        """Run in the background until the process stops."""
        task = asyncio.ensure_future(self._guarded(rt, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, rt: Runtime, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 -- nobody else looks at it
            rt.log.error("background-failed", error)

    async def _forever(self, rt: Runtime, loop: Loop) -> None:
        while True:
            try:
                await loop()
            except Exception as error:  # noqa: BLE001 -- any end of a loop is a fault to report
                kind = "infrastructure" if db.is_infrastructure_fault(error) else "loop"
                self.metrics.inc("cauce_faults_total", service=rt.name, kind=kind)
                rt.log.warning("loop-ended", error)
            if _cancelled():  # its cleaning up failed, which hid that it was told to end
                return
            await asyncio.sleep(RESTART_SECONDS)

    async def ready(self) -> dict[str, str]:
        """Every part that is asked whether it is ready → `ok` or the type of its error."""
        checks: dict[str, Loop] = {}
        for service in self.services:
            checks |= {f"{service.name}.{part}": ping for part, ping in service.pings.items()}
            checks[f"{service.name}.database"] = self._database_ping(service.name)
        for name, broker in self._brokers.items():
            checks[f"{name}.log"] = broker.ping
        answers = await asyncio.gather(*(_check(ping) for ping in checks.values()))
        return dict(zip(checks, answers, strict=True))

    def _database_ping(self, name: str) -> Loop:
        async def ping() -> None:
            await (await self._runtimes[name].pool()).fetchval("select 1")

        return ping

    async def stop(self) -> None:
        """End everything; never raises."""
        for server in self._servers:
            server.should_exit = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closing: list[Awaitable[None]] = [server.ended() for server in self._servers]
        closing += [close() for service in self.services for close in service.close]
        closing += [client.close() for client in self._clients.values()]
        await asyncio.gather(*closing, return_exceptions=True)
        for pool in self._pools.values():
            with suppress(Exception):
                await asyncio.wait_for(pool.close(), 0.5)
            pool.terminate()
        self.log.info("stopped", part=self.name)


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _check(ping: Loop) -> str:
    try:
        await asyncio.wait_for(ping(), 2)
    except Exception as error:  # noqa: BLE001 -- the answer is its type
        return type(error).__name__
    return "ok"


async def _main(host: Host, builders: Mapping[str, Build]) -> int:
    capture_libraries(host.log)
    capture_crashes(host.log)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await host.start(builders)
    except Exception as error:  # noqa: BLE001 -- the operator gets one line
        host.log.error("start-failed", error)
        sys.stderr.write(f"{host.name} does not start: {_why(error)}\n")
        await host.stop()
        return 1
    _keep_what_stays()
    await stopping.wait()
    with suppress(TimeoutError):
        await asyncio.wait_for(host.stop(), STOP_SECONDS)
    return 0


def _keep_what_stays() -> None:
    """Modules, models and plans live as long as the process: the collector need not walk them."""
    gc.collect()
    gc.freeze()


def _why(error: Exception) -> str:
    """A line for the operator without values: our own settings and ports only."""
    if isinstance(error, OSError):
        return f"{error.strerror or type(error).__name__} ({error.filename or 'see the ports'})"
    return type(error).__name__


def run(name: str, settings: Settings, builders: Mapping[str, Build]) -> int:
    """Run these services until SIGTERM; answers the exit status. Memory never becomes a file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main(Host(name, settings), builders))
