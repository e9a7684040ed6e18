"""JSON bodies of the native surface to models of ours, or every fault with its place and rule.

It guards that pydantic's own words, which quote what was sent, never leave: each of its errors
becomes a row of the refusal catalogue. What a value means is left to the rules of each part.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from connectors.sdk.faults import Fault, Faults
from connectors.sdk.strict import parse_strict
from schemas.codes import is_code

M = TypeVar("M", bound=BaseModel)
_OURS: Final = re.compile(r"[a-z_0-9]{1,40}")
_TYPES: Final = re.compile(r"_(type|parsing|from_float|attributes)$")


class Body(BaseModel):
    """Base of request bodies: unknown names are refused, no value is ever shown."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __repr__(self) -> str:
        """Name the type alone."""
        return f"<{type(self).__name__}>"

    __str__ = __repr__


class Shape(BaseModel):
    """Base of answers: codes, ids and times, nothing about a person."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def read_body(model: type[M], raw: bytes) -> M:
    """The body as a model; Faults with every place that is wrong."""
    return read(model, parse_strict(raw))


def read(model: type[M], document: dict[str, Any]) -> M:
    """A parsed document as a model; Faults with every place that is wrong."""
    found: list[Fault] = []
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = list(_faults(error))
    raise Faults(found)  # raised out here: the validation error holds the document


def _faults(error: ValidationError) -> Iterator[Fault]:
    for one in error.errors(include_input=False, include_url=False, include_context=False):
        place, kind = path(one["loc"]), one["type"]
        if kind == "missing":
            yield Fault("required", place, "element")
        elif kind == "extra_forbidden":  # where it stands: its name is the partner's own text
            yield Fault("structure", path(one["loc"][:-1]), "unknown-element")
        elif kind in ("literal_error", "enum"):
            yield Fault("code-invalid", place, "not-in-list")
        elif kind in ("too_long", "too_short"):
            yield Fault("value-invalid", place, "item-count")
        elif _TYPES.search(kind):
            yield Fault("structure", place, "wrong-type")
        else:
            yield Fault("structure", place, "bad-format")


def path(steps: Iterable[str | int]) -> str:
    """A place in a body: `rows[3].month`; a name that is not ours is not repeated."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _OURS.fullmatch(step) else "?")
    return text


def wrong_codes(enum: str, values: Iterable[str] | str | None, place: str) -> Iterator[Fault]:
    """A fault for each value that is not in a code list."""
    if isinstance(values, str):
        if not is_code(enum, values):
            yield Fault("code-invalid", place, "not-in-list")
        return
    for number, value in enumerate(values or ()):
        if not is_code(enum, value):
            yield Fault("code-invalid", f"{place}[{number}]", "not-in-list")
