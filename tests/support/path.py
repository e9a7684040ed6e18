"""The path from `referral.requested` to the partner, without Kafka and with a vault in memory.

Real PostgreSQL, consent, referral and delivery; events are handed from `bus.event` to the consumers
one by one by `pump`, so a test decides what happens in between.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path as Folder
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg
import orjson

from connectors.sdk.egress import private_networks
from connectors.sdk.http import Http
from connectors.sdk.types import select
from schemas import (
    CODELIST_VERSION,
    ReferralRequested,
    ReferralRequestedFacts,
    encode,
    encode_facts,
    frame,
)
from services.consent.service import ConsentService
from services.delivery import consumer as delivery_consumer
from services.delivery.authority import Authority
from services.delivery.confirming import Confirmer
from services.delivery.links import Links
from services.delivery.outcomes import Recorder
from services.delivery.render import Frame
from services.delivery.worker import Parts, Worker
from services.kit.crypto import ed25519_public, new_es384_pem, random_bytes, verify_ed25519
from services.kit.doors import Given, consent_record
from services.kit.exchange import put_events
from services.kit.hookkeys import HookKeys
from services.kit.logs import Log
from services.kit.metrics import Metrics
from services.kit.partners import Partners
from services.kit.ports.consent import ConsentRecord, ConsentRule, Withdrawal, Withdrawn
from services.kit.ports.referral import Command, ReferralState
from services.kit.ports.vault import DataKey, GrantState, KeyQuery, ReleaseResult, SignedGrant
from services.kit.records import received
from services.kit.seal import seal_facts
from services.kit.subscriptions import Subscriptions
from services.referral import consumer as referral_consumer
from services.referral.commands import Commands
from services.referral.facts import Keys
from services.referral.judge import Judge
from tests.support.partner_rows import CATEGORIES
from tests.support.servers import Databases

CELL = "cell-demo"
BASE = "https://cauce.example/fhir"
HUB = "https://hub.example"
ZONE = ZoneInfo("America/Bogota")


def now() -> datetime:
    return datetime.now(UTC)


class MemoryVault:
    """Records and keys in memory, with the vault's rules for grants: signed, in time, used once."""

    def __init__(self, public: bytes) -> None:
        self.public = public
        self.record: dict[str, Any] = {}
        self.held: dict[tuple[UUID, str], DataKey] = {}
        self.used: dict[UUID, datetime] = {}
        self.released: list[dict[str, Any]] = []
        self.down = False

    def key(self, case_ref: UUID, purpose: str) -> DataKey:
        fresh = DataKey(purpose=purpose, version=1, key=random_bytes(32))
        return self.held.setdefault((case_ref, purpose), fresh)

    async def keys(self, items: Sequence[KeyQuery]) -> list[DataKey | None]:
        return [self.held.get((q.case_ref, q.purpose)) for q in items]

    async def grants(self, items: Sequence[UUID]) -> list[GrantState]:
        if self.down:
            raise OSError
        return [GrantState(grant_ref=r, used_at=self.used.get(r), now=now()) for r in items]

    async def release(self, items: Sequence[SignedGrant]) -> list[ReleaseResult]:
        return [self._release(item) for item in items]

    def _release(self, item: SignedGrant) -> ReleaseResult:
        grant = orjson.loads(item.grant)
        assert verify_ed25519(self.public, item.grant, item.signature)
        ref = UUID(grant["grant_ref"])
        if ref in self.used or now() >= datetime.fromisoformat(grant["deadline"]):
            return ReleaseResult(rule="grant-late")
        self.used[ref] = now()
        self.released.append(grant)
        release = select(self.record, grant["categories"])
        return ReleaseResult(
            rule="released",
            content=release.model_dump_json(exclude_defaults=True).encode(),
            pseudonym=f"PE-{grant['to_org'].upper()[:4]}-{grant['case_ref'][:4].upper()}",
            patient_id=UUID(int=ref.int ^ 1),
        )


