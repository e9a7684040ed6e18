"""The vault as a process: its port over the socket, and the log that kills its keys."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from schemas.codec import Encoded, encode, frame
from schemas.models import ConsentExpired, ConsentWithdrawn, DeadKey
from services.kit import crypto, rpc, steps
from services.kit.canonical import canonical
from services.kit.db import transaction
from services.kit.leaf import append_leaves, leaf
from services.kit.ports.vault import Amended, AmendItem, KeyQuery, SignedGrant, Vault
from services.kit.runtime import Host
from services.kit.settings import Settings
from services.vault import leaves
from services.vault.app import build
from tests.integration.vault_world import PURPOSE, as_json, grant, item
from tests.support.bus import head, put
from tests.support.servers import Databases, Kafka


@pytest.fixture
async def host(settings: Settings) -> AsyncIterator[Host]:
    running = Host("vault", settings)
    await running.start({"vault": build})
    yield running
    await running.stop()


@pytest.fixture
async def port(settings: Settings) -> AsyncIterator[Callable[..., rpc.Client]]:
    clients = []

    def of(caller: str, secret: bytes | None = None) -> rpc.Client:
        key = secret or settings.secret(f"service.{caller}")
        client = rpc.Client(
            Vault, settings.vault_url, lambda: rpc.make_service_token(caller, key), 5.0
        )
        clients.append(client)
        return client

    yield of
    for client in clients:
        await client.close()


@pytest.fixture
async def consent_pool(pg: Databases) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(pg.dsn("consent"), min_size=0, max_size=2)
    yield pool
    await pool.close()


@pytest.fixture
async def hub_admin(pg: Databases) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(pg.admin_dsn)
    yield connection
    await connection.close()


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    for _ in range(int(seconds / 0.1)):
        if await check():
            return
        await asyncio.sleep(0.1)
    pytest.fail("did not happen")


async def test_it_is_ready_and_answers_its_callers_each_for_its_own_methods(
    host: Host, port: Callable[..., Any], settings: Settings
) -> None:
    async def ready() -> bool:
        url = f"http://127.0.0.1:{settings.vault_admin_port}/ready"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status == 200

    await eventually(ready)
    one = item()
    (stored,) = await port("gateway").put([one])
    assert (stored.vault_version, stored.rule) == (1, None)
    text = canonical(as_json(grant(one, 1)))
    signature = crypto.sign_ed25519(settings.secret("grant.ed25519"), text)
    signed = SignedGrant(grant=text, signature=signature)
    (released,) = await port("delivery").release([signed])
    assert released.rule == "released"
    (key,) = await port("referral").keys([KeyQuery(case_ref=one.case_ref, purpose=PURPOSE)])
    assert key == stored.keys[0]
    await port("gateway").keep([one.attempt])
    said = {"person": {"languages": ["es"]}, "case": {}, "removed": [], "today": "2026-03-01"}
    asked = AmendItem(
        attempt=uuid4(), org=one.org, case_ref=one.case_ref, changes=orjson.dumps(said)
    )
    (amended,) = await port("gateway").amend([asked])
    assert amended.amended == (Amended(first_version=1, vault_version=2),)
    assert (amended.keys, amended.changed) == ((key,), ("person.languages",))
    for caller, method, argument in (
        ("delivery", "amend", asked),
        ("gateway", "release", signed),
        ("referral", "release", signed),
        ("delivery", "put", one),
        ("consent", "keys", KeyQuery(case_ref=one.case_ref, purpose=PURPOSE)),
    ):
        with pytest.raises(rpc.PortError, match="403"):
            await getattr(port(caller), method)([argument])
    with pytest.raises(rpc.PortError, match="401"):
        await port("gateway", secret=bytes(32)).put([one])


async def test_a_case_at_which_its_consumer_stopped_is_replayed_over_the_port(
    host: Host,
    port: Callable[..., Any],
    consent_pool: asyncpg.Pool,
    pg: Databases,
) -> None:
    """The gateway's people mend it though the vault is another process; a second time says so."""
    one = item()
    await port("gateway").put([one])
    admin = await asyncpg.connect(pg.vault_admin_dsn)
    await admin.execute("insert into vault.cursor values ('vault', $1, 0, true)", one.case_ref)
    await admin.close()
    await put(consent_pool, [end_of(one, ConsentWithdrawn)])
    gateway = port("gateway")
    (done,) = await gateway.replay([one.case_ref])
    assert (done.handled, done.rule) == (1, None)
    assert await port("referral").keys([KeyQuery(case_ref=one.case_ref, purpose=PURPOSE)]) == [None]
    (again,) = await gateway.replay([one.case_ref])
    assert again.rule == "not-parked"


