"""Fixtures of every test that needs a server; unit and contract tests use none of them."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

from services.console.local.keys import make_secrets
from services.console.local.place import Place
from services.console.local.postgres import Server
from services.kit.settings import Settings
from tests.support import servers
from tests.support.hub import Hub, running_hub

# How long a draw takes says what else the machine does; CI draws the same every time.
hypothesis.settings.register_profile(
    "cauce",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("cauce")


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """The folder of this run: secrets, logs, data."""
    with servers.temporary_place() as made:
        yield made


@pytest.fixture(scope="session")
def postgres_server(place: Place) -> Iterator[Server]:
    """PostgreSQL of this run."""
    with servers.running_postgres(place) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_server(place: Place) -> Iterator[servers.Kafka]:
    """Apache Kafka of this run."""
    with servers.running_kafka(place) as broker:
        yield broker


@pytest.fixture(scope="module")
def pg(place: Place, postgres_server: Server) -> servers.Databases:
    """A fresh, migrated pair of databases for the module."""
    return servers.new_databases(place, postgres_server)


@pytest.fixture(scope="module")
def kafka(kafka_server: servers.Kafka) -> servers.Kafka:
    """The broker with empty topics for the module."""
    servers.empty_topics(kafka_server)
    return kafka_server


@pytest.fixture(scope="module")
def secrets(place: Place) -> Place:
    """The place with every secret of an installation in it."""
    make_secrets(place, place.root / "vault-keys")
    return place


@pytest.fixture(scope="module")
def settings(secrets: Place, pg: servers.Databases, kafka: servers.Kafka) -> Settings:
    """Settings of a hub on the module's databases and broker."""
    return servers.settings_for(secrets, pg, kafka)


@pytest.fixture(scope="module")
def hub(secrets: Place, settings: Settings) -> Iterator[Hub]:
    """Vault, hub and both sandbox partners as processes, ready."""
    with running_hub(secrets, settings) as running:
        yield running
