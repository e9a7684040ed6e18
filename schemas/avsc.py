"""The `.avsc` files as data: the current ones beside this module and those once released.

Guards that every other module sees the same text under the same id. It judges nothing: `lint`
does.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

Schema = dict[str, Any]
"""One parsed `.avsc` file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """One version of a subject; `text` is the file, `sha256` its digest on the day of release."""

    id: int
    subject: str
    version: int
    file: str
    sha256: str
    text: str = field(repr=False)
    schema: Schema = field(repr=False)


def subject_of(schema: Schema) -> str:
    """Registry subject of a schema: the full name of its record."""
    return f"{schema['namespace']}.{schema['name']}"


def event_type_of(stem: str) -> str:
    """Event type of a file name: `consent_withdrawn` is `consent.withdrawn`."""
    return stem.replace("_", ".", 1)


def is_event(schema: Schema) -> bool:
    """Whether the record stands on a topic by itself (a facts record travels inside one)."""
    return "topic" in schema


def nested_records(schema: Schema) -> Iterator[Schema]:
    """The record and those inside it, inner ones first."""
    for spec in schema["fields"]:
        yield from _records_in(spec["type"])
    yield schema


def _records_in(kind: Any) -> Iterator[Schema]:
    if isinstance(kind, list):
        for branch in kind:
            yield from _records_in(branch)
    elif isinstance(kind, dict):
        if kind["type"] == "record":
            yield from nested_records(kind)
        elif kind["type"] == "array":
            yield from _records_in(kind["items"])


@cache
def sources() -> Mapping[str, Schema]:
    """The current schemas by file stem, in order of name."""
    found = (f for f in files("schemas").iterdir() if f.name.endswith(".avsc"))
    texts = {f.name.removesuffix(".avsc"): f.read_text(encoding="utf-8") for f in found}
    return MappingProxyType({stem: json.loads(texts[stem]) for stem in sorted(texts)})


@cache
def released() -> Mapping[str, tuple[Released, ...]]:
    """Released versions by subject, oldest first."""
    root = files("schemas").joinpath("released")
    index = json.loads(root.joinpath("ids.json").read_text(encoding="utf-8"))
    result = {}
    for subject, rows in index.items():
        texts = [root.joinpath(row["file"]).read_text(encoding="utf-8") for row in rows]
        result[subject] = tuple(
            Released(subject=subject, **row, text=text, schema=json.loads(text))
            for row, text in zip(rows, texts, strict=True)
        )
    return MappingProxyType(result)
