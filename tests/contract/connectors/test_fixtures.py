"""Every connector folder: manifest, README, and each fixture maps to its committed submission."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.fhir_r4.mapping import Context, to_submission
from connectors.registry import manifests
from connectors.sdk.strict import parse_strict

FOLDER = Path(__file__).parents[3] / "connectors"
FIXTURES = sorted((FOLDER / "fhir_r4/fixtures").glob("referral_*.in.json"))
CONTEXT = Context(
    "ong-norte",
    datetime(2026, 3, 4, 15, 30, tzinfo=UTC),
    "America/Bogota",
    "https://cauce.example/fhir",
)


def test_there_are_connectors_and_each_has_a_readme() -> None:
    assert "fhir_r4" in manifests()
    for name in manifests():
        assert (FOLDER / name / "README.md").is_file()


def test_settings_are_checked_by_name() -> None:
    manifest = manifests()["fhir_r4"]
    assert manifest.missing_settings({}) == ("base_url",)
    assert manifest.unknown_settings({"base_url": "x", "colour": "y"}) == ("colour",)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_a_fixture_maps_to_its_committed_submission(path: Any) -> None:
    found = to_submission(parse_strict(path.read_bytes()), CONTEXT).submission
    expected = json.loads(path.with_name(path.name.replace(".in.", ".out.")).read_text())
    assert found.model_dump(mode="json", exclude_defaults=True) == expected
