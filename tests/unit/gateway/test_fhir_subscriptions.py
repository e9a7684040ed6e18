"""What a Subscription may say, and what delivery makes of events, without a server."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.subscription import Subscription as Resource

from connectors.fhir_r4 import notification
from connectors.sdk.egress import private_networks
from services.gateway.subscriptions import domain
from services.gateway.subscriptions.domain import Row, Rules
from services.kit.errors import Refused
from services.kit.subscriptions import Subscription

BASE = "https://cauce.example/fhir"
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
RULES = Rules(
    org="refugio-sur",
    base=BASE,
    origins=frozenset({("https", "refugio.example", None)}),
    private=(),
    now=NOW,
)
FILTER = {"extension": [{"url": notification.FILTER, "valueString": "Task?owner=refugio-sur"}]}


def document(**changes: Any) -> dict[str, Any]:
    channel = {
        "type": "rest-hook",
        "endpoint": "https://refugio.example/hooks",
        "payload": "application/fhir+json",
        "_payload": {"extension": [{"url": notification.CONTENT, "valueCode": "id-only"}]},
    }
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "x",
        "criteria": "Task?owner=Organization/refugio-sur&status=requested,cancelled",
        "channel": channel,
    } | changes


def row(wanted: domain.Wanted) -> Row:
    return Row(
        subscription_id=uuid4(),
        org="refugio-sur",
        version=3,
        wanted=wanted,
        written_at=NOW,
        state="error",
        fault="endpoint-refused",
        last_number=2,
    )


def test_a_filter_names_the_side_and_the_statuses_of_a_referral() -> None:
    wanted = domain.read(document(), RULES, created=True)
    assert wanted.side == "to"
    assert {"sent", "delivery_failed", "cancelled", "revoked", "expired"} == set(wanted.statuses)
    assert wanted.heartbeat == 300
    topic = document(criteria=notification.topic(BASE), _criteria=FILTER)
    assert domain.read(topic, RULES, created=True).statuses == ()


def test_what_is_shown_can_be_written_back_and_means_the_same() -> None:
    wanted = domain.read(document(end="2027-01-01T00:00:00Z"), RULES, created=True)
    shown = domain.shown(row(wanted), BASE)
    Resource.model_validate(shown)
    again = domain.read({**shown, "status": "requested"}, RULES, created=False)
    assert again == wanted
    assert "endpoint" not in repr(wanted)


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/hooks",
        "http://refugio.example/hooks",
        "https://refugio.example:8443/hooks",
        "https://a:b@refugio.example/hooks",
        "https://refugio.example/hooks?token=1",
        "https://refugio.example/hooks#x",
        "https://refugio.example.evil.example/",
        "ftp://refugio.example/",
        "https://refugio.example:99999/",
    ],
)
def test_only_an_address_of_the_record_is_called(url: str) -> None:
    wrong = document()
    wrong["channel"]["endpoint"] = url
    with pytest.raises(Refused, match="subscription-invalid/endpoint"):
        domain.read(wrong, RULES, created=True)


def test_a_private_network_of_the_sandbox_may_be_called_without_tls() -> None:
    rules = Rules(
        org="refugio-sur",
        base=BASE,
        origins=frozenset({("http", "127.0.0.1", 8091)}),
        private=private_networks("127.0.0.0/8"),
        now=NOW,
    )
    wanted = document()
    wanted["channel"]["endpoint"] = "http://127.0.0.1:8091/hooks"
    assert domain.read(wanted, rules, created=True).endpoint.endswith("/hooks")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": 1}, "structure/wrong-type"),
        ({"reason": None}, "required|null-value|structure"),
        ({"criteria": "Task?owner=refugio-sur&owner=refugio-sur"}, "filter"),
        ({"criteria": "Task?owner=refugio-sur&requester=refugio-sur"}, "filter"),
        ({"criteria": "Task?owner=refugio-sur&status=x"}, "not-in-list"),
        ({"criteria": notification.topic(BASE)}, "filter"),
        ({"_criteria": FILTER}, "filter"),
        ({"_criteria": {"extension": [{"url": "x", "valueString": "y"}]}}, "extension"),
        ({"end": "2026-05-04"}, "structure"),
        ({"extension": []}, "unsupported|structure"),
    ],
)
def test_everything_else_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused, match=code):
        domain.read(document(**change), RULES, created=True)


def test_a_notification_names_ids_alone() -> None:
    standing = notification.Standing(
        subscription=UUID(int=1), url="https://hub/fhir", base=BASE, status="active", last_number=7
    )
    happened = [notification.Happened(number=7, at="2026-05-04T12:00:00.000Z", task=UUID(int=2))]
    told = notification.notification(
        standing, "event-notification", happened, at="2026-05-04T12:00:01.000Z", entry=UUID(int=3)
    )
    Bundle.model_validate(told)
    names = [p["name"] for p in told["entry"][0]["resource"]["parameter"]]
    assert names == [
        "subscription",
        "topic",
        "status",
        "type",
        "events-since-subscription-start",
        "notification-event",
    ]


def test_a_subscription_wants_its_side_and_its_statuses() -> None:
    wanted = Subscription(
        subscription_id=uuid4(),
        org="refugio-sur",
        version=1,
        side="to",
        statuses=frozenset({"sent"}),
        endpoint="https://refugio.example/x",
        heartbeat=300,
        most=20,
        ends=NOW + timedelta(days=1),
        active=True,
        written_at=NOW,
    )
    assert wanted.wants("to", "sent")
    assert not wanted.wants("from", "sent")
    assert not wanted.wants("to", "accepted")
    assert "refugio.example" not in repr(wanted)
