"""Subscriptions on a running hub: handshake, events by number, and what is refused."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
import pytest_asyncio

from connectors.fhir_r4 import notification
from connectors.sandbox.people import person
from schemas import ReferralStatusChanged
from services.delivery import subscriptions as log
from services.kit.crypto import verify_ed25519
from services.kit.settings import Settings
from services.kit.subscriptions import Subscription
from tests.support import servers
from tests.support.gateway_world import World, whole
from tests.support.hooks import Endpoint, endpoint, values

BASE = "https://cauce.example/fhir"
PATH = "/fhir/Subscription"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with whole(settings, pg.admin_dsn) as made:
        yield made


@asynccontextmanager
async def hook(world: World, org: str) -> AsyncIterator[Endpoint]:
    """An endpoint that is in the partner's record."""
    async with endpoint() as made:
        connector = {
            "name": "fhir_r4",
            "base_url": f"{made.base}/fhir",
            "token_url": "",
            "client_id": "",
            "answers": "patch",
            "mapping_version": 1,
        }
        await world.admin.execute(
            "update gateway.partner set version = version + 1,"
            " record = jsonb_set(record, '{connector}', $2::jsonb) where org = $1",
            org,
            orjson.dumps(connector).decode(),
        )
        await asyncio.sleep(1.1)  # the registry is a second old at most
        yield made


def subscription(org: str, url: str, **changes: Any) -> dict[str, Any]:
    """A subscription of the recipient to its own Tasks."""
    content = {"extension": [{"url": notification.CONTENT, "valueCode": "id-only"}]}
    channel = {
        "type": "rest-hook",
        "endpoint": url,
        "payload": "application/fhir+json",
        "_payload": content,
    }
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "What I was told about Maria",
        "criteria": f"Task?owner=Organization/{org}",
        "channel": channel,
    } | changes


async def standing(world: World, org: str, name: str, state: str) -> dict[str, Any]:
    """The subscription once it stands so."""
    for _ in range(200):
        status, body, _ = await world.call("GET", f"{PATH}/{name}", org)
        assert status == 200, body
        if body["status"] == state:
            return dict(body)
        await asyncio.sleep(0.05)
    raise AssertionError(body)


async def test_a_subscriber_is_told_of_its_own_tasks_by_id_and_number(
    world: World, settings: Settings
) -> None:
    org = "refugio-sur"
    async with hook(world, org) as there:
        made = subscription(org, f"{there.base}/told")
        status, body, headers = await world.call("POST", PATH, org, made)
        assert (status, body["status"]) == (201, "requested"), body
        assert headers["location"].endswith(f"{PATH}/{body['id']}")
        assert headers["etag"] == 'W/"1"'
        assert "Maria" not in str(body)
        name = body["id"]
        await there.until("handshake")
        await standing(world, org, name, "active")
        task = await world.task_of(await world.refer(person=person(71)), org)
        assert (await world.answer(task, org, status="accepted"))[0] == 200
        await there.until("event-notification")
        for _ in range(100):
            if len(there.events()) >= 2:
                break
            await asyncio.sleep(0.05)
        events = there.events()
        assert [int(e["event-number"]) for e in events] == list(range(1, len(events) + 1))
        assert {e["focus"] for e in events} == {f"{world.url}/fhir/Task/{task['id']}"}
        _assert_signed(there, settings)
        sent = b"".join(raw for _, raw in there.told)
        assert person(71).family.encode() not in sent
        await _assert_told_again(world, org, name, events)


def _assert_signed(there: Endpoint, settings: Settings) -> None:
    public = settings.secret("webhook.pub")
    for headers, raw in there.told:
        kind, _, signature = headers["webhook-signature"].partition(",")
        message = b".".join(
            (headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), raw)
        )
        assert kind == "v1a"
        assert verify_ed25519(public, message, base64.b64decode(signature))
    assert len({headers["webhook-id"] for headers, _ in there.told}) == len(there.told)