@dataclass
class Path:
    """The services of a test."""

    pools: dict[str, asyncpg.Pool]
    admin: Any
    vault: MemoryVault
    consent: ConsentService
    referral: Any
    parts: Any
    worker: Any
    consumers: dict[str, Any]
    last: int = 0
    consents: dict[UUID, ConsentRecord] = field(default_factory=dict)

    async def request(
        self, to_org: str = "refugio-sur", categories: tuple[str, ...] = CATEGORIES, **changed: Any
    ) -> UUID:
        """A referral accepted by the hub; answers its reference."""
        case_ref, ref = changed.pop("case_ref", uuid4()), uuid4()
        record = changed.pop("record", None) or consent_of(case_ref, to_org, categories)
        key = self.vault.key(case_ref, "service_referral")
        event = ReferralRequested(
            event_id=uuid4(),
            occurred_at=now(),
            case_ref=case_ref,
            source_org="ong-norte",
            correlation_id=ref,
            codelist_version=CODELIST_VERSION,
            confidentiality="restricted",
            purpose="service_referral",
            referral_ref=ref,
            from_org="ong-norte",
            to_org=to_org,
            consent_ref=record.consent_ref,
            data_categories=categories,
            response_due=now() + timedelta(hours=24),
            vault_version=1,
        )
        event = replace(event, **changed)
        facts = ReferralRequestedFacts(service_type="shelter_temporary", priority="urgent")
        plain = encode_facts(facts)
        sealed = seal_facts(
            key, "referral.requested", event.event_id, case_ref, "service_referral", plain
        )
        conn: Any
        async with self.pools["gateway"].acquire() as conn, conn.transaction():
            if record.consent_ref not in self.consents:
                await consent_record(conn, [given(record)])
                self.consents[record.consent_ref] = record
            await put_events(conn, [encode(replace(event, facts=sealed))])
        return ref

    async def pump(self) -> list[str]:
        """Hand every new event to its consumers, in order; answers the types seen."""
        seen: list[str] = []
        while True:
            rows = await self.admin.fetch(
                "select * from bus.event where id > $1 and topic = 'cauce.case' order by id",
                self.last,
            )
            if not rows:
                return seen
            for row in rows:
                self.last = row["id"]
                seen.append(row["type"])
                await self._hand(row)

    async def _hand(self, row: asyncpg.Record) -> None:
        framed = frame(row["schema_id"], row["seq"], row["body"], row["facts"], row["stats_facts"])
        item = received(framed)
        for name, (consumer, types) in self.consumers.items():
            if item.event_type in types:
                async with self.pools[name].acquire() as conn, conn.transaction():
                    await consumer.handle(conn, [item])

    async def deliver(self, rounds: int = 40) -> list[str]:
        """Pump and run the worker until nothing more happens."""
        seen = await self.pump()
        for _ in range(rounds):
            begun = await self.worker.turn()
            while self.worker._running:
                await asyncio.gather(*self.worker._running)
            more = await self.pump()
            seen += more
            if not begun and not more:
                return seen
        return seen

    async def state(self, ref: UUID) -> ReferralState:
        found: ReferralState | None = (await self.referral.read([ref]))[0]
        assert found is not None
        return found

    async def answer(self, ref: UUID, command: str, **fields: Any) -> Any:
        """A command of the recipient."""
        fields = {"actor_org": "refugio-sur", "actor_role": "recipient"} | fields
        one = Command(command_id=uuid4(), referral_ref=ref, command=command, **fields)
        return (await self.referral.apply([[one]]))[0]

    async def withdraw(self, ref: UUID, *items: Any) -> Withdrawn:
        """Of the whole consent, or of (org, purpose, categories) parts."""
        return await self.take_back((await self.state(ref)).consent_ref, *items)

    async def take_back(self, consent_ref: UUID, *items: Any) -> Withdrawn:
        asked = Withdrawal(
            command_id=uuid4(),
            consent_ref=consent_ref,
            by_org="ong-norte",
            status="withdrawn",
            items=items,
        )
        return (await self.consent.withdraw([asked]))[0]

    async def tasks(self, ref: UUID) -> list[tuple[str, str, str | None]]:
        rows = await self.admin.fetch(
            "select kind, state, rule from delivery.task where referral_ref = $1 order by seq", ref
        )
        return [(r["kind"], r["state"], r["rule"]) for r in rows]

    async def intents(self, ref: UUID) -> list[str]:
        rows = await self.admin.fetch(
            "select state from delivery.intent where referral_ref = $1 order by at", ref
        )
        return [r["state"] for r in rows]

    async def leaves(self, ref: UUID) -> list[str]:
        rows = await self.admin.fetch("select body from custody.leaf")
        found = [orjson.loads(r["body"]) for r in rows]
        mine = [one for one in found if one.get("referral_ref") == str(ref)]
        return [one["kind"] for one in sorted(mine, key=lambda one: one["time"])]


