"""Gateway, consent and vault in one process on a real database: what a partner sees of the edge.

Events stay in `bus.event`: no broker runs here.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import import_module
from time import time
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import orjson
from starlette.applications import Starlette

from connectors.sandbox.samples import bundle
from services.gateway.partners.domain import parse, stored
from services.kit import serving
from services.kit.crypto import jwk_of, make_jwt_es384, new_es384_pem
from services.kit.runtime import Host, Runtime
from services.kit.settings import Settings

CATEGORIES = (
    '["pseudonymous_core", "contact", "identity", "exploitation_details", "experience_narrative",'
    ' "migration_status", "health", "family", "location_precise"]'
)
AGREEMENT = f"""
[agreement]
ref = "A-1"
valid_from = {date.today() - timedelta(days=30)}
valid_to = {date.today() + timedelta(days=300)}
purposes = ["service_referral", "legal_assistance", "emergency"]
categories = {CATEGORIES}
"""
NORTE = f"""
org = "ong-norte"
name = "ONG Norte"
alias = "org-alfa"
org_type = "ngo"
country = "COL"
roles = ["source"]
{AGREEMENT}
service_types_out = ["shelter_specialized", "legal_counsel", "food", "psychosocial"]
"""
SUR = f"""
org = "refugio-sur"
name = "Refugio Sur"
alias = "org-beta"
org_type = "shelter"
country = "COL"
roles = ["recipient"]
transport = "pull"
{AGREEMENT}
service_types_in = ["shelter_specialized", "legal_counsel"]

[[services]]
id = "refugio-sur-casa"
name = "Casa"
service_types = ["shelter_specialized"]
country = "COL"
languages = ["es"]
address_confidentiality = "secret"

[[services]]
id = "refugio-sur-legal"
name = "Asesoria"
service_types = ["legal_counsel"]
country = "COL"
admin1 = ["CO-ANT"]
"""


@dataclass
class World:
    """A running edge; `tokens` are of both partners."""

    host: Host
    url: str
    session: aiohttp.ClientSession
    admin: asyncpg.Connection
    keys: dict[str, bytes]
    tokens: dict[str, str]

    def assertion(self, org: str, **changes: Any) -> str:
        """A client assertion of a partner."""
        pem, now = self.keys[org], int(time())
        claims = {
            "iss": org,
            "sub": org,
            "aud": f"{self.url}/oauth/token",
            "exp": now + 240,
            "jti": str(uuid4()),
        }
        claims |= changes
        return make_jwt_es384(pem, {"kid": jwk_of(pem)["kid"], "typ": "JWT"}, claims)

    async def token(self, org: str, scope: str = "", **changes: Any) -> tuple[int, dict[str, Any]]:
        """Ask for a token."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self.assertion(org, **changes),
            "scope": scope,
        }
        async with self.session.post(f"{self.url}/oauth/token", data=form) as answer:
            return answer.status, await answer.json()

    async def call(
        self, method: str, path: str, org: str | None, body: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """A request; `None` for `org` sends no token. Underscores in header names are dashes."""
        sent = {"Content-Type": "application/fhir+json"} if body is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if org is not None:
            sent["Authorization"] = f"Bearer {self.tokens[org]}"
        data = body if isinstance(body, bytes | None) else orjson.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers=sent) as answer:
            raw = await answer.read()
            content = orjson.loads(raw) if raw else None
            return answer.status, content, dict(answer.headers)

    async def refer(self, **changes: Any) -> dict[str, str]:
        """Send a sample; resource type → id as the sender knows it."""
        status, body, _ = await self.call("POST", "/fhir", "ong-norte", bundle(**changes))
        assert status == 200, body
        found = (entry["response"].get("location", "") for entry in body["entry"])
        return dict(place.split("/") for place in found if place)


async def _partner(admin: asyncpg.Connection, text: str, pem: bytes) -> None:
    record = parse(text, {"keys": [jwk_of(pem)]})
    await admin.execute(
        "insert into gateway.partner (org, version, record) values ($1, 1, $2)",
        record.org,
        orjson.dumps(stored(record)).decode(),
    )


@asynccontextmanager
async def edge(
    settings: Settings, admin_dsn: str, names: tuple[str, ...] = ("vault", "consent", "gateway")
) -> AsyncIterator[World]:
    """The edge with two active partners and their tokens."""
    listener = serving.listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = settings.model_copy(update={"public_url": url})
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute("select bus.make_partitions(current_date - 1, current_date + 1)")
    host = Host("test", settings)
    keys = {org: new_es384_pem() for org in ("ong-norte", "refugio-sur")}
    await _partner(admin, NORTE, keys["ong-norte"])
    await _partner(admin, SUR, keys["refugio-sur"])
    for name in names:
        rt = Runtime(host, name)
        host.services.append(await import_module(f"services.{name}.app").build(rt))
    for service in host.services:
        for loop in service.loops:
            host.spawn(Runtime(host, service.name), loop())
    server = _serve(host, listener)
    try:
        async with aiohttp.ClientSession() as session:
            world = World(host, url, session, admin, keys, {})
            for org in keys:
                status, body = await world.token(org)
                assert status == 200, body
                world.tokens[org] = body["access_token"]
            yield world
    finally:
        server.should_exit = True
        await host.stop()
        await server.ended()
        await admin.close()


def _serve(host: Host, listener: socket.socket) -> serving.Server:
    routes = [route for service in host.services for route in service.public]
    server = serving.Server(Starlette(routes=routes), listener)
    server.begin()
    return server
