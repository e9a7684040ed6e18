"""What stands before a stranger's FHIR server: faults on demand, and a token endpoint if needed.

Before a server without SMART the proxy asks for a signed assertion and a live token as a partner's
gateway would; before one that has it, everything is passed on. Then it plays a bad network.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from connectors.sandbox.smart import TokenEndpoint

FAULTS = (
    "drop-before",
    "drop-after",
    "500",
    "409",
    "412",
    "409-taken",
    "412-taken",
    "429",
    "503",
    "slow",
    "cut",
)
"""What may happen to one transaction; a status with `taken` comes after the server has taken it."""
SLOW_SECONDS = 4.0
_SKIPPED = {"host", "content-length", "transfer-encoding", "connection"}


@dataclass
class Proxy:
    """Passes requests on to `target`; `faults` are played on transactions, first come first."""

    url: str
    target: str
    token_url: str
    tokens: TokenEndpoint | None
    faults: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Every transaction as it arrived, repeats too."""
    keys: list[str] = field(default_factory=list)
    """The Idempotency-Key of each of them."""

    async def token(self, request: web.Request) -> web.Response:
        """`POST /oauth/token`."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        assert self.tokens is not None
        answer = self.tokens.issue(form)
        if answer is None:
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response(answer)

    async def fhir(self, request: web.Request) -> web.StreamResponse:
        """Everything else."""
        bearer = request.headers.get("Authorization", "")
        if self.tokens is not None and not self.tokens.accepts(bearer):
            return web.Response(status=401)
        raw = await request.read()
        self.seen[f"{request.method} {request.path}"] += 1
        fault = ""
        if request.method == "POST" and request.path.rstrip("/") == "/fhir":
            self.bodies.append(json.loads(raw))
            self.keys.append(request.headers.get("Idempotency-Key", ""))
            fault = self.faults.pop(0) if self.faults else ""
        if fault == "drop-before":
            return _hang_up(request)
        if fault in {"409", "412", "500", "503"}:
            return web.Response(status=int(fault))
        if fault == "429":
            return web.Response(status=429, headers={"Retry-After": "1"})
        status, headers, body = await self._passed_on(request, raw)
        if fault == "drop-after":
            return _hang_up(request)
        if fault in {"409-taken", "412-taken"}:
            return web.Response(status=int(fault[:3]))
        if fault == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        if fault == "cut":
            return await _cut(request, body)
        return web.Response(status=status, headers=headers, body=body)

    async def _passed_on(
        self, request: web.Request, raw: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        dropped = _SKIPPED if self.tokens is None else _SKIPPED | {"authorization"}
        kept = {n: v for n, v in request.headers.items() if n.lower() not in dropped}
        url = self.target + request.path_qs
        async with (
            aiohttp.ClientSession(auto_decompress=True) as session,
            session.request(request.method, url, data=raw or None, headers=kept) as answer,
        ):
            told = {"ETag", "Location", "Content-Type", "Last-Modified"}
            headers = {n: v for n, v in answer.headers.items() if n in told}
            return answer.status, headers, await answer.read()


def _hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, body: bytes) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await answer.prepare(request)
    await answer.write(body[: len(body) // 2])
    return _hang_up(request)


def guarded(url: str, target: str, hub_jwks: dict[str, Any]) -> Proxy:
    """A proxy that asks for tokens of its own, knowing the hub by its public key."""
    token_url = f"{url}/oauth/token"
    return Proxy(url, target, token_url, TokenEndpoint(audience=token_url, jwks=hub_jwks))


@asynccontextmanager
async def running(proxy: Proxy) -> AsyncIterator[Proxy]:
    """The proxy on its port."""
    app = web.Application()
    if proxy.tokens is not None:
        app.router.add_post("/oauth/token", proxy.token)
    app.router.add_route("*", "/{rest:.*}", proxy.fhir)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(proxy.url.rpartition(":")[2])).start()
    try:
        yield proxy
    finally:
        await runner.cleanup()
