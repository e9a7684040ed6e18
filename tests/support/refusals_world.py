"""A running hub with partners in every state a refusal needs, and digests of all it keeps.

The partners are rows of the registry; nobody is behind them but the test. `Digest` covers each
table of both databases and each record of every topic, but for the committed list of exceptions.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from services.gateway.partners.domain import Known, read_file, record_of
from services.kit.crypto import jwk_of, make_jwt_es384, make_token, new_es384_pem
from tests.support.hub import Hub
from tests.support.servers import Databases, Kafka

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KINDS = (
    '"shelter_specialized", "legal_counsel", "food", "psychosocial", "rescue", "asylum",'
    ' "police_protection"'
)
CATEGORIES = (
    '["pseudonymous_core", "contact", "identity", "exploitation_details", "experience_narrative",'
    ' "migration_status", "health", "family", "location_precise"]'
)


def _today() -> date:
    return datetime.now(UTC).date()


def _partner(
    org: str,
    roles: str,
    services: str = "",
    *,
    org_type: str = "ngo",
    country: str = "COL",
    purposes: str = '["service_referral", "legal_assistance", "emergency"]',
    categories: str = CATEGORIES,
    days: int = 300,
    limit: str = "",
) -> str:
    first = _today() - timedelta(days=30)
    return f"""
org = "{org}"
name = "Organización {org}"
alias = "alias-{org}"
org_type = "{org_type}"
country = "{country}"
roles = [{roles}]
transport = "pull"
{limit}
[agreement]
ref = "A-1"
from = {first}
to = {_today() + timedelta(days=days)}
purposes = {purposes}
categories = {categories}
service_types_out = [{KINDS.replace('"psychosocial", ', "")}]
service_types_in = [{KINDS}]
erasure_days = 15
{services}
"""


def _service(entry: str, kinds: str = '"shelter_specialized"', more: str = "") -> str:
    country = "" if "country" in more else 'country = "COL"'
    return f"""
