"""Query parameters that a Confluent client sends with its reads, and what they mean here. Pure.

It guards that each has the meaning that the registry's interface gives it, and that any other name
or value is refused. Nothing is ever deleted here, so what is asked of deleted things is none.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

from services.gateway.operation import Parameter

_BOOLEAN: Final = {"type": "string", "enum": ["true", "false"]}
_WHOLE: Final = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
_FROM_ALL: Final = {"type": "integer", "minimum": -1, "maximum": 1_000_000}
DELETED: Final = Parameter("deleted", "Deleted ones too: there are none", _BOOLEAN)
PAGE: Final = (
    DELETED,
    Parameter("deleted_only", "Deleted ones alone: there are none", _BOOLEAN),
    Parameter("offset", "How many to pass over", _WHOLE),
    Parameter("limit", "How many at most; -1: all", _FROM_ALL),
)
OF_PATH: Final[Mapping[str, tuple[Parameter, ...]]] = {
    "/schemas/ids/{schema_id}": (
        Parameter("subject", "A hint for registries that hold several contexts; this one has one"),
    ),
    "/subjects": (*PAGE, Parameter("subjectPrefix", "How the subject begins")),
    "/subjects/{subject}/versions": PAGE,
    "/subjects/{subject}/versions/{version}": (DELETED,),
}
T = TypeVar("T")


class WrongParameterError(ValueError):
    """A name or a value that has no meaning here."""


def given(path: str, items: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """The parameters of a read by name; WrongParameterError."""
    found = dict(items)
    known = {one.name: one.schema for one in OF_PATH[path]}
    if len(found) != len(items) or set(found) - set(known):
        raise WrongParameterError
    for name, value in found.items():
        _check(known[name], value)
    return found


def _check(schema: Mapping[str, object], value: str) -> None:
    if "enum" in schema:
        if value.lower() not in ("true", "false"):  # some libraries write True
            raise WrongParameterError
    elif schema["type"] == "integer":
        digits = value.removeprefix("-") if schema["minimum"] == -1 and value == "-1" else value
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 7):
            raise WrongParameterError
        if int(digits) > 1_000_000:
            raise WrongParameterError


def page(found: Iterable[T], asked: Mapping[str, str]) -> list[T]:
    """The part of a list that was asked for."""
    if asked.get("deleted_only", "false").lower() == "true":
        return []
    start, most = int(asked.get("offset", "0")), int(asked.get("limit", "-1"))
    rest = list(found)[start:]
    return rest if most < 0 else rest[:most]