async def test_withdrawal_and_expiry_on_the_log_kill_keys_also_those_read_from_the_record(
    host: Host,
    port: Callable[..., Any],
    consent_pool: asyncpg.Pool,
    hub_admin: asyncpg.Connection,
    kafka: Kafka,
) -> None:
    withdrawn, expired = item(), item()
    await port("gateway").put([withdrawn, expired])
    passed: list[str] = []
    steps.OBSERVERS.append(passed.append)
    ends = [end_of(withdrawn, ConsentWithdrawn), end_of(expired, ConsentExpired)]
    again = end_of(withdrawn, ConsentWithdrawn)
    # The first of each case stays in `bus.event` alone: the consumer finds the gap and reads it.
    await put(consent_pool, [*ends, again])
    await produce(kafka, withdrawn.case_ref, frame(again.schema_id, 2, again.body))
    await produce(kafka, expired.case_ref, frame(ends[1].schema_id, 1, ends[1].body))
    await produce(kafka, expired.case_ref, frame(ends[1].schema_id, 1, ends[1].body))
    queries = [
        KeyQuery(case_ref=one.case_ref, purpose=purpose)
        for one in (withdrawn, expired)
        for purpose in (PURPOSE, "statistics")
    ]

    async def dead() -> bool:
        found = await port("delivery").keys(queries)
        return [key is None for key in found] == [True, False, True, False]

    await eventually(dead)
    steps.OBSERVERS.remove(passed.append)
    cases = [withdrawn.case_ref, expired.case_ref]

    async def has_leaves() -> bool:
        rows = await hub_admin.fetch(
            "select body from custody.leaf where kind = 'key_destroyed' and case_ref = any($1)",
            cases,
        )
        return [orjson.loads(row["body"])["key_version"] for row in rows] == [1, 1]

    await eventually(has_leaves)
    assert "keys.killed" in passed
    (late,) = await port("gateway").put([item(case_ref=withdrawn.case_ref)])
    assert late.rule == "key-dead"


def end_of(one: Any, kind: Any) -> Encoded:
    fields = {
        **head(one.case_ref),
        "consent_ref": uuid4(),
        "version": 2,
        "affected": (),
        "dead_keys": (DeadKey(purpose=PURPOSE, key_version=1),),
    }
    if kind is ConsentWithdrawn:
        fields["consent_status"] = "withdrawn"
        fields["effective_at"] = datetime.now(UTC) + timedelta(seconds=2)
    return encode(kind(**fields))


async def produce(kafka: Kafka, case_ref: UUID, value: bytes) -> None:
    producer = AIOKafkaProducer(**kafka.client("relay"), enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait("cauce.case", value, key=str(case_ref).encode())
    finally:
        await producer.stop()


async def test_a_leaf_that_the_log_has_already_is_not_added_again(
    pg: Databases, hub_admin: asyncpg.Connection
) -> None:
    vault = await asyncpg.create_pool(pg.dsn("vault", pg.vault), min_size=0, max_size=2)
    hub = await asyncpg.create_pool(pg.dsn("vault"), min_size=0, max_size=2)
    made = [leaf("epoch_destroyed", datetime.now(UTC), actor="vault", version=n) for n in range(3)]
    await leaves.write(vault, made)
    async with transaction(hub) as conn:
        await append_leaves(conn, made[1:2])
    assert await leaves.pass_on(vault, hub) == 3
    assert await leaves.pass_on(vault, hub) == 0
    refs = [one.ref for one in made]
    rows = await hub_admin.fetch("select 1 from custody.leaf where leaf_ref = any($1)", refs)
    assert len(rows) == 3
    await vault.close()
    await hub.close()
