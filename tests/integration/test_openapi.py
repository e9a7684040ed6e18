"""The OpenAPI and AsyncAPI documents as a partner gets them, against the routes that serve."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from starlette.routing import Route

from connectors.webhook.mapping import ALLOWED
from schemas.topics import event_types, topics
from services.console.local.place import Place
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, edge

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENT = "/docs/openapi.json"
NAMES = ("vault", "consent", "referral", "delivery", "gateway")


@pytest.fixture(scope="module")
def edge_settings(secrets: Place, pg: servers.Databases) -> Settings:
    return servers.settings_for(secrets, pg)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(edge_settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with edge(edge_settings, pg.admin_dsn, NAMES) as made:
        yield made


async def fetched(world: World, path: str = DOCUMENT) -> Any:
    status, body, _ = await world.call("GET", path, "ong-norte")
    assert status == 200, body
    return body


def served(world: World) -> set[tuple[str, str]]:
    """Method and path of every public route but the one that refuses the rest."""
    found = set()
    for service in world.host.services:
        for route in service.public:
            assert isinstance(route, Route)
            if route.path != "/{rest:path}":
                methods = set(route.methods or ()) - {"HEAD"}
                is_registry = len(methods) > 1
                found |= {(m, route.path) for m in ({"GET"} if is_registry else methods)}
    return found


async def test_every_route_is_in_the_document_and_nothing_else(world: World) -> None:
    paths = (await fetched(world))["paths"]
    told = {(method.upper(), path) for path, item in paths.items() for method in item}
    assert told == served(world)


async def test_every_scope_and_reference_is_declared(world: World) -> None:
    document = await fetched(world)
    shared = document["components"]
    flow = shared["securitySchemes"]["smart"]["flows"]["clientCredentials"]
    for item in document["paths"].values():
        for operation in item.values():
            for need in operation["security"]:
                assert set(need["smart"]) <= set(flow["scopes"])
    for kind, name in re.findall(r"'#/components/(\w+)/([^']+)'", str(document)):
        assert name in shared[kind], name


async def test_documents_ask_for_a_token_and_answer_not_modified(world: World) -> None:
    for path in (DOCUMENT, "/docs/asyncapi.json"):
        status, body, _ = await world.call("GET", path, None)
        assert (status, body["faults"][0]["rule"]) == (401, "token-missing")
        _, _, headers = await world.call("GET", path, "refugio-sur")
        again = await world.call("GET", path, "refugio-sur", If_None_Match=headers["etag"])
        assert again[0] == 304
        status, body, _ = await world.call("GET", f"{path}?x=1", "refugio-sur")
        assert (status, body["faults"][0]["rule"]) == (400, "parameter")


async def test_the_asyncapi_document_has_every_topic_and_event_and_no_loose_end(
    world: World,
) -> None:
    document = await fetched(world, "/docs/asyncapi.json")
    assert document["asyncapi"] == "3.0.0"
    assert set(document["channels"]) == {t.name for t in topics()} | {"webhook"}
    assert set(document["channels"]["webhook"]["messages"]) == set(ALLOWED)
    for event in event_types().values():
        message = document["components"]["messages"][event.type]
        assert event.type in document["channels"][event.topic]["messages"]
        assert f"Registry id {event.schema_id}," in message["summary"]
    for pointer in re.findall(r"'\$ref': '#/([^']+)'", str(document)):
        at = document
        for part in pointer.split("/"):
            at = at[part]
