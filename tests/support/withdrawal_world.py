"""A running hub with recipients and a source of our choice, entered straight into the registry.

Who activates partners is tested elsewhere; here one call makes any number of organisations, with
shelters as processes of their own, and a client of the source.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import orjson

from connectors.registry import manifests
from connectors.sandbox import journal
from connectors.sandbox.__main__ import RECIPIENT_SCOPE, SOURCE_SCOPE
from connectors.sandbox.agency import Agency
from connectors.sandbox.smart import TokenClient
from services.console.local import plan, processes
from services.console.local.bootstrap import ready
from services.console.local.place import REPOSITORY, Place, make_folder, write_secret
from services.gateway.partners.domain import Known, read_file, record_of
from services.kit.crypto import jwk_of, new_es384_pem
from tests.support.hub import Hub
from tests.support.servers import Databases

SHELTER = "shelter_specialized"
CATEGORIES = (
    "pseudonymous_core",
    "contact",
    "identity",
    "location_precise",
    "family",
    "health",
    "sexual_violence",
    "exploitation_details",
    "experience_narrative",
    "migration_status",
    "child_data",
    "evidence",
)
PURPOSES = (
    "service_referral",
    "legal_assistance",
    "international_protection",
    "family_tracing",
    "emergency",
)


@dataclass(frozen=True, kw_only=True)
class Organisation:
    """A partner to be entered; with `hook` we tell it, else with `url` we push, else it reads."""

    org: str
    org_type: str = "shelter"
    role: str = "recipient"
    url: str = ""
    token_url: str = ""
    hook: str = ""
    hook_keys: tuple[str, ...] = ()
    answers: str = "patch"
    scope: str = ""
    service_types: tuple[str, ...] = (SHELTER,)
    purposes: tuple[str, ...] = PURPOSES
    categories: tuple[str, ...] = CATEGORIES

    @property
    def entry(self) -> str:
        """Id of its one directory entry."""
        return f"{self.org}-casa"

    @property
    def transport(self) -> str:
        """How it is reached."""
        if self.hook and self.role == "recipient":
            return "webhook"
        return "push" if self.url else "pull"

    def toml(self, number: int) -> str:
        """Its registration."""
        today = datetime.now(UTC).date()
        services = json.dumps(self.service_types)
        text = f"""
org = "{self.org}"
name = "{self.org.title()}"
alias = "socio-{number}"
org_type = "{self.org_type}"
country = "COL"
roles = ["{self.role}"]
transport = "{self.transport}"
[agreement]
ref = "A-{number}"
from = {today - timedelta(days=2)}
to = {today + timedelta(days=300)}
erasure_days = 5
purposes = {json.dumps(self.purposes)}
categories = {json.dumps(self.categories)}
service_types_out = {services if self.role == "source" else "[]"}
service_types_in = {services if self.role == "recipient" else "[]"}
"""
        if self.url:
            text += f"""
[connector]
name = "fhir_r4"
base_url = "{self.url}/fhir"
token_url = "{self.token_url or self.url + "/oauth/token"}"
answers = "{self.answers}"
scope = "{self.scope}"
mapping_version = 1
"""
        if self.hook:
            text += f'\n[webhook]\nurl = "{self.hook}"\n'
            text += f"public_keys = {json.dumps(self.hook_keys)}\n"
        if self.role == "recipient":
            text += f"""
[[services]]
id = "{self.entry}"
name = "Casa"
service_types = {services}
country = "COL"
languages = ["es"]
address_confidentiality = "secret"
"""
        return text


def home_of(place: Place, org: str) -> Path:
    """Folder of an organisation, with a key of its own."""
    home = plan.partner_home(place, org)
    if not (home / "client.es384").exists():
        make_folder(home / "data", mode=0o700)
        write_secret(home / "client.es384", new_es384_pem().decode())
    return home


async def enter(hub: Hub, admin: Any, orgs: Iterable[Organisation]) -> None:
    """Enter organisations as active partners."""
    networks = hub.settings.egress_private_networks
    known = Known(manifests=manifests(), private_networks=networks, entry_ids={})
    for number, one in enumerate(orgs, 1):
        pem = (home_of(hub.place, one.org) / "client.es384").read_bytes()
        found = read_file(one.toml(number), {"keys": [jwk_of(pem)]}, known)
        assert found.table is not None, found.faults
        await admin.execute(
            "insert into gateway.partner (org, version, record) values ($1, 1, $2)"
            " on conflict (org) do update"
            " set record = excluded.record, version = partner.version + 1",
            one.org,
            orjson.dumps(record_of(found.table, {}, uuid4)).decode(),
        )


@dataclass(frozen=True, kw_only=True)
class Shelter:
    """A recipient's FHIR server as a process."""

    hub: Hub
    org: str
    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it is ready."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start; not from a thread that ends, for the process would end with it."""
        place, settings = self.hub.place, self.hub.settings
        home = home_of(place, self.org)
        argv = [sys.executable, "-m", "connectors.sandbox", "refugio-sur", "--org", self.org]
        argv += ["--port", str(self.port), "--data", str(home / "data")]
        argv += ["--hub", settings.public_url, "--key", str(home / "client.es384")]
        argv += ["--canonical", settings.canonical_base, "--hub-jwks", str(plan.hub_jwks(place))]
        command = processes.Command(
            name=self.org,
            argv=argv,
            env=plan.base_environment(),
            cwd=REPOSITORY,
            dies_with_us=True,
        )
        processes.start(place, command)

    def wait_ready(self) -> None:
        """Wait until it answers."""
        place = self.hub.place
        processes.wait_until(place, self.org, lambda: ready("127.0.0.1", self.port), timeout=30)

    def kill(self) -> None:
        """Kill -9."""
        processes.kill(self.hub.place, self.org)

    def records(self) -> list[dict[str, Any]]:
        """Its journal."""
        return list(journal.read(home_of(self.hub.place, self.org) / "data" / "refugio.jsonl"))


