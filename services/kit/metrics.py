"""The closed list of what is measured.

It guards that no label can name a person or a case: label values come from closed sets, or are
short codes of which at most 64 are taken; everything else is counted as `other`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_CODE: Final = re.compile(r"[a-z][a-z_.-]{0,47}")
_MOST: Final = 64
SERVICES: Final = frozenset(
    "gateway vault consent referral delivery custody relay bus kit".split()  # noqa: SIM905
)
CONSUMERS: Final = SERVICES | {"delivery-directory"}
"""A service's consumer has its name, a second one of a service says what it listens to."""
CODES: Final = None
"""A label whose values are short codes without digits, the first 64 of them."""
AGES: Final = frozenset({"under_1h", "under_1d", "under_7d", "older"})
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One line of the list; `labels` maps a label to its closed values."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Mapping[str, frozenset[str] | None] = field(default_factory=dict)


def _of(values: str) -> frozenset[str]:
    return frozenset(values.split())


_SERVICE: Final = {"service": SERVICES}
METRICS: Final = (
    Metric(
        name="cauce_submissions_total",
        kind="counter",
        help="Submissions by what became of them.",
        labels={"result": _of("accepted refused repeated conflict failed"), "code": CODES},
    ),
    Metric(
        name="cauce_accept_seconds",
        kind="histogram",
        help="From the first byte parsed to the commit.",
    ),
    Metric(
        name="cauce_decisions_total",
        kind="counter",
        help="Consent decisions by rule.",
        labels={"rule": CODES, "allowed": _of("yes no")},
    ),
    Metric(name="cauce_withdrawals_total", kind="counter", help="Withdrawals of consent."),
    Metric(
        name="cauce_referrals",
        kind="gauge",
        help="Referrals by state and time since their last change.",
        labels={"state": CODES, "age": AGES},
    ),
    Metric(
        name="cauce_referrals_closed_total",
        kind="counter",
        help="Referrals by how their loop closed, each once; of all time, told by the leader.",
        labels={"result": _of("answered ended_by_sender expired revoked escalated")},
    ),
    Metric(
        name="cauce_deliveries_total",
        kind="counter",
        help="Deliveries by outcome.",
        labels={"outcome": CODES},
    ),
    Metric(
        name="cauce_delivery_seconds",
        kind="histogram",
        help="Calls of partners, from the first byte written to the answer.",
    ),
    Metric(
        name="cauce_delivery_queue",
        kind="gauge",
        help="Delivery tasks by state.",
        labels={"state": CODES},
    ),
    Metric(
        name="cauce_erasures",
        kind="gauge",
        help="Requests to erase by state.",
        labels={"state": CODES},
    ),
    Metric(
        name="cauce_notices",
        kind="gauge",
        help="Later notices to people that are due, by cause.",
        labels={"cause": frozenset({"emergency", "identity_opened"})},
    ),
    Metric(
        name="cauce_directory_stale",
        kind="gauge",
        help="Services whose capacity was said too long ago to rely on, by organisation.",
        labels={"org": CODES},
    ),
    Metric(
        name="cauce_subscriptions",
        kind="gauge",
        help="Subscriptions of partners, by how they stand.",
        labels={"state": frozenset({"requested", "active", "error", "off"})},
    ),
    Metric(
        name="cauce_webhook_notes",
        kind="gauge",
        help="Notes of changes to partners' webhooks that wait or were given up.",
        labels={"state": frozenset({"queued", "dropped", "failed"})},
    ),
    Metric(
        name="cauce_webhook_calls_total",
        kind="counter",
        help="Calls of partners' webhooks for notes of changes, by what became of them.",
        labels={"outcome": frozenset({"done", "repeated", "dropped", "failed"})},
    ),
    Metric(
        name="cauce_consumer_lag",
        kind="gauge",
        help="Records of the log a consumer has not committed.",
        labels={"consumer": CONSUMERS},
    ),
    Metric(
        name="cauce_event_age_seconds",
        kind="gauge",
        help="Age of the oldest event not yet on the log (0: none waits).",
    ),
    Metric(name="cauce_events_pending", kind="gauge", help="Events not yet on the log."),
    Metric(name="cauce_events_published_total", kind="counter", help="Events put on the log."),
    Metric(
        name="cauce_events_handled_total",
        kind="counter",
        help="Events by what a consumer did with them.",
        labels={
            "consumer": CONSUMERS,
            "result": _of("handled passed duplicate parked ignored filled unreadable"),
        },
    ),
    Metric(
        name="cauce_parked_cases",
        kind="gauge",
        help="Cases that wait for a replay.",
        labels={"consumer": CONSUMERS},
    ),
    Metric(
        name="cauce_faults_total",
        kind="counter",
        help="Faults met, by who met them and their kind.",
        labels={**_SERVICE, "kind": _of("infrastructure data loop")},
    ),
    Metric(
        name="cauce_custody_delay_seconds",
        kind="gauge",
        help="Age of the oldest leaf not yet in a signed checkpoint (0: none waits).",
    ),
    Metric(name="cauce_custody_leaves", kind="gauge", help="Leaves in the signed tree."),
    Metric(
        name="cauce_epochs_missing",
        kind="gauge",
        help="Keystore rows under an epoch key that is missing (alarm above 0).",
    ),
    Metric(
        name="cauce_vault_releases_total",
        kind="counter",
        help="Releases asked of the vault by rule.",
        labels={"rule": CODES},
    ),
    Metric(name="cauce_keys_destroyed_total", kind="counter", help="Keys destroyed."),
    Metric(
        name="cauce_leader",
        kind="gauge",
        help="1 where this process leads.",
        labels={"leader": CODES},
    ),
    Metric(
        name="cauce_log_fields_dropped_total",
        kind="counter",
        help="Log fields left out because they were not allowed.",
    ),
)


