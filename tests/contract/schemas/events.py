"""Builders for the tests of the schemas: a record from JSON, from its example, or at random."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from schemas import models
from schemas.avsc import is_event, sources
from schemas.check import FORMATS
from schemas.codes import codes

EXAMPLES = Path(models.__file__).parent / "examples"
"""Folder of the committed examples, one subfolder per schema file."""


def example_files() -> list[Path]:
    """Every committed example."""
    return sorted(EXAMPLES.glob("*/*.json"))


def example(stem: str) -> Any:
    """The first example of a schema file."""
    file = min((EXAMPLES / stem).glob("*.json"))
    return from_json(stem, json.loads(file.read_text(encoding="utf-8")))


def from_json(stem: str, plain: Mapping[str, Any]) -> Any:
    """The record of a JSON object; KeyError when a field is missing."""
    return _record(sources()[stem], plain)


def _record(schema: Mapping[str, Any], plain: Mapping[str, Any]) -> Any:
    values = {f["name"]: _value(f["type"], plain[f["name"]]) for f in schema["fields"]}
    assert plain.keys() == values.keys(), "an example has fields that its schema lacks"
    return getattr(models, schema["name"])(**values)


def _value(kind: Any, plain: Any) -> Any:
    if isinstance(kind, list):
        return None if plain is None else _value(kind[1], plain)
    spec = {"type": kind} if isinstance(kind, str) else kind
    readers: dict[str, Callable[[Any], Any]] = {
        "uuid": UUID,
        "timestamp-millis": datetime.fromisoformat,
        "bytes": bytes.fromhex,
        "record": lambda p: _record(spec, p),
        "array": lambda p: tuple(_value(spec["items"], x) for x in p),
    }
    read = readers.get(spec.get("logicalType", spec["type"]))
    return plain if read is None else read(plain)


def records(stem: str) -> st.SearchStrategy[Any]:
    """Any record of a schema file that the codec must accept."""
    schema = sources()[stem]
    drawn = _drawn_record(schema)
    if not is_event(schema):
        return drawn
    sealable = {f["name"]: "seals" in f for f in schema["fields"] if f["class"] == "sealed"}
    return drawn.map(lambda e: _consistent(e, sealable))


def _consistent(event: Any, sealable: Mapping[str, bool]) -> Any:
    """Purpose and sealed bytes only where the type has something to seal."""
    changed = dict(vars(event))
    for name, may in sealable.items():
        changed[name] = changed[name] if may else None
    if "purpose" in changed:
        changed["purpose"] = "service_referral" if sealable.get("facts") else None
    return type(event)(**changed)


def _drawn_record(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    cls = getattr(models, schema["name"])
    return st.builds(cls, **{f["name"]: _drawn(f["type"]) for f in schema["fields"]})


def _drawn(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, list):
        return st.none() | _drawn(kind[1])
    spec = {"type": kind} if isinstance(kind, str) else kind
    if "codes" in spec:
        return st.sampled_from(codes(spec["codes"]))
    if "format" in spec:
        return st.from_regex(FORMATS[spec["format"]], fullmatch=True)
    start = datetime(1970, 1, 1, tzinfo=UTC)
    simple: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "uuid": lambda: st.uuids(version=4),
        "timestamp-millis": lambda: st.integers(0, 1 << 42).map(
            lambda ms: start + timedelta(milliseconds=ms)
        ),
        "int": lambda: st.integers(0, (1 << 31) - 1),
        "long": lambda: st.integers(0, (1 << 63) - 1),
        "boolean": st.booleans,
        "bytes": lambda: st.binary(max_size=300),
        "array": lambda: st.lists(_drawn(spec["items"]), max_size=4).map(tuple),
        "record": lambda: _drawn_record(spec),
    }
    return simple[spec.get("logicalType", spec["type"])]()
