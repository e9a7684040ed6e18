"""Events to bytes and back; the framing of a record on the log is decided here and nowhere else.

A frame is the Confluent wire format: `00`, the schema id as four bytes, the Avro datum. The datum
begins with the position in the key (`case_seq` or `key_seq`) and, on gated events, ends with the
two unions of sealed facts, so an event is encoded before its position is known and `frame` puts
the parts together without decoding. Guards that nothing but codes, ids, times and sealed bytes is
written (`check`). It seals nothing: facts arrive as ciphertext.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from struct import Struct
from types import MappingProxyType
from typing import Any, ClassVar, Final, cast
from uuid import UUID

import fastavro

from schemas import models
from schemas.avsc import Schema, released, sources, subject_of
from schemas.check import Check, check_for
from schemas.models import Event, Facts
from schemas.registry import by_id
from schemas.topics import EventType, event_types

_HEADER: Final = Struct(">bi")
_SEALED: Final = ("facts", "stats_facts")
_MAX_SEQ: Final = (1 << 63) - 1


class EncodeError(ValueError):
    """The event may not be written: `field` and `rule` say why, the value is never repeated."""

    def __init__(self, field_name: str, rule: str) -> None:
        super().__init__(f"{field_name}: {rule}")
        self.field = field_name
        self.rule = rule


class DecodeError(ValueError):
    """The bytes are no event of ours; `rule` is one of the closed list in `RULES`."""

    RULES: ClassVar = ("frame", "schema-unknown", "datum", "trailing-bytes", "wrong-record")

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """An event ready for `bus.put`: `body` lacks the leading position and the trailing facts."""

    event_type: str
    topic: str
    schema_id: int
    key: UUID
    event_id: UUID
    purpose: str | None
    body: bytes
    facts: bytes | None = field(default=None, repr=False)
    stats_facts: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Fields of one class that need work between a dataclass and the dict fastavro wants."""

    cls: type[Any]
    arrays: tuple[str, ...]
    records: tuple[tuple[str, "_Shape"], ...]

    def thaw(self, event: object) -> dict[str, Any]:
        if not self.records:
            return vars(event)
        plain = dict(vars(event))
        for name, inner in self.records:
            plain[name] = [inner.thaw(v) for v in plain[name]]
        return plain

    def freeze(self, plain: dict[str, Any]) -> Any:
        for name in self.arrays:
            plain[name] = tuple(plain[name])
        for name, inner in self.records:
            plain[name] = tuple(inner.freeze(v) for v in plain[name])
        return self.cls(**plain)


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that is known beforehand about one record; `event` is None for a facts record."""

    schema_id: int
    shape: _Shape
    body: Any
    checks: tuple[tuple[str, Check], ...]
    event: EventType | None


def encode(event: Event) -> Encoded:
    """Check and encode an event; EncodeError names the field and rule that forbid it."""
    plan = _plans()[type(event).__name__]
    info = plan.event
    if info is None:
        raise EncodeError("event", "not-an-event")
    facts = getattr(event, "facts", None)
    stats = getattr(event, "stats_facts", None)
    purpose = getattr(event, "purpose", None)
    _check(plan, event)
    if purpose is not None and info.facts is None:
        raise EncodeError("purpose", "null-without-facts")
    if facts is not None and info.facts is None:
        raise EncodeError("facts", "nothing-to-seal")
    if purpose is None and facts is not None:
        raise EncodeError("purpose", "required-with-facts")
    if stats is not None and info.stats_facts is None:
        raise EncodeError("stats_facts", "nothing-to-seal")
    return Encoded(
        event_type=info.type,
        topic=info.topic,
        schema_id=plan.schema_id,
        key=getattr(event, info.key),
        event_id=event.event_id,
        purpose=purpose,
        body=_write(plan, event),
        facts=facts,
        stats_facts=stats,
    )


def frame(
    schema_id: int, seq: int, body: bytes, facts: bytes | None = None, stats: bytes | None = None
) -> bytes:
    """The record value for the log; `facts`, `stats` only where the type has these fields."""
    if not 0 < seq <= _MAX_SEQ:
        raise EncodeError("seq", "positive-long")
    head = _HEADER.pack(0, schema_id) + _varint(seq) + body
    if _has_facts(schema_id):
        return head + _union(facts) + _union(stats)
    if facts is not None or stats is not None:
        raise EncodeError("facts", "nothing-to-seal")
    return head


def peek(framed: bytes) -> tuple[int, int]:
    """(schema id, position in the key) of a frame, without decoding; DecodeError if it is none."""
    schema_id = _schema_id(framed)
    value = shift = 0
    for byte in framed[5:15]:
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return schema_id, (value >> 1) ^ -(value & 1)
        shift += 7
    raise DecodeError("frame")


def decode(framed: bytes) -> Event:
    """The event in a frame, whatever released version wrote it; DecodeError for anything else."""
    return cast("Event", _read(framed, events=True))


def encode_facts(facts: Facts) -> bytes:
    """A facts record as a Confluent frame, the plaintext to be sealed; EncodeError as `encode`."""
    plan = _plans()[type(facts).__name__]
    if plan.event is not None:
        raise EncodeError("facts", "not-facts")
    _check(plan, facts)
    return _HEADER.pack(0, plan.schema_id) + _write(plan, facts)


def decode_facts(framed: bytes) -> Facts:
    """The facts record in an unsealed plaintext; DecodeError for anything else."""
    return cast("Facts", _read(framed, events=False))


def _check(plan: _Plan, record: object) -> None:
    values = vars(record)
    for name, check in plan.checks:
        if not check(values[name]):
            raise EncodeError(name, "not-allowed-here")


def _write(plan: _Plan, record: object) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, plan.body, plan.shape.thaw(record))
    return out.getvalue()


def _read(framed: bytes, *, events: bool) -> Event | Facts:
    schema_id = _schema_id(framed)
    reader = _readers().get(schema_id)
    if reader is None:
        raise DecodeError("schema-unknown")
    writer, wanted, plan = reader
    if (plan.event is not None) is not events:
        raise DecodeError("wrong-record")
    data = io.BytesIO(framed)
    data.seek(_HEADER.size)
    try:
        plain = fastavro.schemaless_reader(data, writer, wanted)
        record = plan.shape.freeze(cast("dict[str, Any]", plain))
    except Exception:  # noqa: BLE001 -- whatever foreign bytes provoke; its text may quote them
        raise DecodeError("datum") from None
    if data.tell() != len(framed):
        raise DecodeError("trailing-bytes")
    return cast("Event | Facts", record)


def _schema_id(framed: bytes) -> int:
    if len(framed) <= _HEADER.size or framed[0] != 0:
        raise DecodeError("frame")
    return cast("int", _HEADER.unpack_from(framed)[1])


def _varint(value: int) -> bytes:
    rest = value << 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _union(sealed: bytes | None) -> bytes:
    return b"\x00" if sealed is None else b"\x02" + _varint(len(sealed)) + sealed


@cache
def _has_facts(schema_id: int) -> bool:
    if schema_id not in by_id():
        raise EncodeError("schema_id", "not-released")
    return any(f["name"] in _SEALED for f in by_id()[schema_id].schema["fields"])


@cache
def _plans() -> Mapping[str, _Plan]:
    by_record = {e.record: e for e in event_types().values()}
    found = {s["name"]: _plan(s, by_record.get(subject_of(s))) for s in sources().values()}
    return MappingProxyType(found)


def _plan(schema: Schema, event: EventType | None) -> _Plan:
    fields = schema["fields"]
    checks = tuple((f["name"], check_for(f["type"])) for f in fields)
    if event is not None:
        fields = [f for f in fields[1:] if f["name"] not in _SEALED]
    body = fastavro.parse_schema({**schema, "fields": fields})
    schema_id = released()[subject_of(schema)][-1].id
    return _Plan(schema_id, _shape(schema), body, checks, event)


def _shape(schema: Schema) -> _Shape:
    arrays = [f for f in schema["fields"] if _items(f) is not None]
    records = [(f["name"], _shape(_items(f))) for f in arrays if _is_record(_items(f))]
    plain = tuple(f["name"] for f in arrays if not _is_record(_items(f)))
    return _Shape(getattr(models, schema["name"]), plain, tuple(records))


def _items(spec: Mapping[str, Any]) -> Any:
    kind = spec["type"]
    return kind["items"] if isinstance(kind, dict) and kind["type"] == "array" else None


def _is_record(kind: Any) -> bool:
    return isinstance(kind, dict) and kind["type"] == "record"


@cache
def _readers() -> Mapping[int, tuple[Any, Any, _Plan]]:
    """Writer schema, reader schema (None where it is the same) and plan by schema id."""
    now = {subject_of(s): s for s in sources().values()}
    result = {}
    for r in by_id().values():
        current = now.get(r.subject)
        if current is not None:
            plan = _plans()[current["name"]]
            wanted = None if r.id == plan.schema_id else fastavro.parse_schema(current)
            result[r.id] = (fastavro.parse_schema(r.schema), wanted, plan)
    return MappingProxyType(result)
