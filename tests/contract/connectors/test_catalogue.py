"""The refusal catalogue against the code (no row unused, none missing); tables against FHIR."""

import ast
import csv
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from connectors.fhir_r4.inbound.tables import (
    PRIMITIVES,
    RESOURCES,
    elements,
    extensions,
    fhir_names,
    pairs,
    rows,
)
from connectors.sdk import tables
from connectors.sdk.types import Model, Submission
from schemas.codes import codes, is_code
from services.kit.errors import catalogue

ROOT = Path(__file__).parents[3]
SOURCES = ("connectors", "services")
ISSUE_TYPES = frozenset(
    {
        "structure", "value", "required", "invariant", "code-invalid", "business-rule",
        "not-supported", "duplicate", "too-long", "login", "expired", "forbidden", "suppressed",
        "not-found", "conflict", "throttled", "transient", "deleted", "security", "processing",
    }
)  # fmt: skip


@cache
def string_literals() -> frozenset[str]:
    found: set[str] = set()
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
        for path in (ROOT / folder).rglob("*.csv"):
            if path.name != "refusals.csv":
                found.update(re.split(r"[,\s]", path.read_text(encoding="utf-8")))
    return frozenset(found)


def test_rows_are_sorted_and_unique() -> None:
    text = (ROOT / "services/kit/data/refusals.csv").read_text(encoding="utf-8")
    keys = [(row["code"], row["rule"]) for row in csv.DictReader(text.splitlines())]
    assert keys == sorted(keys)
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("row", catalogue().values(), ids=lambda row: f"{row.code}/{row.rule}")
def test_every_row_is_complete_and_used(row: Any) -> None:
    assert row.issue in ISSUE_TYPES
    assert 400 <= row.http < 600
    assert all(row.texts.values())
    assert row.code in string_literals()
    assert row.rule in string_literals()


def test_every_fault_in_the_sources_has_a_row() -> None:
    missing = []
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                missing += [
                    f"{path.relative_to(ROOT)}: {pair}"
                    for pair in pairs_in(node)
                    if pair not in catalogue()
                ]
    assert not missing


def pairs_in(node: Any) -> Any:
    """(code, rule) of the calls that make a fault, where both are written out."""
    if not isinstance(node, ast.Call):
        return []
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    place = {"Fault": (0, 2), "add": (0, 2), "of": (0, 1)}.get(name)
    if place is None or len(node.args) <= max(place):
        return []
    if name == "of" and getattr(getattr(node.func, "value", None), "id", "") != "Refused":
        return []
    pair = tuple(getattr(node.args[at], "value", None) for at in place)
    return [pair] if all(isinstance(part, str) for part in pair) else []


def test_every_element_row_is_an_element_of_fhir_with_its_own_type() -> None:
    for owner, named in elements().items():
        for name, row in named.items():
            assert name in fhir_names(owner), (owner, name)
            if row.treatment in {"read", "narrative"} and row.type not in PRIMITIVES:
                assert row.type in elements(), row.type
            assert not row.category or is_code("data_category", row.category)


def test_every_resource_row_is_read_somewhere() -> None:
    assert {name for name in elements() if name in RESOURCES} == RESOURCES
    for name in RESOURCES:
        assert get_fhir_model_class(name)


def test_every_extension_row_names_a_list_that_exists() -> None:
    own = {"collector_role", "basis_reason", "country"}
    for named in extensions().values():
        for part in named.values():
            assert not part.codes or part.codes in own or codes(part.codes)


def test_the_small_tables_speak_in_our_codes() -> None:
    assert set(pairs("purposes", "purpose", "v3")) == set(codes("purpose"))
    assert set(pairs("priorities", "fhir", "priority").values()) == set(codes("priority"))
    assert all(is_code("profile_flag", r["flag"]) for r in tables.rows("profile_flags"))
    assert all(is_code("service_type", row["service_type"]) for row in rows("service_types"))
    assert all(is_code("data_category", row["category"]) for row in tables.rows("conditions"))
    for row in tables.rows("basis_reasons"):
        assert is_code("legal_basis", row["legal_basis"])
    for row in rows("task_status"):
        assert all(is_code("referral_status", state) for state in row["from"].split())


def test_every_native_field_that_fhir_names_otherwise_is_a_field_of_the_types() -> None:
    for native in pairs("fields", "native", "fhir"):
        model: Any = Submission
        for name in native.replace("[]", "").split("."):
            assert issubclass(model, Model), native
            annotation = model.model_fields[name].annotation
            kinds = [annotation, *getattr(annotation, "__args__", ())]
            model = next(
                (k for k in kinds if isinstance(k, type) and issubclass(k, Model)), annotation
            )
