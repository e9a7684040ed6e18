"""Requests that nobody thought of, made from the OpenAPI document, against a running hub.

Schemathesis knows the hub by the document that it serves: what it sends is right or wrong by that
document, and every answer must be one that the document tells of.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from services.console.local import plan
from services.console.local.place import Place
from services.kit.settings import Settings
from tests.support.hub import Hub, running_hub
from tests.support.natives import twin
from tests.support.probing import Probe, furnished, probe
from tests.support.refusals import Request, send, simple
from tests.support.refusals_fhir import register_subscription
from tests.support.refusals_world import World, quiet, registered, world
from tests.support.servers import Databases, Kafka

pytestmark = pytest.mark.timeout(240)
US = "mixta"
"""Source and recipient, so that every scope is its own."""


@dataclass
class Given:
    """What Schemathesis is given, and what came of it."""

    document: Any
    done: Probe


@pytest.fixture(scope="module")
def keys(pg: Databases) -> dict[str, bytes]:
    """Keys of the registered partners."""
    return asyncio.run(registered(pg))


@pytest.fixture(scope="module")
def edge(secrets: Place, settings: Settings, keys: dict[str, bytes]) -> Iterator[Hub]:
    """Vault and hub; nobody is told to come again later."""
    many = settings.model_copy(update={"partner_requests_per_minute": 100_000})
    with running_hub(secrets, many, (plan.VAULT, plan.HUB)) as running:
        yield running


@pytest.fixture(scope="module")
def given(edge: Hub, pg: Databases, kafka: Kafka, keys: dict[str, bytes]) -> Given:
    """One run for all tests."""
    document, more, token = asyncio.run(_prepare(edge, pg, kafka, keys))
    return Given(document, probe(more, edge.settings.public_url, token))


async def _prepare(edge: Hub, pg: Databases, kafka: Kafka, keys: dict[str, bytes]) -> Any:
    async with world(edge, pg, kafka, keys) as w:
        sent = await _refer(w, US, "refugio-sur", "refugio-sur-casa", 1)
        got = await _refer(w, "ong-norte", US, "mixta-casa", 2)
        ids = {
            "/fhir/Task/{id}": got["task"],
            "/fhir/Consent/{id}": sent["consent"],
            "/fhir/Patient/{id}": sent["patient"],
            "/fhir/ServiceRequest/{id}": got["service_request"],
            "/fhir/Organization/{id}": US,
            "/fhir/HealthcareService/{id}": "mixta-casa",
            "/v1/cases/{id}": sent["case"],
            "/v1/cases/{id}/commands": sent["case"],
            "/v1/consents/{id}": sent["consent"],
            "/v1/consents/{id}/withdrawals": sent["consent"],
            "/v1/codelists/{enum}": "priority",
            "/v1/directory/services/{id}": "mixta-casa",
            "/v1/directory/services/{id}/capacity": "mixta-casa",
            "/v1/referrals/{id}": sent["task"],
            "/v1/referrals/{id}/commands": got["task"],
            "/v1/referrals/{id}/data": got["task"],
            "/v1/referrals/{id}/timeline": sent["task"],
            "/hooks/{org}": US,
        }
        subscription = str(await register_subscription(w, US))
        ids |= {f"/fhir/Subscription/{{id}}{end}": subscription for end in ("", "/$status")}
        ids["/fhir/Subscription/{id}/$events"] = subscription
        bundles = [simple(US)(w, number).body for number in (3, 4)]
        bodies = {
            "post_fhir": bundles[0],
            "post_v1_referrals": twin(bundles[1], US),
            "post_v1_cases_id_commands": {
                "command": "update",
                "expected_version": 1,
                "person": {"languages": ["es", "pt"]},
                "facts": {"risk_level": "high"},
            },
            "post_v1_referrals_id_commands": {"command": "accept", "expected_version": 1},
        }
        await quiet(w)
        answer = await send(w, Request("GET", "/docs/openapi.json", US))
        assert answer.status == 200, answer.raw
        return answer.body, furnished(answer.body, ids, bodies), w.tokens[US]


async def _refer(w: World, org: str, to_org: str, entry: str, number: int) -> dict[str, str]:
    """Ids of a new referral by kind, as `US` knows them."""
    answer = await send(w, simple(org, to_org=to_org, entry=entry)(w, number))
    assert answer.status == 200, answer.raw
    places = [one["response"].get("location", "/") for one in answer.body["entry"]]
    rows = await w.rows(
        "select b.kind, b.alias::text from gateway.alias a join gateway.alias b"
        " using (referral_ref) where a.alias = $1::uuid and b.org = $2",
        dict(place.split("/") for place in places)["Task"],
        US,
    )
    return dict(rows)


def test_no_answer_is_other_than_the_document_says(given: Given) -> None:
    assert given.done.findings == [], "\n\n".join(given.done.findings)


def test_every_operation_was_called_and_some_of_each_kind_went_through(given: Given) -> None:
    known = {
        f"{method.upper()} {path}"
        for path, item in given.document["paths"].items()
        for method in item
    }
    assert set(given.done.sent) == known
    assert {200, 201, 400, 401, 404, 412, 422} <= set(given.done.statuses)
    assert given.done.statuses.total() > 500
    assert len(given.done.refusals) > 30
    assert not [status for status in given.done.statuses if not 200 <= status < 500]


def test_the_hub_met_nothing_unforeseen(given: Given, edge: Hub) -> None:
    assert given.done.sent
    assert "unforeseen" not in edge.log(plan.HUB)
