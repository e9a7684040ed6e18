"""Whether a resource conforms to its R4B model, asked without building the model's objects.

The models of `fhir.resources` say what conforms; building them costs more than all else on the way
in. So their own declarations (fields, formats, required elements, choices) are read once into
plans, and a resource is held against these. A yes here is a yes of the models; a no says only that
the models themselves have to be asked, which also give the reasons.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from fhir_core.utils import is_list_type, is_primitive_type
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

Check = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the model of one type asks: elements by their name in JSON, required ones, choices."""

    kind: str
    checks: Mapping[str, Check]
    required: frozenset[str]
    choices: Mapping[str, str] = field(repr=False)
    """Name of an element → the choice it is one of."""
    needed: frozenset[str]
    """Choices of which one has to be there."""


def conforms(kind: str, node: Any) -> bool:
    """Whether this JSON surely conforms to the model of `kind`."""
    return _fits(_plan(kind), node)


def _fits(plan: Plan, node: Any) -> bool:
    if type(node) is not dict or not node:
        return False
    taken: set[str] = set()
    for name, value in node.items():
        check = plan.checks.get(name)
        if check is None:
            if name != "resourceType" or value != plan.kind:
                return False
        elif not check(value):
            return False
        elif name in plan.choices:
            if plan.choices[name] in taken:
                return False
            taken.add(plan.choices[name])
    return plan.required <= node.keys() and plan.needed <= taken


@cache
def _plan(kind: str) -> Plan:
    model = get_fhir_model_class(kind)
    fields: Mapping[str, FieldInfo] = model.model_fields
    blank = model.model_construct()
    asked = {name for name, _ in blank.get_required_fields()}
    asked |= {_name(n, f) for n, f in fields.items() if f.is_required()}
    choices, needed = {}, set()
    for choice, names in blank.get_one_of_many_fields().items():
        choices.update({_name(n, fields[n]): choice for n in names})
        extra = fields[names[0]].json_schema_extra
        if isinstance(extra, dict) and extra["one_of_many_required"] is True:
            needed.add(choice)
    return Plan(
        kind=kind,
        checks=MappingProxyType(
            {_name(n, f): c for n, f in fields.items() if (c := _check(n, f, model.model_config))}
        ),
        required=frozenset(asked),
        choices=MappingProxyType(choices),
        needed=frozenset(needed),
    )


def _name(name: str, info: FieldInfo) -> str:
    return info.alias or name


def _check(name: str, info: FieldInfo, config: ConfigDict) -> Check | None:
    """How a value of this element is held against its type; None: the model has to say."""
    if name.endswith("__ext"):  # what stands beside a primitive has rules of its own
        return None
    if is_primitive_type(info):
        return _primitive(info.annotation, config)
    declared = _declared(info.annotation)
    if declared is None:
        return None
    one = _complex(declared)
    if not is_list_type(info):
        return one

    def many(value: Any) -> bool:
        return type(value) is list and bool(value) and all(map(one, value))

    return many


def _complex(declared: Any) -> Check:
    def check(value: Any) -> bool:
        return _fits(_plan(_kind(declared)), value)

    return check


@cache
def _kind(declared: Any) -> str:
    """Looked up when first met: the model of every type that an Extension may hold is a lot."""
    return str(declared.get_model_klass().__resource_type__)


def _primitive(annotation: Any, config: ConfigDict) -> Check:
    validate = TypeAdapter(annotation, config=config).validator.validate_python

    def check(value: Any) -> bool:
        if value is None or value == []:
            return False
        try:
            validate(value)
        except (ValidationError, ValueError, TypeError):
            return False
        return True

    return check


def _declared(annotation: Any) -> Any:
    """The complex type in an element's annotation, such as that of `CodeableConcept`."""
    if hasattr(annotation, "get_model_klass"):
        return annotation
    inner = (_declared(part) for part in getattr(annotation, "__args__", ()))
    return next((found for found in inner if found is not None), None)
