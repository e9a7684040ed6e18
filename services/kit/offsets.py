"""How far topics and consumers are: end offsets and lag, asked of Kafka by kafka-python.

It guards nothing; it reads numbers and no record. Blocking: callers run it in a thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.structs import TopicPartition

from services.kit.settings import Settings

_TIMEOUT_MS: Final = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicOffsets:
    """One topic: offset after the last record by partition, lag by consumer."""

    topic: str
    ends: tuple[int, ...]
    lag: dict[str, int]


def read_offsets(
    settings: Settings, service: str, topics: dict[str, int], consumers: Sequence[str]
) -> list[TopicOffsets]:
    """The offsets of these topics (name → partitions); raises KafkaError when Kafka is away."""
    client = KafkaAdminClient(
        bootstrap_servers=settings.kafka_bootstrap,
        security_protocol=settings.kafka_security,
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=service,
        sasl_plain_password=settings.secret(f"kafka.{service}").decode("ascii").strip(),
        bootstrap_timeout_ms=_TIMEOUT_MS,
    )
    try:
        places = [TopicPartition(t, n) for t, count in topics.items() for n in range(count)]
        found = client.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
        ends = {place: found[place].offset for place in places}
        done = {c: client.list_group_offsets([c]).get(c, {}) for c in consumers}
        return [
            TopicOffsets(
                topic=topic,
                ends=tuple(ends[TopicPartition(topic, n)] for n in range(count)),
                lag={c: _lag(topic, ends, at) for c, at in done.items() if _reads(topic, at)},
            )
            for topic, count in topics.items()
        ]
    finally:
        client.close()


def _reads(topic: str, committed: dict[TopicPartition, object]) -> bool:
    return any(place.topic == topic for place in committed)


def _lag(
    topic: str, ends: dict[TopicPartition, int], committed: dict[TopicPartition, object]
) -> int:
    return sum(
        max(0, ends[place] - int(getattr(at, "offset", 0)))
        for place, at in committed.items()
        if place.topic == topic and place in ends
    )
