"""Gateway, consent and vault in one process on a real database: what a partner sees of the edge.

Events stay in `bus.event`: no broker runs here.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from time import time
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import orjson
from starlette.applications import Starlette

from connectors.sandbox.samples import bundle
from services.gateway.partners.domain import Known, read_file, record_of
from services.kit import serving
from services.kit.crypto import jwk_of, make_jwt_es384, new_es384_pem
from services.kit.runtime import Host, Runtime
from services.kit.settings import Settings

CATEGORIES = (
    '["pseudonymous_core", "contact", "identity", "exploitation_details", "experience_narrative",'
    ' "migration_status", "health", "family", "location_precise"]'
)
TODAY = datetime.now(UTC).date()
AGREEMENT = f"""
[agreement]
ref = "A-1"
from = {TODAY - timedelta(days=30)}
to = {TODAY + timedelta(days=300)}
erasure_days = 15
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
transport = "pull"
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

    async def fetch_tokens(self) -> None:
        """Tokens of both partners."""
        for org in self.keys:
            status, body = await self.token(org)
            assert status == 200, body
            self.tokens[org] = body["access_token"]

    async def task_of(self, ids: dict[str, str], org: str = "ong-norte") -> dict[str, Any]:
        """A referral's Task for a party, once the state machine knows it."""
        name = ids["Task"]
        if org != "ong-norte":
            name = await self.admin.fetchval(
                "select b.alias::text from gateway.alias a join gateway.alias b"
                " using (referral_ref, kind) where a.alias = $1::uuid and b.org = $2",
                name,
                org,
            )
        for _ in range(300):
            status, body, headers = await self.call("GET", f"/fhir/Task/{name}", org)
            if status == 200 and body["meta"]["versionId"] != "0":
                return {**body, "etag": headers["etag"]}
            await asyncio.sleep(0.05)
        raise AssertionError((status, body))

    async def answer(self, task: dict[str, Any], org: str, **elements: Any) -> tuple[int, Any]:
        """PATCH a Task as a party."""
        patch = [{"op": "add", "path": f"/{k}", "value": v} for k, v in elements.items()]
        status, body, _ = await self.call(
            "PATCH",
            f"/fhir/Task/{task['id']}",
            org,
            patch,
            If_Match=task["etag"],
            Content_Type="application/json-patch+json",
        )
        return status, body

    async def call(
        self, method: str, path: str, org: str | None, body: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """A request; `None` for `org` sends no token. Underscores in header names are dashes."""
        form = "application/json" if path.startswith("/v1/") else "application/fhir+json"
        sent = {"Content-Type": form} if body is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if org is not None:
            sent["Authorization"] = f"Bearer {self.tokens[org]}"
        data = body if isinstance(body, bytes | None) else orjson.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers=sent) as answer:
            raw = await answer.read()
            content = orjson.loads(raw) if raw else None
            return answer.status, content, {k.lower(): v for k, v in answer.headers.items()}

    async def refer(self, **changes: Any) -> dict[str, str]:
        """Send a sample; resource type → id as the sender knows it."""
        status, body, _ = await self.call("POST", "/fhir", "ong-norte", bundle(**changes))
        assert status == 200, body
        found = (entry["response"].get("location", "") for entry in body["entry"])
        return dict(place.split("/") for place in found if place)


async def _partner(admin: asyncpg.Connection, text: str, pem: bytes) -> None:
    known = Known(manifests={}, private_networks="127.0.0.0/8", entry_ids={})
    read = read_file(text, {"keys": [jwk_of(pem)]}, known)
    assert read.table is not None, read.faults
    await admin.execute(
        "insert into gateway.partner (org, version, record) values ($1, 1, $2)",
        read.table.org,
        orjson.dumps(record_of(read.table, {}, uuid4)).decode(),
    )


WHOLE = ("vault", "consent", "gateway", "referral", "delivery", "custody", "relay")


@asynccontextmanager
async def whole(
    settings: Settings, admin_dsn: str, more: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[World]:
    """Every service in one process, on a real broker; the recipient pulls. `more`: other partners'

    files by organisation.
    """
    admin = await asyncpg.connect(admin_dsn)
    host = Host("test", settings)
    files = {"ong-norte": NORTE, "refugio-sur": SUR, **more}
    keys = {org: new_es384_pem() for org in files}
    for org, text in files.items():
        await _partner(admin, text, keys[org])
    try:
        await host.start({name: import_module(f"services.{name}.app").build for name in WHOLE})
        async with aiohttp.ClientSession() as session:
            world = World(host, settings.public_url, session, admin, keys, {})
            await world.fetch_tokens()
            yield world
    finally:
        await host.stop()
        await admin.close()


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
            await world.fetch_tokens()
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