def consent_of(case_ref: UUID, to_org: str, categories: tuple[str, ...]) -> ConsentRecord:
    start, end = now() - timedelta(hours=1), now() + timedelta(days=30)
    permit = ConsentRule(
        decision="permit",
        purpose="service_referral",
        to_org=to_org,
        to_kind=None,
        data_categories=categories,
        valid_from=start,
        valid_to=end,
    )
    return ConsentRecord(
        consent_ref=uuid4(),
        case_ref=case_ref,
        source_org="ong-norte",
        status="given",
        legal_basis="consent",
        reason_code=None,
        approver_ref=None,
        notice="aviso-1",
        language="es",
        form="written_signature",
        giver="self",
        assent=None,
        given_at=start,
        valid_from=start,
        valid_to=end,
        version=1,
        rules=(permit,),
    )


def given(record: ConsentRecord, expected: int = 0) -> Given:
    return Given(
        record=record,
        expected=expected,
        correlation_id=uuid4(),
        confidentiality="restricted",
        now=now(),
    )


class ActiveRecipients:
    """As the referral service's wiring, over the registry."""

    def __init__(self, partners: Partners) -> None:
        self.partners = partners

    async def kind(self, org: str) -> str | None:
        found = await self.partners.active(org, now(), ZONE)
        return found.org_type if found is not None and "recipient" in found.roles else None


def _taking(parts: Parts, worker: Worker) -> delivery_consumer.Consumer:
    return delivery_consumer.Consumer(
        parts.partners,
        now,
        worker.wake,
        alias_key=parts.frame.alias_key,
        cell=CELL,
        erasure_days=15,
        subscriptions=Subscriptions(parts.pool),
    )


@asynccontextmanager
async def running_path(
    pg: Databases, pem: bytes = b"", hook_keys: Folder = Folder("no-keys")
) -> AsyncIterator[Path]:
    names = ("gateway", "consent", "referral", "delivery")
    pools = {n: await asyncpg.create_pool(pg.dsn(n), min_size=0, max_size=8) for n in names}
    admin = await asyncpg.connect(pg.admin_dsn)
    await admin.execute("set enable_seqscan = on")
    seed, alias_key, metrics = random_bytes(32), random_bytes(32), Metrics()
    vault = MemoryVault(ed25519_public(seed))
    consent = ConsentService(pools["consent"], metrics, cell=CELL)
    partners = Partners(pools["delivery"])
    judge = Judge(consent, ActiveRecipients(Partners(pools["referral"])))
    keys = Keys(vault)  # type: ignore[arg-type] # the methods that are used
    commands = Commands(pools["referral"], keys, judge, now, 0)
    http = Http(private_networks("127.0.0.0/8"))
    parts = Parts(
        pool=pools["delivery"],
        partners=partners,
        authority=Authority(
            pools["delivery"], consent, partners, now, seed=seed, seconds=2.0, zone=ZONE, cell=CELL
        ),
        recorder=Recorder(pools["delivery"], now, metrics, cell=CELL),
        confirmer=Confirmer(pools["delivery"], commands, cell=CELL),
        links=Links(http, pem or new_es384_pem(), HookKeys(hook_keys), HUB),
        vault=vault,  # type: ignore[arg-type] # the methods that are used
        referral=commands,
        frame=Frame(base=BASE, zone=ZONE, alias_key=alias_key),
        clock=now,
        metrics=metrics,
        log=Log("delivery", dropped=lambda: None),
        cell=CELL,
        window_ms=0,
        concurrency=64,
        partner_concurrency=8,
    )
    worker = Worker(parts)
    taking = _taking(parts, worker)
    making = referral_consumer.Consumer(keys, judge, now, cell=CELL)
    last = await admin.fetchval("select coalesce(max(id), 0) from bus.event")
    yield Path(
        pools=pools,
        admin=admin,
        vault=vault,
        consent=consent,
        referral=commands,
        parts=parts,
        worker=worker,
        consumers={
            "referral": (making, referral_consumer.TYPES),
            "delivery": (taking, delivery_consumer.TYPES),
        },
        last=last,
    )
    await http.close()
    await admin.close()
    for pool in pools.values():
        await pool.close()
