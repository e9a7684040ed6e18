"""Whether a value may stand in a field: the closed form of everything that crosses a topic.

Guards that no field can carry text: a string is a code of its list or has its format, and nothing
else is written. It says yes or no and never repeats the value. Meaning across fields is left to
the services' rules.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from schemas.codes import codes

Check = Callable[[Any], bool]
"""True when the value may be written."""

FORMATS: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "org": re.compile(r"[a-z][a-z0-9-]{2,31}"),
        "country": re.compile(r"[A-Z]{3}"),
        "admin1": re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}"),
        "language": re.compile(r"[a-z]{2,3}"),
        "month": re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])"),
        "transition": re.compile(r"T[0-9]{2}"),
        "name": re.compile(r"[a-z](?:[-_.]?[a-z0-9]){0,47}"),
        "version": re.compile(r"[a-z0-9][a-z0-9.-]{0,31}"),
        "topic": re.compile(r"cauce(?:\.[a-z](?:[-_]?[a-z0-9]){0,31}){1,3}"),
        "path": re.compile(r"[A-Za-z0-9_]{1,48}(?:\.[A-Za-z0-9_]{1,48}|\[[0-9]{1,4}\]){0,12}"),
    }
)
"""Forms of the strings that are not codes: `org` of the partner record, ISO 3166 and 639, names of
rules and places in a schema."""

_INT: Final = {"int": 31, "long": 63}


def check_for(kind: Any) -> Check:
    """The check of an Avro type with our attributes; ValueError for a type events do not use."""
    if isinstance(kind, list):
        inner = check_for(next(k for k in kind if k != "null"))
        return lambda v: v is None or inner(v)
    spec = {"type": kind} if isinstance(kind, str) else kind
    if "logicalType" in spec:
        return _LOGICAL[spec["logicalType"]]
    if spec["type"] in _INT:
        return _whole(_INT[spec["type"]])
    match spec["type"]:
        case "boolean":
            return lambda v: v is True or v is False
        case "bytes":
            return lambda v: type(v) is bytes
        case "string":
            return _text(spec)
        case "enum":
            symbols = frozenset(spec["symbols"])
            return lambda v: type(v) is str and v in symbols
        case "array":
            return _array(check_for(spec["items"]))
        case "record":
            return _record(spec)
        case _:
            message = "no event uses this Avro type"
            raise ValueError(message)


def _is_utc(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() == timedelta(0)


def _is_uuid(value: object) -> bool:
    return isinstance(value, UUID)


_LOGICAL: Final[Mapping[str, Check]] = {"uuid": _is_uuid, "timestamp-millis": _is_utc}


def _whole(bits: int) -> Check:
    return lambda v: type(v) is int and 0 <= v < 1 << bits


def _text(spec: Mapping[str, Any]) -> Check:
    if "codes" in spec:
        known = frozenset(codes(spec["codes"]))
        return lambda v: type(v) is str and v in known
    fullmatch = FORMATS[spec["format"]].fullmatch
    return lambda v: type(v) is str and fullmatch(v) is not None


def _array(inner: Check) -> Check:
    return lambda v: type(v) is tuple and all(map(inner, v))


def _record(spec: Mapping[str, Any]) -> Check:
    name = spec["name"]
    fields = [(f["name"], check_for(f["type"])) for f in spec["fields"]]
    return lambda v: type(v).__name__ == name and all(c(getattr(v, n)) for n, c in fields)