@dataclass(kw_only=True)
class World:
    """The hub, the database as its administrator sees it, and clients of the partners."""

    hub: Hub
    pg: Databases
    admin: asyncpg.Pool
    session: aiohttp.ClientSession
    agency: Agency
    tokens: dict[str, TokenClient] = field(default_factory=dict)

    async def refer(self, bundle: dict[str, Any]) -> "Referred":
        """Send a referral that must be accepted."""
        answer = await self.agency.refer(bundle)
        assert answer["status"] == 200, answer["body"]
        places = (e["response"].get("location", "") for e in answer["body"]["entry"])
        ids = dict(p.split("/")[:2] for p in places if p)
        row = await self.admin.fetchrow(
            "select r.* from gateway.referral r join gateway.alias a using (referral_ref)"
            " where a.alias = $1 and a.org = 'ong-norte'",
            UUID(ids["Task"]),
        )
        assert row is not None
        return Referred(ids=ids, **{k: row[k] for k in ("referral_ref", "case_ref", "consent_ref")})

    async def call(
        self, org: str, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """A request of a partner at the hub."""
        bearer = await self.tokens[org].token(self.session)
        sent = {"Authorization": f"Bearer {bearer}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else orjson.dumps(body)
        url = self.hub.settings.public_url + path
        async with self.session.request(method, url, data=data, headers=sent) as answer:
            raw = await answer.read()
            return answer.status, orjson.loads(raw) if raw else None, dict(answer.headers)

    async def alias(self, org: str, kind: str, referral_ref: UUID) -> UUID | None:
        """What an organisation calls a thing of a referral; None when it has no part in it."""
        found: UUID | None = await self.admin.fetchval(
            "select alias from gateway.alias where org = $1 and kind = $2 and referral_ref = $3",
            org,
            kind,
            referral_ref,
        )
        return found

    async def leaves(self, case_ref: UUID) -> list[dict[str, Any]]:
        """What the custody log says of a case, in order."""
        rows = await self.admin.fetch(
            "select body from custody.leaf where case_ref = $1 order by id", case_ref
        )
        return [orjson.loads(row["body"]) for row in rows]


@dataclass(frozen=True, kw_only=True)
class Referred:
    """A referral as the source knows it, and as we do."""

    ids: dict[str, str]
    referral_ref: UUID
    case_ref: UUID
    consent_ref: UUID


async def until(check: Callable[[], Awaitable[Any]], what: str, seconds: float = 30) -> Any:
    """Ask again until the answer is true, and give it back."""
    end = time.monotonic() + seconds
    while True:
        found = await check()
        if found:
            return found
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)


@asynccontextmanager
async def running_world(
    hub: Hub, pg: Databases, orgs: Sequence[Organisation]
) -> AsyncIterator[World]:
    """The hub with these partners and clients of theirs; `ong-norte` is the source."""
    url = hub.settings.public_url
    admin = await asyncpg.create_pool(pg.admin_dsn, min_size=1, max_size=4)
    async with admin.acquire() as conn:
        await enter(hub, conn, orgs)
    keys = {one.org: home_of(hub.place, one.org) for one in orgs}
    tokens = {
        one.org: TokenClient(
            one.org,
            f"{url}/oauth/token",
            keys[one.org] / "client.es384",
            SOURCE_SCOPE if one.role == "source" else RECIPIENT_SCOPE,
        )
        for one in orgs
    }
    agency = Agency(keys["ong-norte"] / f"client-{uuid4().hex[:6]}", url, tokens["ong-norte"])
    await asyncio.sleep(1.1)  # partners are read again once a second
    await agency.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield World(hub=hub, pg=pg, admin=admin, session=session, agency=agency, tokens=tokens)
    finally:
        await agency.stop()
        await admin.close()
