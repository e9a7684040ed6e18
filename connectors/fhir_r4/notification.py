"""Notifications of a rest-hook Subscription, as the R4 backport of topic subscriptions says. Pure.

It guards that a notification names what changed by the reader's own ids and holds nothing else
(`id-only`). Which events a subscription has, and sending them, are left to the services.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

Resource = dict[str, Any]
Kind = Literal["handshake", "heartbeat", "event-notification", "query-status", "query-event"]
_GUIDE: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
PROFILE: Final = f"{_GUIDE}/backport-subscription"
FILTER: Final = f"{_GUIDE}/backport-filter-criteria"
CONTENT: Final = f"{_GUIDE}/backport-payload-content"
HEARTBEAT: Final = f"{_GUIDE}/backport-heartbeat-period"
TIMEOUT: Final = f"{_GUIDE}/backport-timeout"
MAX_COUNT: Final = f"{_GUIDE}/backport-max-count"
OPERATION: Final = (
    "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened:
    """One numbered event: its instant as the reader may know it, and the reader's Task.

    Without a Task it is about something that the reader was never told of, and only has a number.
    """

    number: int
    at: str
    task: UUID | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a subscription stands; `url` is the hub's FHIR base, `base` its canonical one."""

    subscription: UUID
    url: str
    base: str
    status: str
    last_number: int
    """Events since it began."""


def topic(base: str) -> str:
    """The one topic there is: the subscriber's own Tasks change."""
    return f"{base}/SubscriptionTopic/referral"


def status_of(standing: Standing, kind: Kind, events: Sequence[Happened] = ()) -> Resource:
    """The Parameters of a notification or of `$status`."""
    reference = f"{standing.url}/Subscription/{standing.subscription}"
    parameters: list[Resource] = [
        {"name": "subscription", "valueReference": {"reference": reference}},
        {"name": "topic", "valueCanonical": topic(standing.base)},
        {"name": "status", "valueCode": standing.status},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": str(standing.last_number)},
    ]
    parameters += [_event(standing, event) for event in events]
    return {
        "resourceType": "Parameters",
        "meta": {"profile": [f"{_GUIDE}/backport-subscription-status-r4"]},
        "parameter": parameters,
    }


def _event(standing: Standing, event: Happened) -> Resource:
    part: list[Resource] = [
        {"name": "event-number", "valueString": str(event.number)},
        {"name": "timestamp", "valueInstant": event.at},
    ]
    if event.task is not None:
        reference = {"reference": f"{standing.url}/Task/{event.task}"}
        part.append({"name": "focus", "valueReference": reference})
    return {"name": "notification-event", "part": part}


def notification(
    standing: Standing, kind: Kind, events: Sequence[Happened], *, at: str, entry: UUID
) -> Resource:
    """The Bundle that is sent, or that `$events` answers with; `entry` is a fresh id."""
    status = {**status_of(standing, kind, events), "id": str(entry)}
    return {
        "resourceType": "Bundle",
        "meta": {"profile": [f"{_GUIDE}/backport-subscription-notification-r4"]},
        "type": "history",
        "timestamp": at,
        "entry": [
            {
                "fullUrl": f"urn:uuid:{entry}",
                "resource": status,
                "request": {
                    "method": "GET",
                    "url": f"{standing.url}/Subscription/{standing.subscription}/$status",
                },
                "response": {"status": "200"},
            }
        ],
    }
