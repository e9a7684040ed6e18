"""A partner with a webhook, and subscribers: what the hub tells them is kept for the scan.

`clinica-eco` takes webhooks and subscribes; the sender gets notes of changes at the same place.
Its answers say names where a partner's system might: in bodies, headers, addresses.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import asyncpg
from aiohttp import web

from connectors.fhir_r4 import notification
from connectors.sandbox.smart import TokenClient
from connectors.webhook import signing
from services.console.client import Client
from services.console.local import plan
from services.console.local.place import make_folder, write_secret
from services.console.local.world import ACTIVATES, PROPOSES, add_partner, partner_files
from services.kit.crypto import jwk_of, new_ed25519, new_es384_pem, sign_ed25519
from tests.support.canary_traffic import Sent, Traffic
from tests.support.hub import Hub

CLINIC: Final = "clinica-eco"
SOURCE: Final = "ong-norte"
TELLING: Final = ("body", "location", "header", "wait")
"""How a failing answer names somebody."""


@dataclass
class Clinic:
    """The partner's endpoint and key; `told` holds method, address, headers and body of each."""

    traffic: Traffic
    seed: bytes = field(default=b"", repr=False)
    public: bytes = b""
    base: str = ""
    told: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What came to this address, in order."""
        return [json.loads(raw) for _, where, _, raw in self.told if where == path]

    def signed(
        self, body: bytes, mark: str, *, seed: bytes = b"", at: datetime | None = None
    ) -> dict[str, str]:
        """Headers of a message to the hub."""
        signer = signing.own_signer(seed or self.seed, sign_ed25519)
        return signing.signed_headers([signer], mark, at or datetime.now(UTC), body)

    async def post(self, body: Any, *, mark: str = "", org: str = CLINIC, **how: Any) -> Sent:
        """A message to the hub's hook; `headers` replace those of the signature."""
        raw = body if isinstance(body, bytes) else self.traffic.wire(body, 0)
        changed: dict[str, str] = how.pop("headers", {})
        headers = self.signed(raw, mark or f"m-{uuid4()}", **how) | changed
        headers.setdefault("Content-Type", "application/cloudevents+json")
        path = f"/hooks/{quote(org)}"
        return await self.traffic.call("POST", path, raw, org=None, what="hook", headers=headers)

    def subscription(self, org: str, side: str) -> dict[str, Any]:
        """One that is to be accepted; its reason is free text."""
        content = {"extension": [{"url": notification.CONTENT, "valueCode": "id-only"}]}
        return {
            "resourceType": "Subscription",
            "status": "requested",
            "reason": self.traffic.word("Subscription reason", "name"),
            "criteria": f"Task?{side}=Organization/{org}",
            "channel": {
                "type": "rest-hook",
                "endpoint": f"{self.base}/told/{org}",
                "payload": "application/fhir+json",
                "_payload": content,
            },
        }


@asynccontextmanager
async def clinic(traffic: Traffic) -> AsyncIterator[Clinic]:
    """The running endpoint: every fourth call to `/in/...` fails and names somebody."""
    seed, public = new_ed25519()
    made = Clinic(traffic, seed, public)

    async def take(request: web.Request) -> web.Response:
        headers = dict(request.headers)
        made.told.append((request.method, request.path_qs, headers, await request.read()))
        count = len(made.told)
        if count % 4 or not request.path.startswith("/in/"):
            return web.Response(status=204)
        return _telling(traffic, TELLING[count // 4 % len(TELLING)])

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


def _telling(traffic: Traffic, how: str) -> web.Response:
    name, token = traffic.word("webhook answer", "name"), traffic.word("webhook answer")
    if how == "body":
        return web.Response(status=500, text=f"cannot read {name}", content_type="text/html")
    if how == "location":
        return web.Response(status=307, headers={"Location": f"/{quote(name)}"})
    if how == "header":
        return web.Response(status=400, headers={"WWW-Authenticate": token, "ETag": token})
    return web.Response(status=503, headers={"Retry-After": token}, reason=token)


async def enter(
    hub: Hub, admin: asyncpg.Connection, clients: Mapping[str, Client], made: Clinic
) -> None:
    """Register the clinic as two people do; the sender gets a webhook and an address."""
    home = plan.partner_home(hub.place, CLINIC)
    make_folder(home / "data", mode=0o700)
    write_secret(home / "client.es384", new_es384_pem().decode())
    keys = {"keys": [jwk_of((home / "client.es384").read_bytes())]}
    toml = partner_files(hub.settings)[plan.REFUGIO].replace(plan.REFUGIO, CLINIC)
    refugio = f"http://127.0.0.1:{hub.settings.refugio_port}"
    toml = toml.replace(refugio, made.base).replace("entidad-receptora-5", "entidad-receptora-7")
    toml = toml.replace('transport = "push"', 'transport = "webhook"')
    hook = f'[webhook]\nurl = "{made.base}/in/{CLINIC}"\n'
    hook += f'public_keys = ["{signing.written("whpk_", made.public)}"]\n'
    toml = toml.replace("[connector]", f"{hook}[connector]")
    add_partner(clients[PROPOSES.staff_id], clients[ACTIVATES.staff_id], toml, keys)
    await admin.execute(
        "update gateway.partner p set version = version + 1, record = record || jsonb_build_object"
        "('webhook', jsonb_build_object('url', $2::text, 'scheme', 'v1a', 'public_keys',"
        " '[]'::jsonb), 'connector', (select record -> 'connector' from gateway.partner"
        " where org = $3)) where org = $1",
        SOURCE,
        f"{made.base}/in/{SOURCE}",
        CLINIC,
    )
    made.traffic.tokens[CLINIC] = TokenClient(
        CLINIC, f"{made.traffic.hub}/oauth/token", home / "client.es384", ""
    )
    made.traffic.tokens[SOURCE] = TokenClient(
        SOURCE,
        f"{made.traffic.hub}/oauth/token",
        hub.place.root / "partners" / SOURCE / "client.es384",
        "",
    )


async def until(count: Callable[[], object], most: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + most
    while not count():
        assert time.monotonic() < end, "nothing came"
        await asyncio.sleep(0.1)
