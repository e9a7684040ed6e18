"""A subscriber's endpoint: keeps what it was told and answers as it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web


@dataclass
class Endpoint:
    """A running endpoint; `answers` is the HTTP status it gives from now on."""

    base: str
    answers: int = 200
    told: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def kinds(self) -> list[str]:
        """Type of each notification, in order."""
        return [values(body)["type"] for body in self.bodies()]

    def bodies(self) -> list[dict[str, Any]]:
        """Each notification as JSON."""
        return [orjson.loads(raw) for _, raw in self.told]

    def events(self) -> list[dict[str, Any]]:
        """Every event told, in order: number, timestamp, focus."""
        return [event for body in self.bodies() for event in values(body)["events"]]

    async def until(self, kind: str, count: int = 1) -> None:
        """Wait until so many notifications of this type have come."""
        for _ in range(200):
            if self.kinds().count(kind) >= count:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(self.kinds())


def values(bundle: dict[str, Any]) -> dict[str, Any]:
    """What the status of a notification says, by name."""
    found: dict[str, Any] = {"events": []}
    for one in bundle["entry"][0]["resource"]["parameter"]:
        if one["name"] == "notification-event":
            found["events"].append({p["name"]: _value(p) for p in one["part"]})
        else:
            found[one["name"]] = _value(one)
    return found


def _value(part: dict[str, Any]) -> Any:
    value = next(v for k, v in part.items() if k.startswith("value"))
    return value["reference"] if isinstance(value, dict) else value


@asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    """An endpoint on a port of its own."""
    made = Endpoint("")

    async def take(request: web.Request) -> web.Response:
        headers = {k.lower(): v for k, v in request.headers.items()}
        made.told.append((headers, await request.read()))
        return web.Response(status=made.answers)

    app = web.Application()
    app.router.add_post("/{rest:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
