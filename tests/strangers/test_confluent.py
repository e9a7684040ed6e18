"""confluent-kafka and its schema-registry client, unmodified, on our log: what a partner's own
consumer decodes is what our codec says, and its registry client reads schemas here and writes none.
"""

import dataclasses
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from connectors.sandbox.people import person
from connectors.sandbox.samples import bundle
from connectors.sandbox.smart import ASSERTION_TYPE
from schemas import codec
from schemas.topics import event_types
from tests.strangers.fhir.exchange import PUSHED, SOURCE, Exchange, scope_of, until
from tests.support.servers import Kafka

TOPIC = "cauce.case"
READER = "referral"
"""A principal that may read the topic."""
LIFE = {
    "case.opened", "consent.given", "referral.requested", "referral.sent", "referral.delivered",
    "disclosure.made", "referral.status_changed", "consent.withdrawn", "referral.revoked",
    "consent.effect_reported",
}  # fmt: skip
"""Every type of a referral that is accepted and then withdrawn."""


@pytest.fixture(scope="module")
def token(exchange: Exchange) -> str:
    """The sender's token."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": exchange.assertion(),
        "scope": scope_of(SOURCE),
    }
    answer = requests.post(f"{exchange.url}/oauth/token", data=form, timeout=10)
    return str(answer.json()["access_token"])


@pytest.fixture(scope="module")
def registry(exchange: Exchange, token: str) -> Iterator[SchemaRegistryClient]:
    """The registry client of a partner."""
    with SchemaRegistryClient(
        {
            "url": exchange.url,
            "bearer.auth.credentials.source": "STATIC_TOKEN",
            "bearer.auth.token": token,
            "bearer.auth.logical.cluster": "cauce",
            "bearer.auth.identity.pool.id": "partners",
            "max.retries": 0,
        }
    ) as made:
        yield made


def consumer(kafka: Kafka, user: str, group: str) -> Consumer:
    """A consumer as that principal."""
    return Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": kafka.passwords[user],
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )


@pytest.fixture(scope="module")
def life(exchange: Exchange, token: str, kafka_server: Kafka) -> list[Message]:
    """The log after one referral was sent, accepted and withdrawn."""
    headers = {"Authorization": f"Bearer {token}"}
    sent = bundle(person=person(63_001), to_org=PUSHED, entry=f"{PUSHED}-casa")
    answer = requests.post(exchange.base, json=sent, headers=headers, timeout=10)
    assert answer.status_code == 200, answer.text
    ids = dict(e["response"]["location"].split("/")[:2] for e in answer.json()["entry"])

    def status(wanted: str) -> bool:
        task = requests.get(f"{exchange.base}/Task/{ids['Task']}", headers=headers, timeout=10)
        return bool(task.json().get("status") == wanted)

    until(lambda: status("accepted"), "never accepted")
    where = f"{exchange.base}/Consent/{ids['Consent']}"
    tag = requests.get(where, headers=headers, timeout=10).headers["ETag"]
    patch = [{"op": "replace", "path": "/status", "value": "inactive"}]
    form = {"If-Match": tag, "Content-Type": "application/json-patch+json"}
    done = requests.patch(where, json=patch, headers=headers | form, timeout=10)
    assert done.status_code == 200, done.text
    reader = consumer(kafka_server, READER, f"{READER}-{uuid.uuid4()}")
    try:
        seen: list[Message] = []
        parts = reader.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        reader.assign([TopicPartition(TOPIC, part, 0) for part in parts])

        def whole() -> bool:
            seen.extend(m for m in reader.consume(200, timeout=0.5) if m.error() is None)
            return {type_of(one) for one in seen} >= LIFE

        until(whole, "the log lacks a part of the life")
        return seen
    finally:
        reader.close()


def type_of(message: Message) -> str:
    """The type in a record's header."""
    found = dict(message.headers() or ())["ce_type"]
    assert isinstance(found, bytes)
    return found.decode()


def plain(value: Any) -> Any:
    """What our codec reads, with the types of a plain Avro reader."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


def test_a_stranger_decodes_what_our_codec_says(
    life: list[Message], registry: SchemaRegistryClient
) -> None:
    read = AvroDeserializer(registry)
    for message in life:
        raw = message.value()
        assert isinstance(raw, bytes)
        theirs = read(raw, SerializationContext(TOPIC, MessageField.VALUE))
        ours = plain(codec.decode(raw))
        assert isinstance(theirs, dict)
        assert {name: theirs[name] for name in ours} == ours, type_of(message)


def test_facts_stay_sealed_to_a_stranger(
    life: list[Message], registry: SchemaRegistryClient
) -> None:
    read = AvroDeserializer(registry)
    sealed = 0
    for message in life:
        shown: Any = read(message.value(), SerializationContext(TOPIC, MessageField.VALUE))
        if shown.get("facts") is not None:
            assert isinstance(shown["facts"], bytes)
            assert b"shelter_specialized" not in shown["facts"]
            sealed += 1
    assert sealed


def test_every_subject_is_found_with_its_schema(registry: SchemaRegistryClient) -> None:
    subjects = registry.get_subjects()
    assert len(subjects) >= len(event_types())
    for subject in subjects:
        newest = registry.get_latest_version(subject)
        assert newest.schema_id is not None
        assert registry.get_versions(subject)[-1] == newest.version
        assert registry.get_schema(newest.schema_id).schema_str == newest.schema.schema_str


def test_nobody_writes_a_schema_here(registry: SchemaRegistryClient) -> None:
    subject = registry.get_subjects()[0]
    with pytest.raises(SchemaRegistryError) as refused:
        registry.register_schema(subject, Schema('{"type": "string"}', "AVRO"))
    assert refused.value.http_status_code == 405
    with pytest.raises(SchemaRegistryError) as kept:
        registry.delete_version(subject, 1)
    assert kept.value.http_status_code == 405


def test_a_schema_is_shown_to_partners_alone(exchange: Exchange) -> None:
    nobody = SchemaRegistryClient({"url": exchange.url, "max.retries": 0})
    with nobody, pytest.raises(SchemaRegistryError) as refused:
        nobody.get_subjects()
    assert refused.value.http_status_code == 401


@pytest.fixture
def outsider(kafka_server: Kafka) -> Iterator[Consumer]:
    """A consumer whose principal may not read the topic."""
    made = consumer(kafka_server, "gateway", f"stranger-{uuid.uuid4()}")
    yield made
    made.close()


def test_who_has_no_right_to_the_topic_reads_nothing(outsider: Consumer) -> None:
    outsider.assign([TopicPartition(TOPIC, 0, 0)])

    def refused() -> bool:
        try:
            found = outsider.consume(10, timeout=0.5)
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED)
        errors = [fault for one in found if (fault := one.error()) is not None]
        assert len(errors) == len(found)
        return KafkaError.TOPIC_AUTHORIZATION_FAILED in [fault.code() for fault in errors]

    until(refused, "the broker said nothing")
