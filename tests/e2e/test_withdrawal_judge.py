"""The judge of withdrawals finds each wrong that it looks for, and nothing in a right run."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.withdrawal_judge import Disclosure, Facts, histogram, judged

CASE, REFERRAL, KEY, ERASE = uuid4(), uuid4(), str(uuid4()), str(uuid4())
ENDED = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return (ENDED + timedelta(seconds=seconds)).isoformat()


def effect(seconds: float) -> dict[str, Any]:
    patient = {"resourceType": "Patient", "id": "p1"}
    return {"kind": "effect", "at": at(seconds), "key": KEY, "resources": [patient]}


def erased(seconds: float) -> list[dict[str, Any]]:
    return [
        {"kind": "call", "at": at(seconds), "key": ERASE, "path": "/fhir/Task"},
        {"kind": "erasure", "at": at(seconds), "key": ERASE, "removed": [["Patient", "p1"]]},
    ]


def facts(journal: list[dict[str, Any]], **changes: Any) -> Facts:
    kinds = ("disclosure_intent", "disclosed", "erasure_requested", "erasure_reported")
    right = Facts(
        ended={CASE: ENDED},
        case_of_key={KEY: CASE, ERASE: CASE},
        disclosures=[
            Disclosure(
                case_ref=CASE,
                referral_ref=REFERRAL,
                at=ENDED - timedelta(seconds=0.1),
                state="disclosed",
            )
        ],
        journal=journal,
        leaves={CASE: [{"kind": kind} for kind in kinds]},
        tasks=[(CASE, "content", "done"), (CASE, "erasure", "done")],
        outcomes={},
        live_keys=0,
        cases=[CASE],
    )
    return replace(right, **changes)


MODES = {CASE: "calm"}


def test_a_right_run_has_no_violation() -> None:
    found = judged(facts([effect(1.2), *erased(1.5)]), MODES)
    assert found.violations == []
    assert found.late == [pytest.approx(1.2)]
    assert found.asked == [pytest.approx(1.5)]
    assert (found.before, found.never) == (0, 0)


def test_an_effect_before_the_withdrawal_is_none_after_it() -> None:
    found = judged(facts([effect(-1), *erased(0.2)]), MODES)
    assert (found.before, found.late, found.violations) == (1, [], [])


LATE = Disclosure(
    case_ref=CASE, referral_ref=REFERRAL, at=ENDED + timedelta(milliseconds=2), state="disclosed"
)
OPEN = replace(LATE, at=ENDED - timedelta(seconds=1), state="open")
WRONG: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    ("after the withdrawal", [effect(2.001), *erased(2.1)], {}),
    ("still holds", [effect(1.0)], {}),
    ("still holds", [*erased(0.5), effect(1.0)], {}),
    ("authorised after", [effect(1.0), *erased(1.1)], {"disclosures": [LATE]}),
    ("without outcome", [effect(1.0), *erased(1.1)], {"disclosures": [OPEN]}),
    ("no request to erase", [effect(1.0), *erased(1.1)], {"leaves": {CASE: []}}),
    ("still queued", [], {"tasks": [(CASE, "content", "queued")], "disclosures": []}),
    ("without a leaf", [], {"tasks": [(CASE, "content", "suppressed")], "disclosures": []}),
    ("keys of withdrawn", [], {"live_keys": 1}),
    ("never withdrawn", [], {"cases": [CASE, UUID(int=7)]}),
]


@pytest.mark.parametrize(("words", "journal", "changes"), WRONG)
def test_each_wrong_is_found(
    words: str, journal: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    found = judged(facts(journal, **changes), MODES)
    assert any(words in violation for violation in found.violations)


def test_the_histogram_counts_every_value() -> None:
    lines = histogram([0.01, 0.3, 0.31, 1.99, 2.5])
    assert sum(int(line.split()[1]) for line in lines[:-1]) == 5
    assert lines[-1].endswith("max 2.500")
