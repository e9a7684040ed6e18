"""The refusal catalogue and what partners see of a refusal."""

from typing import Any

import pytest

from connectors.sdk.faults import Fault
from services.kit.errors import Refused, catalogue, language, outcome

BASE = "https://cauce.example/fhir"


def test_a_refusal_reads_as_operation_outcome_in_the_readers_language() -> None:
    found = outcome([Fault("required", "Task.owner", "element")], "r-1", "pt", BASE)
    assert found == {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error",
                "code": "required",
                "details": {
                    "coding": [
                        {"system": f"{BASE}/CodeSystem/error", "code": "required"},
                        {"system": f"{BASE}/CodeSystem/error-rule", "code": "element"},
                    ],
                    "text": catalogue()["required", "element"].texts["pt"],
                },
                "diagnostics": "r-1",
                "expression": ["Task.owner"],
            }
        ],
    }


@pytest.mark.parametrize(
    ("accept", "lang"),
    [
        (None, "es"), ("", "es"), ("en", "en"), ("pt-BR,pt;q=0.9", "pt"), ("fr", "es"),
        ("es;q=0.1, en;q=0.8", "en"), ("fr, en;q=0.5", "en"), ("en;q=0", "es"), ("en;q=x", "es"),
    ],
)  # fmt: skip
def test_the_language_is_the_best_of_three(accept: Any, lang: Any) -> None:
    assert language(accept) == lang


def test_a_refusal_has_the_status_of_its_first_fault_and_a_default_field() -> None:
    refused = Refused.of("too-large", "entries")
    assert (refused.http, refused.faults[0].field) == (413, "Bundle.entry")


def test_a_fault_without_a_row_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        Refused([Fault("made-up", "", "rule")])
