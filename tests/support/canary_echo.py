"""A partner that tells all it got: in outcomes, texts, addresses, headers of its answers."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from aiohttp import web

ECHOES = ("outcome", "text", "location", "redirect", "header", "token")
"""How the echoing partner says what it got."""


@asynccontextmanager
async def echoing(listener: socket.socket) -> AsyncIterator[list[Any]]:
    """A partner that tells everything it got in its errors; yields what it heard, bodies left out.

    Its effects never succeed, so that deliveries to it are held.
    """
    heard: list[Any] = []

    async def token(_: web.Request) -> web.Response:
        body = {"access_token": "t", "token_type": "bearer", "expires_in": 300}
        return web.json_response(body)

    async def post(request: web.Request) -> web.Response:
        raw = (await request.read()).decode()
        heard.append([request.method, request.path_qs, dict(request.headers)])
        names = [n for n in json.loads(raw or "{}").get("entry", []) if n]
        patient: dict[str, Any] = next(
            (n["resource"] for n in names if n["resource"]["resourceType"] == "Patient"), {}
        )
        who = quote(json.dumps(patient.get("name", "nobody"), ensure_ascii=False))
        how = ECHOES[len(heard) % len(ECHOES)]
        if how == "outcome":
            issue = {"severity": "error", "code": "invalid", "diagnostics": raw}
            body = {"resourceType": "OperationOutcome", "issue": [issue]}
            return web.json_response(body, status=422)
        if how == "location":
            return web.Response(status=201, headers={"Location": f"/fhir/Task/{who}"})
        if how == "redirect":
            return web.Response(status=307, headers={"Location": f"/fhir?{who}"})
        if how == "header":
            return web.Response(status=400, headers={"WWW-Authenticate": who, "ETag": who})
        status = 401 if how == "token" else 500
        return web.Response(status=status, text=raw, content_type="text/html")

    app = web.Application(client_max_size=1 << 22)
    app.router.add_post("/oauth/token", token)
    app.router.add_route("*", "/{rest:.*}", post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield heard
    finally:
        await runner.cleanup()
