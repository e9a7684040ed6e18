"""The plans made of the R4B models never let through what the models themselves refuse."""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from connectors.fhir_r4.inbound.models import conforms
from connectors.sandbox.samples import Sample, full_bundle

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RESOURCES = [
    entry["resource"]
    for bundle in (
        full_bundle(now=NOW, seed=1),
        Sample(now=NOW, seed=2).bundle(),
        Sample(
            now=NOW, seed=3, rich=True, minor=True, denies=(("kind:police", ("contact",)),)
        ).bundle(),
    )
    for entry in bundle["entry"]
]
NAMES = [f"{n}-{resource['resourceType']}" for n, resource in enumerate(RESOURCES)]
ODD: list[Any] = [
    *(None, "", " ", "x y", "2026-13-40", "2026", "not a uri ", 0, 1.5, True, [], {}),
    *([None], [""], ["x"], [{}], {"x": 1}, {"resourceType": "Patient"}, {"extension": []}),
]
NEW = {
    "valueString": "x",
    "valueBoolean": True,
    "deceasedBoolean": False,
    "deceasedDateTime": "2026-01-01",
    "multipleBirthInteger": 2,
    "_status": {"extension": [{"url": "https://x.example", "valueCode": "x"}]},
    "id": "with space",
    "fhir_comments": "x",
    "resourceType": "Coding",
    "unknown": 1,
    "contained": [{"resourceType": "Patient", "id": "a"}],
    "implicitRules": "https://x.example",
}


def nodes(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from nodes(inner)


def mutants(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for place in range(len(list(nodes(resource)))):
        for name in list(list(nodes(resource))[place]):
            for odd in ODD:
                changed = copy.deepcopy(resource)
                list(nodes(changed))[place][name] = odd
                yield changed
            changed = copy.deepcopy(resource)
            del list(nodes(changed))[place][name]
            yield changed
        for name, value in NEW.items():
            changed = copy.deepcopy(resource)
            list(nodes(changed))[place].setdefault(name, value)
            yield changed


def accepted(resource: dict[str, Any]) -> bool:
    try:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("resource", RESOURCES, ids=NAMES)
def test_a_sample_conforms(resource: dict[str, Any]) -> None:
    assert conforms(resource["resourceType"], resource)


@pytest.mark.parametrize("resource", RESOURCES, ids=NAMES)
def test_what_the_model_refuses_does_not_conform(resource: dict[str, Any]) -> None:
    refused = 0
    for mutant in mutants(resource):
        if mutant.get("resourceType") != resource["resourceType"]:
            continue
        if not accepted(mutant):
            refused += 1
            assert not conforms(mutant["resourceType"], mutant)
    assert refused > 100