class Metrics:
    """The measurements of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._specs = {metric.name: metric for metric in METRICS}
        self._seen: dict[tuple[str, str], set[str]] = {}
        self._reached: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        self._made = {metric.name: self._make(metric) for metric in METRICS}

    def _make(self, spec: Metric) -> Counter | Gauge | Histogram:
        labels = list(spec.labels)
        if spec.kind == "counter":
            return Counter(spec.name, spec.help, labels, registry=self.registry)
        if spec.kind == "gauge":
            return Gauge(spec.name, spec.help, labels, registry=self.registry)
        return Histogram(spec.name, spec.help, labels, buckets=_SECONDS, registry=self.registry)

    def inc(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        child = self._child(name, labels)
        if isinstance(child, Counter):
            child.inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        child = self._child(name, labels)
        if isinstance(child, Gauge):
            child.set(value)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add a duration to a histogram."""
        child = self._child(name, labels)
        if isinstance(child, Histogram):
            child.observe(seconds)

    def reach(self, name: str, total: float, **labels: str) -> None:
        """Bring a counter that is kept elsewhere to its total; it never falls."""
        child, of = self._child(name, labels), self._reached.setdefault(name, {})
        key = tuple(sorted(labels.items()))
        if isinstance(child, Counter) and total >= of.get(key, 0):
            child.inc(total - of.get(key, 0))
            of[key] = total

    def clear(self, name: str) -> None:
        """Forget the label sets of what is computed anew."""
        self._made[name].clear()
        self._reached.pop(name, None)

    def text(self) -> bytes:
        """The exposition format of Prometheus."""
        return generate_latest(self.registry)

    def _child(self, name: str, labels: Mapping[str, str]) -> Counter | Gauge | Histogram:
        made, spec = self._made[name], self._specs[name]
        if not spec.labels:
            return made
        return made.labels(*(self._value(name, label, labels[label]) for label in spec.labels))

    def _value(self, name: str, label: str, value: str) -> str:
        closed = self._specs[name].labels[label]
        if closed is not None:
            return value if value in closed else "other"
        seen = self._seen.setdefault((name, label), set())
        if value in seen:
            return value
        if len(seen) >= _MOST or _CODE.fullmatch(value) is None:
            return "other"
        seen.add(value)
        return value