[[services]]
id = "{entry}"
name = "Servicio {entry}"
service_types = [{kinds}]
{country}
{more}
"""


SOURCE, RECIPIENT, BOTH = '"source"', '"recipient"', '"source", "recipient"'
_SUR = "".join(
    (
        _service("refugio-sur-casa"),
        _service("refugio-sur-legal", '"legal_counsel"'),
        _service("sur-cerrada", more='directory_status = "temporarily_closed"'),
        _service("sur-llena", more='capacity_status = "full"'),
        _service("sur-suspendida", more='capacity_status = "suspended"'),
        _service("sur-comedor", '"food"'),
        _service("sur-retorno", more='population_types = ["returnee"]'),
        _service("sur-infancia", more="age_max = 17"),
        _service("sur-adultas", more="age_min = 18"),
        _service("sur-todo", KINDS),
    )
)
PARTNERS = (
    _partner("ong-norte", SOURCE),
    _partner("ong-este", SOURCE),
    _partner("ong-prisa", SOURCE, limit="requests_per_minute = 1"),
    _partner("ong-cambia", SOURCE),
    _partner("mixta", BOTH, _service("mixta-casa")),
    _partner("refugio-sur", RECIPIENT, _SUR, org_type="shelter"),
    _partner("casa-otra", RECIPIENT, _service("otra-casa"), org_type="shelter"),
    _partner("casa-vencida", RECIPIENT, _service("vencida-casa"), org_type="shelter", days=-5),
    _partner(
        "casa-lima",
        RECIPIENT,
        _service("lima-casa", more='country = "PER"'),
        org_type="shelter",
        country="PER",
    ),
    _partner(
        "casa-breve",
        RECIPIENT,
        _service("breve-casa"),
        org_type="shelter",
        categories='["pseudonymous_core"]',
    ),
    _partner(
        "casa-legal",
        RECIPIENT,
        _service("legal-casa"),
        org_type="shelter",
        purposes='["legal_assistance"]',
    ),
    _partner("fiscalia", RECIPIENT, _service("fiscalia-casa"), org_type="prosecution"),
    _partner("ong-suspendida", SOURCE),
)
SUSPENDED = "ong-suspendida"


@dataclass
class World:
    """The hub, its registry as the administrator sees it, and who may call it."""

    hub: Hub
    kafka: Kafka
    session: aiohttp.ClientSession
    admin: asyncpg.Connection
    vault_admin: asyncpg.Connection
    consumer: AIOKafkaConsumer
    keys: dict[str, bytes]
    tokens: dict[str, str] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    """What earlier requests left for later ones: ids, keys, versions."""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def url(self) -> str:
        """Where partners call."""
        return self.hub.settings.public_url

    def claims(self, org: str) -> dict[str, Any]:
        """Claims of a good assertion."""
        audience = f"{self.url}/oauth/token"
        end = int(time()) + 240
        return {"iss": org, "sub": org, "aud": audience, "exp": end, "jti": str(uuid4())}

    def sign(self, org: str, claims: Mapping[str, Any]) -> str:
        """An assertion by the key of `org`."""
        pem = self.keys[org]
        return make_jwt_es384(pem, {"kid": jwk_of(pem)["kid"], "typ": "JWT"}, claims)

    def own_token(self, claims: Mapping[str, Any], secret: bytes | None = None) -> str:
        """An access token as the hub makes them, or by another key."""
        return make_token(secret or self.hub.settings.secret("token.key"), dict(claims))

    async def token(self, org: str, scope: str = "") -> str:
        """A new access token."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.sign(org, self.claims(org)),
            "scope": scope,
        }
        async with self.session.post(f"{self.url}/oauth/token", data=form) as answer:
            body = await answer.json()
            assert answer.status == 200, body
            return str(body["access_token"])

    async def rows(self, query: str, *values: Any) -> list[Any]:
        """Rows of the hub's database; one question at a time."""
        async with self.asking:
            return list(await self.admin.fetch(query, *values))

    async def change(self, org: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a partner's record, and wait until nobody remembers the old one."""
        raw = await self.admin.fetchval("select record from gateway.partner where org = $1", org)
        record = orjson.loads(raw)
        change(record)
        await self.admin.execute(
            "update gateway.partner set record = $2, version = version + 1 where org = $1",
            org,
            orjson.dumps(record).decode(),
        )
        await asyncio.sleep(1.2)


async def registered(pg: Databases) -> dict[str, bytes]:
    """The partners, written; the key of each."""
    admin = await asyncpg.connect(pg.admin_dsn)
    try:
        keys: dict[str, bytes] = {}
        await register(admin, keys)
    finally:
        await admin.close()
    return keys


async def register(admin: asyncpg.Connection, keys: dict[str, bytes]) -> None:
    """Write the partners as active ones."""
    for text in PARTNERS:
        pem = new_es384_pem()
        read = read_file(
            text, {"keys": [jwk_of(pem)]}, Known(manifests={}, private_networks="", entry_ids={})
        )
        assert read.table is not None, read.faults
        record = record_of(read.table, {}, uuid4)
        record["status"] = "suspended" if read.table.org == SUSPENDED else "active"
        keys[read.table.org] = pem
        await admin.execute(
            "insert into gateway.partner (org, version, record) values ($1, 1, $2)",
            read.table.org,
            orjson.dumps(record).decode(),
        )


@asynccontextmanager
async def world(
    hub: Hub, pg: Databases, kafka: Kafka, keys: dict[str, bytes]
) -> AsyncIterator[World]:
    """A running hub whose partners are registered; with a token for each of them."""
    admin = await asyncpg.connect(pg.admin_dsn)
    vault_admin = await asyncpg.connect(pg.vault_admin_dsn)
    consumer = AIOKafkaConsumer(**kafka.client(), enable_auto_commit=False)
    await consumer.start()
    async with aiohttp.ClientSession() as session:
        made = World(hub, kafka, session, admin, vault_admin, consumer, keys)
        for org in keys:
            if org not in (SUSPENDED, "casa-vencida"):
                made.tokens[org] = await made.token(org)
        try:
            yield made
        finally:
            await consumer.stop()
            await admin.close()
            await vault_admin.close()


# --- digests ----------------------------------------------------------------------------------


def exceptions(kind: str) -> frozenset[str]:
    """Names in the committed list of a kind."""
    lines = (Path(__file__).parent / "refusal_exceptions.txt").read_text(encoding="utf-8")
    found = (line.partition(":")[0].split() for line in lines.splitlines() if line[:1] != "#")
    return frozenset(words[1] for words in found if words and words[0] == kind)


@dataclass(frozen=True)
class Digest:
    """What the hub kept at one moment; `refusals` are the rows of their own table."""

    tables: Mapping[str, tuple[int, str]]
    offsets: Mapping[str, int]
    refusals: tuple[tuple[str, tuple[str, ...]], ...]

    def changed(self, later: "Digest") -> list[str]:
        """Names of what differs."""
        return [
            name
            for mine, other in ((self.tables, later.tables), (self.offsets, later.offsets))
            for name in sorted({*mine, *other})
            if mine.get(name) != other.get(name)
        ]


_TABLES = (
    "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n"
    " on n.oid = c.relnamespace where c.relkind in ('r', 'p') and not c.relispartition"
    " and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1"
)


async def _tables(conn: asyncpg.Connection, prefix: str) -> dict[str, tuple[int, str]]:
    skipped = exceptions("table") | {"gateway.refusal"}
    names = [r[0] for r in await conn.fetch(_TABLES) if prefix + r[0] not in skipped]
    query = " union all ".join(
        f"select '{prefix}{name}', count(*), coalesce(md5(string_agg(h, '' order by h)), '')"
        f" from (select md5(x::text) as h from {name} x) t"
        for name in names
    )
    return {r[0]: (r[1], r[2]) for r in await conn.fetch(query)}


async def digest(world: World) -> Digest:
    """Everything now."""
    vault, offsets, tables = await asyncio.gather(
        _tables(world.vault_admin, "vault/"), _offsets(world), _tables(world.admin, "")
    )
    rows = await world.admin.fetch(
        "select org, reasons from gateway.refusal order by at, org, reasons"
    )
    refusals = tuple((r["org"], tuple(r["reasons"])) for r in rows)
    return Digest(tables | vault, offsets, refusals)


async def _partitions(world: World) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(**world.kafka.client())
    await admin.start()
    try:
        described = await admin.describe_topics()
    finally:
        await admin.close()
    return [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in sorted(described, key=lambda t: t["topic"])
        if topic["topic"] not in exceptions("topic")
        for partition in topic["partitions"]
    ]


async def _offsets(world: World) -> dict[str, int]:
    if "partitions" not in world.known:
        world.known["partitions"] = await _partitions(world)
    ends = await world.consumer.end_offsets(world.known["partitions"])
    return {f"topic {at.topic}/{at.partition}": end for at, end in ends.items()}


async def content(world: World) -> dict[str, str]:
    """Digest of every record of every topic."""
    partitions = await _partitions(world)
    ends = await world.consumer.end_offsets(partitions)
    sums = {at: hashlib.sha256() for at in partitions}
    reader = AIOKafkaConsumer(**world.kafka.client(), enable_auto_commit=False)
    await reader.start()
    try:
        reader.assign(partitions)
        await reader.seek_to_beginning(*partitions)
        while any([await reader.position(at) < ends[at] for at in partitions]):
            for at, records in (await reader.getmany(timeout_ms=500)).items():
                for r in records:
                    sums[at].update(b"%d %r %r %r" % (r.offset, r.key, r.value, r.headers))
    finally:
        await reader.stop()
    return {f"{at.topic}/{at.partition}": total.hexdigest() for at, total in sums.items()}


async def quiet(world: World, seconds: float = 1.0, longest: float = 30) -> Digest:
    """Wait until nothing has changed for a while."""
    last, since = await digest(world), time()
    until = time() + longest
    while time() - since < seconds:
        assert time() < until, "the hub does not come to rest"
        await asyncio.sleep(0.2)
        now = await digest(world)
        if last.changed(now):
            since = time()
        last = now
    return last


def tomorrow() -> str:
    """A date-only value ahead."""
    return (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
