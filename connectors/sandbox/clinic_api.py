"""HTTP of `clinica-demo`: where webhooks come in, and its control port on loopback."""

import asyncio
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox.agency import Agency
from connectors.sandbox.clinic import Clinic, switched
from connectors.sandbox.hooksign import is_from


class ClinicApi:
    """Routes of the clinic's system; `agency` sends what the clinic itself refers."""

    def __init__(self, clinic: Clinic, agency: Agency, hub_key: str) -> None:
        self.clinic = clinic
        self.agency = agency
        self._hub_key = hub_key

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/live", self.live),
                Route("/ready", self.live),
                Route("/hooks/cauce", self.hook, methods=["POST"]),
                Route("/_control", self.control, methods=["GET", "POST"]),
                Route("/_control/refer", self.refer, methods=["POST"]),
                Route("/journal", self.journal),
            ]
        )

    async def live(self, _: Request) -> Response:
        """Alive and ready."""
        return Response("ok")

    async def hook(self, request: Request) -> Response:
        """A message of the hub: checked, kept, answered; what it asks for is done after that."""
        body = await request.body()
        if not is_from(self._hub_key, request.headers, body):
            return Response(status_code=401)
        behaviour = self.clinic.behaviour
        if behaviour.slow_ms:
            await asyncio.sleep(behaviour.slow_ms / 1000)
        if behaviour.status < 300:
            await self.clinic.take(request.headers["webhook-id"], orjson.loads(body))
        return Response(status_code=behaviour.status)

    async def control(self, request: Request) -> Response:
        """Read or set the switches."""
        if request.method == "POST":
            try:
                wanted = orjson.loads(await request.body())
                self.clinic.behaviour = switched(self.clinic.behaviour, wanted)
            except ValueError as error:
                return _json({"error": str(error)}, 400)
        return _json(self.clinic.behaviour)

    async def refer(self, request: Request) -> Response:
        """`{body, key?}`: a referral of the clinic in the hub's native JSON; the hub's answer."""
        asked = orjson.loads(await request.body())
        return _json(await self.agency.refer_natively(asked["body"], asked.get("key")))

    async def journal(self, _: Request) -> Response:
        """Every record: what it was told and did, and what it sent."""
        told = list(self.clinic.journal.records())
        return _json({"told": told, "sent": list(self.agency.journal.records())})


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