async def _assert_told_again(world: World, org: str, name: str, events: list[Any]) -> None:
    status, body, _ = await world.call("GET", f"{PATH}/{name}/$status", org)
    assert status == 200, body
    said = values(body)
    assert (said["type"], said["status"]) == ("query-status", "active")
    assert int(said["events-since-subscription-start"]) >= len(events)
    path = f"{PATH}/{name}/$events?eventsSinceNumber=2&eventsUntilNumber=2"
    status, body, _ = await world.call("GET", path, org)
    assert status == 200, body
    assert values(body)["events"] == [events[1]]
    status, _, _ = await world.call("GET", f"{PATH}/{name}/$events?content=full-resource", org)
    assert status == 400
    for other in (f"{PATH}/{name}", f"{PATH}/{name}/$status", f"{PATH}/{name}/$events"):
        assert (await world.call("GET", other, "ong-norte"))[0] == 404


async def test_an_endpoint_that_refuses_the_handshake_ends_in_error_until_its_owner_asks_again(
    world: World,
) -> None:
    org = "ong-norte"
    async with hook(world, org) as there:
        there.answers = 500
        wanted = subscription(org, f"{there.base}/x", criteria=f"Task?requester={org}")
        _, body, headers = await world.call("POST", PATH, org, wanted)
        body = await standing(world, org, body["id"], "error")
        assert body["error"] == "endpoint-refused"
        there.answers = 200
        again = {**body, "status": "requested"}
        path = f"{PATH}/{body['id']}"
        assert (await world.call("PUT", path, org, again))[0] == 428
        status, body, headers = await world.call("PUT", path, org, again, If_Match=headers["etag"])
        assert (status, body["status"], headers["etag"]) == (200, "requested", 'W/"2"'), body
        stale = await world.call("PUT", path, org, again, If_Match='W/"1"')
        assert stale[0] == 412
        await standing(world, org, body["id"], "active")
        status, found, _ = await world.call("GET", f"{PATH}?status=active", org)
        assert [e["resource"]["id"] for e in found["entry"]] == [body["id"]]
        there.answers = 410
        await world.refer(person=person(72))
        await standing(world, org, body["id"], "off")
        assert (await world.call("DELETE", path, org))[0] == 204
        assert (await world.call("DELETE", path, org))[0] == 204
        assert (await world.call("GET", path, org))[0] == 410


async def test_what_was_not_taken_is_told_again_as_the_same(world: World) -> None:
    org = "refugio-sur"
    async with hook(world, org) as there:
        wanted = subscription(org, f"{there.base}/x", criteria=f"{OWN}&status=requested")
        _, body, _ = await world.call("POST", PATH, org, wanted)
        await standing(world, org, body["id"], "active")
        there.answers = 500
        await world.refer(person=person(73))
        await there.until("event-notification", 2)
        there.answers = 200
        await there.until("event-notification", 3)
        await standing(world, org, body["id"], "active")
        told = [
            (headers["webhook-id"], values(orjson.loads(raw))["events"])
            for headers, raw in there.told
            if b"event-notification" in raw
        ]
        assert all(one == told[0] for one in told)


OWN = "Task?owner=Organization/refugio-sur"


async def test_a_quiet_subscription_shows_a_heartbeat(world: World) -> None:
    org = "refugio-sur"
    async with hook(world, org) as there:
        wanted = subscription(org, f"{there.base}/x")
        beat = [{"url": notification.HEARTBEAT, "valueUnsignedInt": 10}]
        wanted["channel"]["extension"] = beat
        _, body, _ = await world.call("POST", PATH, org, wanted, Idempotency_Key="once")
        _, same, _ = await world.call("POST", PATH, org, wanted, Idempotency_Key="once")
        assert same["id"] == body["id"]
        await standing(world, org, body["id"], "active")
        await world.admin.execute(
            "update delivery.subscription set heard_at = heard_at - interval '11 seconds'"
            " where subscription_id = $1::uuid",
            body["id"],
        )
        await there.until("heartbeat")


