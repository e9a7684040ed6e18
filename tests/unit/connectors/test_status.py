"""Task.status ↔ referral: every row of the wire table, and what is no row."""

from typing import Any

import pytest

from connectors.fhir_r4.status import (
    Answer,
    commands_for,
    read_answer,
    task_view,
    task_views,
)
from connectors.sdk.faults import Faults
from schemas.codes import codes, fhir_code
from tests.support.bundles import BASE, concept

REASON = "no_capacity"
OUTCOME = "service_provided"
OTHER_OUTCOME = concept(f"{BASE}/CodeSystem/referral-outcome", "x")


def names(
    by: Any,
    current: Any,
    status: Any,
    business: Any = None,
    reason: Any = REASON,
    outcome: Any = OUTCOME,
) -> Any:
    steps = commands_for(by, Answer(status, business, reason, outcome), current)
    return [step.command for step in steps]


@pytest.mark.parametrize(
    ("current", "status", "business", "commands"),
    [
        ("delivered", "received", None, ["start_review"]),
        ("sent", "received", None, ["start_review"]),
        ("under_review", "received", "awaiting-information", ["request_information"]),
        ("sent", "received", "awaiting-information", ["start_review", "request_information"]),
        ("delivered", "accepted", None, ["accept"]),
        ("sent", "accepted", None, ["accept"]),
        ("under_review", "rejected", None, ["reject"]),
        ("accepted", "in-progress", None, ["start_service"]),
        ("accepted", "in-progress", "visit-scheduled", ["schedule"]),
        ("scheduled", "in-progress", "visit-scheduled", ["reschedule"]),
        ("scheduled", "in-progress", "no-show", ["appointment_missed"]),
        ("on_hold", "in-progress", None, ["resume"]),
        ("in_progress", "on-hold", None, ["pause"]),
        ("accepted", "completed", None, ["complete"]),
        ("delivered", "completed", None, ["accept", "complete"]),
        ("delivered", "in-progress", None, ["accept", "start_service"]),
        ("sent", "in-progress", "visit-scheduled", ["accept", "schedule"]),
        ("on_hold", "failed", None, ["close_without_service"]),
        ("cancel_requested", "cancelled", None, ["confirm_cancel"]),
        ("cancel_requested", "accepted", None, ["refuse_cancel"]),
        ("cancel_requested", "in-progress", None, ["refuse_cancel"]),
        ("cancel_requested", "completed", None, ["complete"]),
    ],
)
def test_what_the_recipient_writes_becomes_commands(
    current: Any, status: Any, business: Any, commands: Any
) -> None:
    assert names("recipient", current, status, business) == commands


@pytest.mark.parametrize(
    ("current", "status", "commands"),
    [
        ("returned", "requested", ["resubmit"]),
        ("delivered", "cancelled", ["cancel"]),
        ("completed", "entered-in-error", ["mark_error"]),
    ],
)
def test_what_the_sender_writes_becomes_commands(current: Any, status: Any, commands: Any) -> None:
    assert names("sender", current, status) == commands


def test_skipped_steps_are_marked_synthesised_and_carry_no_codes() -> None:
    first, last = commands_for(
        "recipient", Answer("completed", None, None, OUTCOME), "under_review"
    )
    assert (first.synthesised, first.outcome) == (True, None)
    assert (last.synthesised, last.outcome) == (False, OUTCOME)


@pytest.mark.parametrize(
    "current", ["accepted", "in_progress", "completed", "rejected", "returned"]
)
def test_the_same_status_again_changes_nothing(current: Any) -> None:
    view = task_view(current)
    assert names("recipient", current, view.task_status, view.business_status) == []


@pytest.mark.parametrize(
    ("by", "current", "status", "code", "rule"),
    [
        ("recipient", "completed", "in-progress", "illegal-transition", "from-state"),
        ("recipient", "in_progress", "cancelled", "illegal-transition", "from-state"),
        ("recipient", "delivered", "entered-in-error", "illegal-transition", "not-yours"),
        ("sender", "delivered", "accepted", "illegal-transition", "not-yours"),
        ("sender", "accepted", "cancelled", "illegal-transition", "from-state"),
    ],
)
def test_other_changes_are_illegal(
    by: Any, current: Any, status: Any, code: Any, rule: Any
) -> None:
    with pytest.raises(Faults) as caught:
        names(by, current, status)
    assert [(f.code, f.rule, f.field) for f in caught.value.faults] == [(code, rule, "Task.status")]


def test_a_rejection_needs_a_reason_and_a_completion_an_outcome() -> None:
    with pytest.raises(Faults, match="reason-required"):
        names("recipient", "delivered", "rejected", reason=None)
    with pytest.raises(Faults, match="outcome-required"):
        names("recipient", "in_progress", "completed", outcome=None)


def test_every_referral_status_has_a_view_that_agrees_with_the_code_list() -> None:
    assert set(task_views()) == set(codes("referral_status"))
    for status, view in task_views().items():
        assert view.task_status == fhir_code("referral_status", status)


def test_an_answer_is_read_by_our_code_systems() -> None:
    task = {
        "status": "completed",
        "statusReason": concept(f"{BASE}/CodeSystem/referral-reason-code", "no_capacity"),
        "output": [
            {"valueCodeableConcept": concept(f"{BASE}/CodeSystem/referral-outcome", OUTCOME)}
        ],
    }
    assert read_answer(task, BASE) == Answer("completed", None, "no_capacity", OUTCOME)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"status": "doing"}, "Task.status"),
        ({"statusReason": concept(f"{BASE}/CodeSystem/referral-reason-code", "x")},
         "Task.statusReason"),
        ({"statusReason": {"text": "x"}}, "Task.statusReason"),
        ({"businessStatus": concept(f"{BASE}/CodeSystem/business-status", "x")},
         "Task.businessStatus"),
        ({"output": [{"valueCodeableConcept": OTHER_OUTCOME}]}, "Task.output"),
    ],
)  # fmt: skip
def test_a_code_outside_its_list_is_refused(change: Any, field: Any) -> None:
    with pytest.raises(Faults) as caught:
        read_answer({"status": "completed"} | change, BASE)
    assert [(f.code, f.field) for f in caught.value.faults] == [("code-invalid", field)]
