"""Refusals of the FHIR surface beside referrals: subscriptions, and people by an identifier."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

from connectors.fhir_r4.notification import CONTENT
from tests.support.refusals import Case, Change, Make, Request, in_body
from tests.support.refusals_wire import case
from tests.support.refusals_world import World

SUBSCRIBER = "casa-otra"
HOOK = "https://casa-otra.example/hooks"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_REGISTERED = """
insert into gateway.subscription (subscription_id, org, side, endpoint, heartbeat, most, active,
    written_at, deleted_at)
values ($1, $2, 'to', $3, 300, 20, false, clock_timestamp() - interval '1 minute',
    case when $4 then clock_timestamp() end)
"""


async def prepare_subscriptions(world: World) -> None:
    """An address in the subscriber's record, a subscription that is off, and one that is gone."""

    def connect(record: dict[str, Any]) -> None:
        record["connector"] = {
            "name": "fhir_r4",
            "base_url": "https://casa-otra.example/fhir",
            "token_url": "",
            "client_id": "",
            "answers": "patch",
            "mapping_version": 1,
        }

    await world.change(SUBSCRIBER, connect)
    for name in ("off", "gone"):
        made = await register_subscription(world, SUBSCRIBER, gone=name == "gone")
        world.known[f"subscription {name}"] = made


async def register_subscription(world: World, org: str, *, gone: bool = False) -> UUID:
    """One that is off, and delivery knows it; or one that was deleted."""
    made = uuid4()
    await world.admin.execute(_REGISTERED, made, org, HOOK, gone)
    off = "select from delivery.subscription where subscription_id = $1 and state = 'off'"
    for _ in range(200):
        if gone or await world.rows(off, made):
            return made
        await asyncio.sleep(0.05)
    raise AssertionError("the subscription is not off")


# --- requests that are accepted ---------------------------------------------------------------


def subscribes(world: World, number: int) -> Any:
    """`POST /fhir/Subscription`."""
    content = {"extension": [{"url": CONTENT, "valueCode": "id-only"}]}
    body = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "x",
        "criteria": f"Task?owner=Organization/{SUBSCRIBER}",
        "channel": {
            "type": "rest-hook",
            "endpoint": HOOK,
            "payload": "application/fhir+json",
            "_payload": content,
        },
    }
    return Request("POST", "/fhir/Subscription", SUBSCRIBER, body)


def reads_subscription(world: World, number: int) -> Any:
    """`GET /fhir/Subscription/{id}`."""
    return Request("GET", f"/fhir/Subscription/{world.known['subscription off']}", SUBSCRIBER)


def finds_a_person(world: World, number: int) -> Any:
    """`POST /fhir/Patient/_search`."""
    body = b"identifier=urn%3Aeste%7C1"
    return Request("POST", "/fhir/Patient/_search", "ong-este", body, dict(FORM))


# --- changes ----------------------------------------------------------------------------------


def _of_channel(**elements: Any) -> Change:
    return in_body(lambda document: document["channel"].update(elements))


def _by_url(world: World, request: Any) -> None:
    request.method, request.body = "GET", None
    request.path = "/fhir/Patient?identifier=zzqx"


def _of_gone(world: World, request: Any) -> None:
    request.path = f"/fhir/Subscription/{world.known['subscription gone']}"


def _row(name: str, code: str, rule: str, at: str, make: Make, change: Change) -> Case:
    return case(name, code, rule, at, make, change, kept=False)


_FULL = {"extension": [{"url": CONTENT, "valueCode": "full-resource"}]}

FHIR_CASES: tuple[Case, ...] = (
    _row("subscription to everybody's Tasks", "subscription-invalid", "filter",
         "Subscription.criteria", subscribes,
         in_body(lambda document: document.update(criteria="Task?status=requested"))),
    _row("subscription to whole resources", "subscription-invalid", "content",
         "Subscription.channel.payload", subscribes, _of_channel(_payload=_FULL)),
    _row("subscription to an address elsewhere", "subscription-invalid", "endpoint",
         "Subscription.channel.endpoint", subscribes,
         _of_channel(endpoint="https://zzqx.example/")),
    _row("subscription with a secret", "unsupported", "element", "Subscription.channel.header",
         subscribes, _of_channel(header=["Authorization: zzqx"])),
    _row("subscription that was deleted", "gone", "resource", "", reads_subscription, _of_gone),
    _row("person by an identifier in the URL", "not-supported", "identifier-in-url",
         "Patient.identifier", finds_a_person, _by_url),
)  # fmt: skip
