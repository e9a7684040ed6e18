"""Records of the log before and after decoding, and what can be said of them without a database.

It guards that a record is known by case, position and schema id without being decoded, that the
records of a case are told apart from its gaps and repeats, and that an error is spoken of by its
rule, never by its text.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from uuid import UUID

import asyncpg

from schemas.check import FORMATS
from schemas.codec import DecodeError, decode, peek
from schemas.models import Event
from schemas.registry import by_id
from schemas.topics import event_types

_RULE: Final = FORMATS["name"]
_PLACE: Final = FORMATS["path"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """An event for a handler; `facts` are sealed bytes.

    `case_ref` is the key of its record: on a topic other than `cauce.case`, what that is about.
    """

    event: Event
    event_type: str
    event_id: UUID
    case_ref: UUID
    seq: int
    schema_id: int
    purpose: str | None
    facts: bytes | None = field(default=None, repr=False)
    stats_facts: bytes | None = field(default=None, repr=False)


Handle = Callable[[asyncpg.Connection, Sequence[Received]], Awaitable[None]]
After = Callable[[Sequence[Received]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """Who listens to what. `handle` runs in the transaction of the cursor, with ≤ 64 events;

    `after` runs once it is committed and may only wake others.
    """

    consumer: str
    topic: str
    handle: Handle
    types: frozenset[str]
    after: After | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A record of the log, not yet decoded."""

    topic: str
    partition: int
    offset: int
    case_ref: UUID
    seq: int
    schema_id: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What a replay did: events handled, or the rule that still forbids it."""

    handled: int
    rule: str | None = None


@cache
def type_of(schema_id: int) -> str | None:
    """The event type a released schema belongs to."""
    subject = by_id()[schema_id].subject if schema_id in by_id() else None
    return next((e.type for e in event_types().values() if e.record == subject), None)


def record_of(topic: str, partition: int, offset: int, key: bytes, value: bytes) -> Record:
    """Read case, position and schema of a record without decoding it; DecodeError if unreadable."""
    try:
        case_ref = UUID(key.decode("ascii"))
    except (ValueError, AttributeError):
        raise DecodeError("frame") from None
    schema_id, seq = peek(value)
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        case_ref=case_ref,
        seq=seq,
        schema_id=schema_id,
        value=value,
    )


def received(framed: bytes) -> Received:
    """Decode a frame; DecodeError."""
    event: Any = decode(framed)
    schema_id, seq = peek(framed)
    kind = type_of(schema_id) or ""
    return Received(
        event=event,
        event_type=kind,
        event_id=event.event_id,
        case_ref=getattr(event, event_types()[kind].key),
        seq=seq,
        schema_id=schema_id,
        purpose=getattr(event, "purpose", None),
        facts=getattr(event, "facts", None),
        stats_facts=getattr(event, "stats_facts", None),
    )


@dataclass(slots=True)
class Run:
    """Consecutive events of one case in a batch; `gap` when they are not consecutive."""

    records: list[Record]
    gap: bool = False

    def add(self, record: Record) -> None:
        """Take the next record of the case, unless it is a repeat."""
        last = self.records[-1].seq
        if record.seq > last:
            self.gap |= record.seq != last + 1
            self.records.append(record)


def runs_of(records: Iterable[Record]) -> dict[UUID, Run]:
    """Records by case, sorted by case; repeats inside the batch are dropped."""
    found: dict[UUID, Run] = {}
    for record in records:
        if record.case_ref in found:
            found[record.case_ref].add(record)
        else:
            found[record.case_ref] = Run([record])
    return dict(sorted(found.items()))


def rule_of(error: BaseException) -> tuple[str, str | None]:
    """(rule, field) an error names by itself; never its text."""
    first = error
    faults = getattr(error, "faults", None)
    if isinstance(faults, Sequence) and faults:
        first = faults[0]
    rule = getattr(first, "rule", None) or getattr(first, "code", None) or _sqlstate(error)
    place = getattr(first, "field", None)
    return (
        rule if isinstance(rule, str) and _RULE.fullmatch(rule) else "not-handled",
        place if isinstance(place, str) and _PLACE.fullmatch(place) else None,
    )


def class_of(error: BaseException) -> str:
    """`decode`, `data` (the database refused the values) or `rule`."""
    if isinstance(error, DecodeError):
        return "decode"
    return "data" if isinstance(error, asyncpg.PostgresError) else "rule"


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return f"sqlstate-{state.lower()}" if isinstance(state, str) else None
