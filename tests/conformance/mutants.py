"""Broken Bundles, made blindly: every element of an accepted one removed, emptied, of another type,
of another value, or with a neighbour that FHIR does not know.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Path = tuple[str | int, ...]
STRANGE = "x-unbekannt"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A changed Bundle: `kind` of change at `path`."""

    kind: str
    path: str
    bundle: Json


def mutants(bundle: Json) -> Iterator[Mutant]:
    """Every mutant of a Bundle; of equal elements in a list only the first is changed."""
    for path, value in _elements(bundle, ()):
        for kind, changed in _changes(value):
            made = copy.deepcopy(bundle)
            node: Any = made
            for step in path[:-1]:
                node = node[step]
            if kind == "removed":
                del node[path[-1]]
            else:
                node[path[-1]] = changed
            yield Mutant(kind=kind, path=_named(bundle, path), bundle=made)


def _changes(value: Any) -> Iterator[tuple[str, Any]]:
    yield "removed", None
    yield "null", None
    if isinstance(value, dict):
        yield "unknown neighbour", {**value, "nachbar": "x"}
        yield "empty", {}
        yield "not an object", "x"
    elif isinstance(value, list):
        yield "empty", []
        yield "not a list", value[0]
        yield "twice", [*value, *value]
    elif isinstance(value, bool):
        yield "text for a boolean", str(value).lower()
    elif isinstance(value, int):
        yield "text for a number", str(value)
        yield "negative", -value - 1
    else:
        yield from _of_text(value)


def _of_text(value: str) -> Iterator[tuple[str, Any]]:
    yield "empty", ""
    yield "number for text", 7
    yield "list for text", [value]
    yield "another value", STRANGE
    yield "outer blanks", f" {value} "
    yield "capitals", value.upper()
    if value[:4].isdigit() and "-" in value:
        yield "no such day", "2026-02-30"
        yield "only a year", value[:4]
        yield "no zone", value[:19].rstrip("Z")
        yield "24 hours", f"{value[:10]}T24:00:00Z"


def _elements(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if path:
        yield path, value
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _elements(item, (*path, name))
    if isinstance(value, list):
        shapes: set[str] = set()
        for number, item in enumerate(value):
            shape = _shape(item)
            if shape not in shapes:
                shapes.add(shape)
                yield from _elements(item, (*path, number))


def _shape(item: Any) -> str:
    if isinstance(item, dict):
        kind = item.get("resource", item).get("resourceType", item.get("url", ""))
        return f"{kind} {sorted(item)}"
    return type(item).__name__


def _named(bundle: Json, path: Path) -> str:
    """A path in FHIR's words: `Consent.provision.type`."""
    if path[0] != "entry" or len(path) < 4 or path[2] != "resource":
        return ".".join(["Bundle", *(str(step) for step in path if isinstance(step, str))])
    kind = bundle["entry"][path[1]]["resource"]["resourceType"]
    return ".".join([kind, *(str(step) for step in path[3:] if isinstance(step, str))])
