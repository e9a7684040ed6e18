"""The HTTP servers of a process: public, admin, and the ports of the vault on a Unix socket.

It guards that nothing but `/live`, `/ready`, `/metrics` and the services' own routes is answered,
that no access log exists, and that a port in use fails before anything is consumed.
"""

import asyncio
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.kit import rpc
from services.kit.metrics import Metrics
from services.kit.migrate import HUB_ROLES
from services.kit.ports.vault import Vault
from services.kit.settings import Settings

BACKLOG: Final = 1024


class Served(Protocol):
    """A service as the servers see it."""

    name: str
    provides: dict[type, object]
    public: list[Route]
    admin: list[Route]


class Process(Protocol):
    """The process whose services are served."""

    @property
    def settings(self) -> Settings:
        """Addresses and ports."""

    @property
    def metrics(self) -> Metrics:
        """What `/metrics` shows."""

    @property
    def services(self) -> Sequence[Served]:
        """What is served."""

    async def ready(self) -> dict[str, str]:
        """Part → `ok` or the type of its error."""


class Server(uvicorn.Server):
    """One listening socket; the runtime alone minds signals."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=75,
            )
        )
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the runtime."""
        yield

    def begin(self) -> None:
        """Serve in the background."""
        self._task = asyncio.ensure_future(self.serve(sockets=[self._listener]))

    async def ended(self) -> None:
        """Wait until the server has stopped."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; OSError when the port is taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, f"port {port}") from None
    listener.listen(BACKLOG)
    return listener


def listen_unix(path: Path) -> socket.socket:
    """A listening Unix socket for this user alone; a stale one is replaced."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


async def start(host: Process) -> list[Server]:
    """Open the sockets of this process and serve."""
    settings = host.settings
    vault = any(service.name == "vault" for service in host.services)
    public = [route for service in host.services for route in service.public]
    admin = [route for service in host.services for route in service.admin]
    admin_port = settings.vault_admin_port if vault else settings.admin_port
    pairs: list[tuple[list[Route], socket.socket]] = [
        (admin + own_routes(host), listen(settings.admin_host, admin_port))
    ]
    if public:
        pairs.append((public, listen(settings.public_host, settings.public_port)))
    if vault:
        pairs.append((_port_routes(host), _vault_listener(settings.vault_url)))
    servers = [Server(Starlette(routes=routes), listener) for routes, listener in pairs]
    for server in servers:
        server.begin()
    return servers


def _vault_listener(url: str) -> socket.socket:
    if url.startswith("unix:"):
        return listen_unix(Path(url.removeprefix("unix:")))
    parts = urlsplit(url)
    return listen(parts.hostname or "127.0.0.1", parts.port or 8083)


def _port_routes(host: Process) -> list[Route]:
    callers = frozenset(HUB_ROLES)
    verify = rpc.verifier(lambda name: host.settings.secret(f"service.{name}"), callers)
    routes: list[Route] = []
    for service in host.services:
        if Vault in service.provides:
            routes += rpc.server_routes(Vault, service.provides[Vault], verify)
    return routes


def own_routes(host: Process) -> list[Route]:
    """What every process answers on its admin port."""

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        parts = await host.ready()
        good = all(answer == "ok" for answer in parts.values())
        return JSONResponse({"ready": good, "parts": parts}, status_code=200 if good else 503)

    async def metrics(_: Request) -> Response:
        return Response(host.metrics.text(), media_type="text/plain; version=0.0.4")

    return [Route("/live", live), Route("/ready", ready), Route("/metrics", metrics)]
