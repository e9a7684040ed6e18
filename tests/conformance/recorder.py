"""What the hub sends to a recipient, as it sent it: a recorder before the recipient's server.

Its endpoint for notifications is on the same address, as the hub demands.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

_SKIPPED = {"host", "content-length", "transfer-encoding", "connection"}


@dataclass
class Recorder:
    """Passes every request on to `target` and keeps the bodies, with method and path."""

    target: str
    base: str = ""
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    async def notification(self, request: web.Request) -> web.Response:
        """A subscriber's endpoint."""
        self.told.append(await request.json())
        return web.Response()

    async def anything(self, request: web.Request) -> web.Response:
        """A request for the recipient's server."""
        raw = await request.read()
        if raw and "json" in request.content_type:
            self.sent.append((f"{request.method} {request.path}", json.loads(raw)))
        kept = {n: v for n, v in request.headers.items() if n.lower() not in _SKIPPED}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, self.target + request.path_qs, data=raw or None, headers=kept
            ) as answer,
        ):
            told = {"ETag", "Location", "Content-Type"}
            headers = {n: v for n, v in answer.headers.items() if n in told}
            return web.Response(status=answer.status, headers=headers, body=await answer.read())


@asynccontextmanager
async def running_recorder(target: str) -> AsyncIterator[Recorder]:
    """The recorder on a port of its own."""
    made = Recorder(target)
    app = web.Application()
    app.router.add_post("/told", made.notification)
    app.router.add_route("*", "/{rest:.*}", made.anything)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
