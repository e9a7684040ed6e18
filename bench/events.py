"""The event path against a bare loop of the same client over the same records, in one run.

Path: read, decode, unseal, decide, seal, encode, publish, by the product's own functions. Bare:
read, publish. Neither touches PostgreSQL. Both read the same topic and write to another.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from kafka.admin import KafkaAdminClient

from bench import rules
from bench.world import World
from schemas import CODELIST_VERSION, ReferralSent, ReferralSentFacts, decode_facts
from schemas.codec import Encoded, frame
from services.consent.domain import evaluate
from services.kit.crypto import random_bytes
from services.kit.ports.consent import Question
from services.kit.ports.vault import DataKey
from services.kit.records import received
from services.kit.seal import open_facts
from services.referral.events import Told
from services.referral.facts import encoded

SOURCE: Final = "bench.source"
TARGET: Final = "bench.target"
PURPOSE: Final = "service_referral"
KEY: Final = DataKey(purpose=PURPOSE, version=1, key=random_bytes(32))
Step = Callable[[bytes], bytes]


async def measure(world: World, count: int = 20_000) -> dict[str, float]:
    """Events per second of both loops, best of three each in turn, and their ratio.

    Also by the client's own CPU alone, which a busy machine changes less.
    """
    client = _client(world)
    _make_topics(client)
    now = datetime.now(UTC)
    record = rules.record(now, 1)
    await _fill(client, [_frame_of(_event(now)) for _ in range(count)])

    def path(value: bytes) -> bytes:
        return _path(value, [record], now)

    bare: list[Speed] = []
    whole: list[Speed] = []
    for _ in range(3):
        bare.append(await _loop(client, count, lambda value: value))
        whole.append(await _loop(client, count, path))
    rates = [max(one.per_second for one in runs) for runs in (bare, whole)]
    costs = [min(one.cpu_us for one in runs) for runs in (bare, whole)]
    return {
        "bare_per_second": rates[0],
        "path_per_second": rates[1],
        "ratio": rates[1] / rates[0],
        "bare_cpu_us": costs[0],
        "path_cpu_us": costs[1],
        "cpu_ratio": costs[0] / costs[1],
    }


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one loop: events per second, and CPU of the client for each."""

    per_second: float
    cpu_us: float


def _path(value: bytes, records: list[Any], now: datetime) -> bytes:
    got = received(value)
    event, case = got.event, got.case_ref
    if got.facts is None or not isinstance(event, ReferralSent):
        raise RuntimeError("not what was written")
    plain = open_facts(KEY, got.event_type, got.event_id, case, PURPOSE, got.facts)
    question = Question(
        case_ref=case,
        to_org=event.to_org,
        to_kind="shelter",
        purpose=PURPOSE,
        categories=event.data_categories,
        overlay=None,
    )
    decision = evaluate(records, question, now, version=1, key_version=1)
    if not decision.allowed:
        raise RuntimeError("denied")
    following = replace(event, event_id=uuid4(), causation_id=got.event_id, facts=None)
    return _framed(encoded(Told(event=following, facts=decode_facts(plain)), KEY), got.seq)


def _framed(made: Encoded, seq: int) -> bytes:
    return frame(made.schema_id, seq, made.body, made.facts, made.stats_facts)


def _frame_of(told: Told) -> bytes:
    return _framed(encoded(told, KEY), 1)


def _event(now: datetime) -> Told:
    event = ReferralSent(
        event_id=uuid4(),
        occurred_at=now,
        case_ref=uuid4(),
        source_org="ong-norte",
        correlation_id=uuid4(),
        causation_id=uuid4(),
        codelist_version=CODELIST_VERSION,
        confidentiality="restricted",
        purpose=PURPOSE,
        referral_ref=uuid4(),
        version=1,
        from_org="ong-norte",
        to_org="refugio-sur",
        directory_entry_ref=uuid4(),
        consent_ref=UUID(int=1),
        data_categories=("contact", "pseudonymous_core"),
        response_due=now,
        replaces=None,
        onward_of=None,
    )
    facts = ReferralSentFacts(
        service_type="shelter_specialized", priority="urgent", special_requirements=()
    )
    return Told(event=event, facts=facts)


def _client(world: World) -> dict[str, Any]:
    return {
        "bootstrap_servers": world.settings.kafka_bootstrap,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "admin",
        "sasl_plain_password": world.place.secret("kafka.admin"),
    }


def _make_topics(client: dict[str, Any]) -> None:
    admin = KafkaAdminClient(**client)
    names = [SOURCE, TARGET]
    admin.create_topics({n: {"num_partitions": 1, "replication_factor": 1} for n in names})
    admin.wait_for_topics(names)
    admin.close()


async def _fill(client: dict[str, Any], values: list[bytes]) -> None:
    async with _producer(client) as producer:
        for value in values:
            last = await producer.send(SOURCE, value=value, key=b"%032d" % 0)
        await last


def _producer(client: dict[str, Any]) -> Any:
    """As the relay's."""
    return AIOKafkaProducer(
        **client, enable_idempotence=True, acks="all", linger_ms=0, max_batch_size=1 << 17
    )


async def _loop(client: dict[str, Any], count: int, step: Step) -> Speed:
    consumer = AIOKafkaConsumer(
        SOURCE, **client, auto_offset_reset="earliest", enable_auto_commit=False
    )
    async with consumer, _producer(client) as producer:
        done, begun, used = 0, time.perf_counter(), time.process_time()
        while done < count:
            batches = await consumer.getmany(timeout_ms=1000, max_records=500)
            sent = [
                await producer.send(TARGET, value=step(record.value), key=record.key)
                for records in batches.values()
                for record in records
            ]
            for future in sent:
                await future
            done += len(sent)
        taken, used = time.perf_counter() - begun, time.process_time() - used
        return Speed(done / taken, used / done * 1e6)
