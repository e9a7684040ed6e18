"""Topics and event types as the `.avsc` attributes declare them.

Provisioning makes the topics from here, the relay fills its table of types, tests compare who
publishes and who listens. What a field may hold is left to `check` and `lint`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from schemas.avsc import event_type_of, is_event, released, sources, subject_of

_DAY_MS: Final = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic to create; `key` names the event field whose text form is the record key."""

    name: str
    partitions: int
    cleanup_policy: str
    retention_ms: int
    key: str


@dataclass(frozen=True, slots=True)
class EventType:
    """One event type; `facts`, `stats_facts` name the records it may carry sealed."""

    type: str
    record: str
    topic: str
    key: str
    owners: tuple[str, ...]
    consumers: tuple[str, ...]
    gate: str
    schema_id: int
    facts: str | None
    stats_facts: str | None

    @property
    def gated(self) -> bool:
        """Whether it leaves with facts only under live consent; only these have facts fields."""
        return self.gate == "consent"


def retention_ms(text: str) -> int:
    """Milliseconds of `90d`; ValueError for any other form."""
    found = re.fullmatch(r"([1-9][0-9]{0,3})d", text)
    if found is None:
        message = "retention is a number of days, such as 90d"
        raise ValueError(message)
    return int(found[1]) * _DAY_MS


@cache
def topics() -> tuple[Topic, ...]:
    """Every topic by name, once."""
    found = {
        s["topic"]: Topic(
            s["topic"], s["partitions"], s["cleanup"], retention_ms(s["retention"]), s["key"]
        )
        for s in sources().values()
        if is_event(s)
    }
    return tuple(found[name] for name in sorted(found))


@cache
def event_types() -> Mapping[str, EventType]:
    """Every event type by its name."""
    result = {}
    for stem, s in sources().items():
        if is_event(s):
            name, record = event_type_of(stem), subject_of(s)
            seals = {f["name"]: f.get("seals") for f in s["fields"]}
            result[name] = EventType(
                name, record, s["topic"], s["key"], tuple(s["owner"]), tuple(s["consumers"]),
                s["gate"], released()[record][-1].id, seals.get("facts"), seals.get("stats_facts"),
            )  # fmt: skip
    return MappingProxyType(result)


def consumers_of(service: str) -> tuple[EventType, ...]:
    """Event types that a service listens to, by name."""
    return tuple(e for e in event_types().values() if service in e.consumers)
