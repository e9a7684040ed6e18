"""The servers of a run: passwords, rights, limits, and that they are what the settings say."""

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from kafka import KafkaAdminClient

from schemas.topics import topics
from services.console.local import kafka_admin
from services.kit.migrate import HUB_ROLES, MigrationError, Part, _apply
from tests.support.servers import Databases, Kafka


async def test_each_role_logs_in_with_its_own_password_alone(pg: Databases) -> None:
    connection = await asyncpg.connect(pg.dsn("consent"))
    assert await connection.fetchval("select current_user") == "consent"
    assert await connection.fetchval("show jit") == "off"
    assert await connection.fetchval("show idle_in_transaction_session_timeout") == "2s"
    await connection.close()
    wrong = pg.dsn("consent").replace(pg.passwords["consent"], pg.passwords["gateway"])
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)


@pytest.mark.parametrize("role", [role for role in HUB_ROLES if role != "vault"])
async def test_no_hub_role_enters_the_database_of_the_vault(pg: Databases, role: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(pg.dsn(role, pg.vault))


async def test_a_role_cannot_make_tables_in_a_schema_that_is_not_its_own(pg: Databases) -> None:
    connection = await asyncpg.connect(pg.dsn("gateway"))
    for schema in ("bus", "consent", "custody", "public"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"create table {schema}.intruder ()")
    await connection.close()


async def test_the_server_syncs_to_disk_and_logs_no_values(pg: Databases) -> None:
    connection = await asyncpg.connect(pg.admin_dsn)
    shown = {
        name: await connection.fetchval(f"show {name}")
        for name in ("fsync", "synchronous_commit", "log_parameter_max_length_on_error")
    }
    await connection.close()
    assert shown == {
        "fsync": "on",
        "synchronous_commit": "on",
        "log_parameter_max_length_on_error": "0",
    }


async def test_a_file_that_was_applied_and_then_changed_is_refused(pg: Databases) -> None:
    part = Part(service="consent", schema="consent", owner="consent")
    connection = await asyncpg.connect(pg.admin_dsn)
    async with connection.transaction():
        assert await _apply(connection, part, "services/consent/schema_9999_x.sql", "select 1")
        assert not await _apply(connection, part, "services/consent/schema_9999_x.sql", "select 1")
        with pytest.raises(MigrationError, match=r"schema_9999_x\.sql was applied"):
            await _apply(connection, part, "services/consent/schema_9999_x.sql", "select 2")
    await connection.close()


def test_the_topics_are_those_of_the_schemas(kafka: Kafka) -> None:
    client = KafkaAdminClient(**kafka.client())
    assert set(client.list_topics()) >= {topic.name for topic in topics()}
    client.close()


async def test_only_the_relay_writes_to_a_topic(kafka: Kafka) -> None:
    relay = AIOKafkaProducer(**kafka.client("relay"), enable_idempotence=True)
    await relay.start()
    await relay.send_and_wait("cauce.case", b"x", key=b"k")
    await relay.stop()
    for user in sorted(set(kafka_admin.PRINCIPALS) - {"relay"}):
        other = AIOKafkaProducer(**kafka.client(user))
        await other.start()
        with pytest.raises(TopicAuthorizationFailedError):
            await other.send_and_wait("cauce.case", b"x")
        await other.stop()


async def test_a_reader_reads_in_groups_of_its_own_name_only(kafka: Kafka) -> None:
    reader = AIOKafkaConsumer(
        "cauce.case", **kafka.client("delivery"), group_id="delivery", auto_offset_reset="earliest"
    )
    await reader.start()
    assert (await reader.getone()).value == b"x"
    await reader.stop()
    thief = AIOKafkaConsumer("cauce.case", **kafka.client("delivery"), group_id="referral")
    with pytest.raises(GroupAuthorizationFailedError):
        await thief.start()
    await thief.stop()
