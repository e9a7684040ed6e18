"""The control side of `ong-norte`: what its case manager does, over a loopback port."""

from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox.agency import Agency


class AgencyApi:
    """Routes of the case manager's system."""

    def __init__(self, agency: Agency) -> None:
        self.agency = agency

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/live", self.live),
                Route("/ready", self.live),
                Route("/_control/refer", self.refer, methods=["POST"]),
                Route("/_control/withdraw", self.withdraw, methods=["POST"]),
                Route("/_control/task/{id}", self.task),
                Route("/_control/referral/{id}", self.referral),
                Route("/ledger", self.ledger),
            ]
        )

    async def live(self, _: Request) -> Response:
        """Alive and ready."""
        return Response("ok")

    async def refer(self, request: Request) -> Response:
        """`{bundle, key?}`, natively `{body, key?}` → the hub's answer."""
        asked = orjson.loads(await request.body())
        if "body" in asked:
            return _json(await self.agency.refer_natively(asked["body"], asked.get("key")))
        return _json(await self.agency.refer(asked["bundle"], asked.get("key")))

    async def withdraw(self, request: Request) -> Response:
        """`{consent}`, with `"native": true` natively → the hub's answer."""
        asked = orjson.loads(await request.body())
        if asked.get("native"):
            return _json(await self.agency.withdraw_natively(asked["consent"]))
        return _json(await self.agency.withdraw(asked["consent"]))

    async def task(self, request: Request) -> Response:
        """The referral's Task as the hub shows it."""
        return _json(await self.agency.task(request.path_params["id"]))

    async def referral(self, request: Request) -> Response:
        """The same as the hub shows it natively."""
        return _json(await self.agency.referral(request.path_params["id"]))

    async def ledger(self, _: Request) -> Response:
        """Every ledger record."""
        return _json(list(self.agency.journal.records()))


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
