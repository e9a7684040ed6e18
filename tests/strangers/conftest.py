"""One running exchange for the strangers of this folder: their libraries are synchronous, so they
talk to processes.
"""

import asyncio
import time
from collections.abc import Iterator

import asyncpg
import pytest

from services.console.local import plan
from services.console.local.keys import make_secrets
from services.console.local.place import Place
from services.console.local.postgres import Server
from services.kit.settings import Settings
from tests.strangers.fhir.exchange import PULLING, PUSHED, SERVICE_TYPES, SOURCE, Exchange
from tests.support import servers
from tests.support.hub import Hub, running_hub
from tests.support.servers import Databases, Kafka
from tests.support.withdrawal_world import Organisation, enter


async def _enter(hub: Hub, pg: Databases, settings: Settings) -> None:
    url = f"http://127.0.0.1:{settings.refugio_port}"
    connection = await asyncpg.connect(pg.admin_dsn)
    orgs = (
        Organisation(org=SOURCE, org_type="ngo", role="source", service_types=SERVICE_TYPES),
        Organisation(org=PUSHED, url=url, service_types=SERVICE_TYPES),
        Organisation(org=PULLING, service_types=SERVICE_TYPES),
    )
    await enter(hub, connection, orgs)
    await connection.close()


@pytest.fixture(scope="package")
def exchange(place: Place, postgres_server: Server, kafka_server: Kafka) -> Iterator[Exchange]:
    """Vault, hub and a recipient that is pushed to, with the three partners active."""
    pg = servers.new_databases(place, postgres_server)
    servers.empty_topics(kafka_server)
    make_secrets(place, place.root / "vault-keys")
    settings = servers.settings_for(place, pg, kafka_server)
    with running_hub(place, settings, (plan.VAULT, plan.HUB, plan.REFUGIO)) as hub:
        asyncio.run(_enter(hub, pg, settings))
        time.sleep(1.1)  # partners are read again once a second
        yield Exchange(hub=hub)
