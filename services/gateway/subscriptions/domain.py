"""What a Subscription may say and how it reads. Pure.

It guards that a subscription is about the subscriber's own Tasks, that nothing but ids is asked
for, that its endpoint is an address of the partner's own record, and that no secret and no free
text of the partner is kept. Registering is the store's; numbering and sending are delivery's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from connectors.fhir_r4.inbound.structure import validate
from connectors.fhir_r4.inbound.tables import fhir_names
from connectors.fhir_r4.notification import (
    CONTENT,
    FILTER,
    HEARTBEAT,
    MAX_COUNT,
    PROFILE,
    TIMEOUT,
    topic,
)
from connectors.fhir_r4.outbound.content import present
from connectors.fhir_r4.status import task_views
from connectors.sdk.egress import Network, check_url
from connectors.sdk.errors import Refuse
from connectors.sdk.report import Report
from services.kit.errors import Refused
from services.kit.partner import Partner

JSON: Final = "application/fhir+json"
READ: Final = frozenset(
    {"resourceType", "id", "meta", "status", "end", "reason", "criteria", "_criteria", "channel"}
    | {"error"}
)
"""Elements that are read; `error` is the hub's own and may stand where it was read."""
OF_CHANNEL: Final = frozenset({"extension", "type", "endpoint", "payload", "_payload"})
SHORTEST_HEARTBEAT: Final = 10
HEARTBEAT_SECONDS: Final = 300
LONGEST_HEARTBEAT: Final = 86400
CALL_SECONDS: Final = 2
"""How long a call may take; a subscriber may allow more."""
MOST_EVENTS: Final = 20
CAP_EVENTS: Final = 50
WRITABLE: Final = {"requested": True, "active": True, "off": False}
"""Status as written → whether the subscription is to run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A subscription as it is asked for."""

    side: str
    statuses: tuple[str, ...]
    shown_statuses: tuple[str, ...]
    endpoint: str = field(repr=False)
    heartbeat: int
    most: int
    ends: datetime | None
    active: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A subscription as it is registered, and how delivery says it stands."""

    subscription_id: UUID
    org: str
    version: int
    wanted: Wanted
    written_at: datetime
    state: str
    fault: str | None
    last_number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What a subscription of one partner is held against."""

    org: str
    base: str
    origins: frozenset[tuple[str, str, int | None]]
    """Scheme, host and port of every address in the partner's record."""
    private: Sequence[Network]
    now: datetime


def origins(partner: Partner) -> frozenset[tuple[str, str, int | None]]:
    """Where the partner's record says that its systems are."""
    connector = partner.connector
    urls = (connector.base_url, connector.token_url) if connector is not None else ()
    return frozenset(_origin(url) for url in urls if url)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port


def read(document: Mapping[str, Any], rules: Rules, *, created: bool) -> Wanted:
    """The subscription in a document; Refused by the rule that it breaks."""
    _structure(document)
    status = document["status"]
    if status not in WRITABLE or (created and status != "requested"):
        raise Refused.of("code-invalid", "not-in-list", "Subscription.status")
    side, shown = _criteria(document, rules)
    channel = document["channel"]
    heartbeat, most = _channel(channel)
    return Wanted(
        side=side,
        statuses=tuple(sorted(s for s, v in task_views().items() if v.task_status in shown)),
        shown_statuses=tuple(sorted(shown)),
        endpoint=_endpoint(channel.get("endpoint"), rules),
        heartbeat=heartbeat,
        most=most,
        ends=_end(document.get("end"), rules.now),
        active=WRITABLE[status],
    )


def _structure(document: Mapping[str, Any]) -> None:
    if document.get("resourceType") != "Subscription":
        raise Refused.of("structure", "resource-type", "Subscription")
    _only(document, READ, "Subscription", "Subscription")
    report = Report()
    validate(dict(document), "Subscription", report)
    if report.faults:
        raise Refused(report.faults)
    _only(document["channel"], OF_CHANNEL, "SubscriptionChannel", "Subscription.channel")


def _only(node: Mapping[str, Any], known: frozenset[str], kind: str, path: str) -> None:
    for name in node:
        if name in known:
            continue
        if name in fhir_names(kind):
            raise Refused.of("unsupported", "element", f"{path}.{name}")
        raise Refused.of("structure", "unknown-element", path)


def _extensions(node: Any, path: str, known: frozenset[str]) -> dict[str, Any]:
    """Value of each extension by its url; one that is not known is refused."""
    found: dict[str, Any] = {}
    for one in (node or {}).get("extension", []):
        if one.get("url") not in known or one["url"] in found:
            raise Refused.of("unsupported", "extension", f"{path}.extension")
        values = [value for name, value in one.items() if name.startswith("value")]
        found[one["url"]] = values[0] if len(values) == 1 else None
    return found


