"""JSON bodies of the native surface to models of ours, or every fault with its place and rule.

It guards that pydantic's own words, which quote what was sent, never leave: each of its errors
becomes a row of the refusal catalogue. What a value means is left to the rules of each part.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from connectors.sdk.faults import Fault, Faults
from schemas.codes import codes, is_code

M = TypeVar("M", bound=BaseModel)
_OURS: Final = re.compile(r"[a-z_0-9]{1,40}")
_TYPES: Final = re.compile(r"_(type|from_float|attributes)$")
Steps = tuple[str | int, ...]


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


@dataclass(frozen=True, slots=True)
class Listed:
    """Annotation of a text: a code of this list."""

    enum: str

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(kind))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": list(codes(self.enum))}

    def _check(self, value: str) -> str:
        if not is_code(self.enum, value):
            raise PydanticCustomError("code", "no code of the list")
        return value


def read(model: type[M], document: Mapping[str, Any], at: str = "") -> M:
    """A parsed document as a model; Faults with every place that is wrong, within `at`."""
    start = (at,) if at else ()
    try:
        # As JSON and strict: ids and times are texts, and nothing else becomes what it is not.
        made = model.model_validate_json(orjson.dumps(document), strict=True)
    except ValidationError as error:
        found = list(_faults(error, start))
    else:
        found = [Fault("structure", place, "null-value") for place in _nulls(made, start)]
        if not found:
            return made
    raise Faults(found)  # raised out here: the validation error holds the document


def _nulls(made: BaseModel, steps: Steps) -> Iterator[str]:
    """Places of optional fields that were sent as null: what is not said is left out."""
    for name in sorted(made.model_fields_set):
        value = getattr(made, name)
        here = (*steps, type(made).model_fields[name].alias or name)
        if value is None:
            yield path(here)
        elif isinstance(value, BaseModel):
            yield from _nulls(value, here)
        elif isinstance(value, tuple):
            for number, one in enumerate(value):
                if isinstance(one, BaseModel):
                    yield from _nulls(one, (*here, number))


def _faults(error: ValidationError, start: Steps) -> Iterator[Fault]:
    """The errors as faults; the document itself is looked at for null alone."""
    errors = error.errors(include_url=False, include_context=False)
    for one in errors:
        if one["type"] == "too_short" and any(_within(e["loc"], one["loc"]) for e in errors):
            continue  # it counts only items that are right
        steps, kind = (*start, *one["loc"]), one["type"]
        if kind == "missing":
            yield Fault("required", path(steps), "element")
        elif kind == "extra_forbidden":
            yield Fault("structure", path(steps[:-1]), "unknown-element")
        elif one["input"] is None:
            yield Fault("structure", path(steps), "null-value")
        elif kind in ("literal_error", "code"):
            yield Fault("code-invalid", path(steps), "not-in-list")
        elif kind in ("too_long", "too_short"):
            yield Fault("value-invalid", path(steps), "item-count")
        elif _TYPES.search(kind):
            yield Fault("structure", path(steps), "wrong-type")
        else:
            yield Fault("structure", path(steps), "bad-format")


def _within(inner: Steps, outer: Steps) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def path(steps: Iterable[str | int]) -> str:
    """A place in a body: `rows[3].month`; a name that is not ours is not repeated."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _OURS.fullmatch(step) else "?")
    return text