async def test_numbers_have_no_gaps_whoever_notes_and_whoever_fails(
    world: World, pg: servers.Databases
) -> None:
    referral, sub = uuid4(), _registered("refugio-sur")
    await world.admin.execute(
        "insert into delivery.task (task_id, kind, case_ref, referral_ref, to_org, purpose,"
        " source_org, confidentiality, version, state)"
        " values ($1, 'content', $1, $1, 'refugio-sur', 'x', 'ong-norte', 'x', 1, 'done')",
        referral,
    )
    pool = await asyncpg.create_pool(pg.dsn("delivery"), min_size=0, max_size=6)

    async def note(version: int) -> None:
        event = _changed(referral, version)
        async with pool.acquire() as conn, conn.transaction():
            await log.note(conn, [event, event], {sub.subscription_id: sub}, b"k" * 32)
            if version % 3 == 0:
                raise ZeroDivisionError

    done = await asyncio.gather(*(note(n) for n in range(1, 31)), return_exceptions=True)
    assert sum(isinstance(one, ZeroDivisionError) for one in done) == 10
    rows = await world.admin.fetch(
        "select number, at from delivery.subscription_event where subscription_id = $1"
        " order by number",
        sub.subscription_id,
    )
    assert [row["number"] for row in rows] == list(range(1, 41))
    assert all(row["at"] != NOW and NOW - row["at"] < timedelta(seconds=1) for row in rows)
    await pool.close()


NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def _registered(org: str) -> Subscription:
    return Subscription(
        subscription_id=uuid4(),
        org=org,
        version=1,
        side="to",
        statuses=frozenset(),
        endpoint="https://refugio.example/x",
        heartbeat=300,
        most=20,
        ends=None,
        active=True,
        written_at=NOW,
    )


def _changed(referral: UUID, version: int) -> ReferralStatusChanged:
    return ReferralStatusChanged(
        event_id=uuid4(),
        occurred_at=NOW,
        case_ref=referral,
        source_org="refugio-sur",
        correlation_id=referral,
        codelist_version=1,
        confidentiality="restricted",
        referral_ref=referral,
        version=version,
        transition="T08",
        from_status="delivered",
        to_status="accepted",
        actor_org="refugio-sur",
        synthesised=False,
    )


async def test_what_a_subscription_may_not_say_is_refused_by_name(world: World) -> None:
    org = "refugio-sur"
    async with hook(world, org) as there:
        url = f"{there.base}/x"
        good = subscription(org, url)
        channel = good["channel"]
        full = {"extension": [{"url": notification.CONTENT, "valueCode": "full-resource"}]}
        wrong: list[tuple[dict[str, Any], str, str]] = [
            ({"criteria": "Task?status=requested"}, "filter", "Subscription.criteria"),
            ({"criteria": "Task?owner=ong-norte"}, "filter", "Subscription.criteria"),
            ({"criteria": f"Task?owner={org}&patient=1"}, "filter", "Subscription.criteria"),
            ({"criteria": f"Patient?owner={org}"}, "filter", "Subscription.criteria"),
            ({"channel": channel | {"_payload": full}}, "content", "Subscription.channel.payload"),
            (
                {"channel": channel | {"endpoint": "https://elsewhere.example/x"}},
                "endpoint",
                "Subscription.channel.endpoint",
            ),
            (
                {"channel": channel | {"endpoint": f"{url}?token=1"}},
                "endpoint",
                "Subscription.channel.endpoint",
            ),
            (
                {"channel": channel | {"header": ["Authorization: Bearer 1"]}},
                "element",
                "Subscription.channel.header",
            ),
            (
                {"channel": channel | {"type": "websocket"}},
                "not-in-list",
                "Subscription.channel.type",
            ),
            ({"status": "active"}, "not-in-list", "Subscription.status"),
            ({"end": "2020-01-01T00:00:00Z"}, "due-past", "Subscription.end"),
            ({"contact": [{"value": "1"}]}, "element", "Subscription.contact"),
            ({"María": 1}, "unknown-element", "Subscription"),
        ]
        for change, rule, field in wrong:
            status, body, _ = await world.call("POST", PATH, org, good | change)
            issue = body["issue"][0]
            said = (issue["details"]["coding"][1]["code"], issue["expression"])
            assert said == (rule, [field]), (change, body)
            assert status in (400, 422)
        status, _, _ = await world.call("POST", PATH, org, good, If_None_Exist="url=x")
        assert status == 400