def _criteria(document: Mapping[str, Any], rules: Rules) -> tuple[str, frozenset[str]]:
    """Whose Tasks (`from` or `to`) and which statuses of them; none named: all."""
    beside = _extensions(document.get("_criteria"), "Subscription.criteria", frozenset({FILTER}))
    text = document["criteria"]
    if text == topic(rules.base):
        text = beside.pop(FILTER, None)
    query = text.removeprefix("Task?") if isinstance(text, str) else ""
    if beside or not isinstance(text, str) or not text.startswith("Task?"):
        _refuse("filter", "Subscription.criteria")
    items = dict(pairs := parse_qsl(query, keep_blank_values=True))
    own = {"owner": "to", "requester": "from"}.keys() & items.keys()
    if len(items) != len(pairs) or len(own) != 1 or items.keys() - own - {"status"}:
        _refuse("filter", "Subscription.criteria")
    name = own.pop()
    if items[name].removeprefix("Organization/") != rules.org:
        _refuse("filter", "Subscription.criteria")
    statuses = frozenset(items["status"].split(",")) if "status" in items else frozenset[str]()
    if statuses - {view.task_status for view in task_views().values()}:
        raise Refused.of("code-invalid", "not-in-list", "Subscription.criteria")
    return ("to" if name == "owner" else "from"), statuses


def _refuse(rule: str, path: str) -> None:
    raise Refused.of("subscription-invalid", rule, path)


def _channel(channel: Mapping[str, Any]) -> tuple[int, int]:
    """Seconds between signs of life, and events in one notification."""
    path = "Subscription.channel"
    if channel["type"] != "rest-hook":
        raise Refused.of("code-invalid", "not-in-list", f"{path}.type")
    content = _extensions(channel.get("_payload"), f"{path}.payload", frozenset({CONTENT}))
    if channel.get("payload") != JSON or content.get(CONTENT) != "id-only":
        _refuse("content", f"{path}.payload")
    said = _extensions(channel, path, frozenset({HEARTBEAT, MAX_COUNT, TIMEOUT}))
    heartbeat = _number(said.get(HEARTBEAT, HEARTBEAT_SECONDS), SHORTEST_HEARTBEAT)
    most = _number(said.get(MAX_COUNT, MOST_EVENTS), 1)
    _number(said.get(TIMEOUT, CALL_SECONDS), CALL_SECONDS)
    return min(heartbeat, LONGEST_HEARTBEAT), min(most, CAP_EVENTS)


def _number(value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise Refused.of("value-invalid", "fixed-value", "Subscription.channel.extension")
    return value


def _endpoint(url: Any, rules: Rules) -> str:
    """The address, if it is one of the partner's record and one that we may call."""
    path = "Subscription.channel.endpoint"
    if not isinstance(url, str):
        raise Refused.of("required", "element", path)
    try:
        check_url(url, rules.private)
        known = _origin(url) in rules.origins and not urlsplit(url).query and len(url) <= 2000
    except (Refuse, ValueError):
        known = False
    if not known:
        _refuse("endpoint", path)
    return url


def _end(text: Any, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None:
        raise Refused.of("structure", "bad-format", "Subscription.end")
    if at <= now:
        raise Refused.of("value-invalid", "due-past", "Subscription.end")
    return at


def filter_of(wanted: Wanted, org: str) -> str:
    """The search that a subscription stands for."""
    party = "owner" if wanted.side == "to" else "requester"
    text = f"Task?{party}=Organization/{org}"
    return f"{text}&status={','.join(wanted.shown_statuses)}" if wanted.shown_statuses else text


def status_of(row: Row) -> str:
    """requested, active, error or off."""
    return row.state if row.wanted.active else "off"


def shown(row: Row, base: str) -> dict[str, Any]:
    """The resource; what the subscriber wrote as its reason is not kept."""
    wanted = row.wanted
    at = row.written_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return present(
        {
            "resourceType": "Subscription",
            "id": str(row.subscription_id),
            "meta": {"versionId": str(row.version), "lastUpdated": at, "profile": [PROFILE]},
            "status": status_of(row),
            "end": wanted.ends.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            if wanted.ends
            else None,
            "reason": "Changes of the subscriber's own referrals",
            "criteria": topic(base),
            "_criteria": _beside(FILTER, "valueString", filter_of(wanted, row.org)),
            "error": row.fault if status_of(row) == "error" else None,
            "channel": {
                "extension": list(_timing(wanted)),
                "type": "rest-hook",
                "endpoint": wanted.endpoint,
                "payload": JSON,
                "_payload": _beside(CONTENT, "valueCode", "id-only"),
            },
        }
    )


def _timing(wanted: Wanted) -> Iterator[dict[str, Any]]:
    yield {"url": HEARTBEAT, "valueUnsignedInt": wanted.heartbeat}
    yield {"url": TIMEOUT, "valueUnsignedInt": CALL_SECONDS}
    yield {"url": MAX_COUNT, "valuePositiveInt": wanted.most}


def _beside(url: str, name: str, value: str) -> dict[str, Any]:
    return {"extension": [{"url": url, name: value}]}
