"""Task.status and businessStatus against the referral's states and commands, both as data.

Guards that a partner's answer becomes exactly the commands the tables name, the shortest path where
it skipped steps. The state machine itself, its guards and versions belong to the referral service.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NoReturn

from connectors.sdk.faults import Fault, Faults
from connectors.sdk.steps import Step
from schemas.codes import is_code

Party = Literal["recipient", "sender"]


@dataclass(frozen=True, slots=True)
class TaskView:
    """How a referral's status reads on FHIR."""

    task_status: str
    business_status: str | None
    service_request_status: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a party wrote into a Task."""

    task_status: str
    business_status: str | None = None
    reason_code: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    commands: tuple[str, ...]
    needs: str


def _read(name: str) -> list[dict[str, str]]:
    text = files("connectors.fhir_r4").joinpath(f"codes/{name}").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def task_views() -> Mapping[str, TaskView]:
    """The view of every referral status."""
    return {
        row["status"]: TaskView(
            row["task_status"], row["business_status"] or None, row["service_request_status"]
        )
        for row in _read("task_view.csv")
    }


@cache
def business_statuses() -> frozenset[str]:
    """Every businessStatus code we write or read."""
    views = {view.business_status for view in task_views().values()}
    written = {row["business_status"] for row in _read("task_status.csv")}
    return frozenset(code for code in views | written if code)


@cache
def _rules() -> Mapping[tuple[str, str, str, str], _Rule]:
    return {
        (row["by"], row["task_status"], row["business_status"], state): _Rule(
            tuple(row["commands"].split()), row["needs"]
        )
        for row in _read("task_status.csv")
        for state in row["from"].split()
    }


def task_view(status: str) -> TaskView:
    """Task.status, businessStatus and ServiceRequest.status of a referral status."""
    return task_views()[status]


def commands_for(by: Party, answer: Answer, current: str) -> tuple[Step, ...]:
    """Commands that take a referral from `current` to what was written; empty for the same again.

    Raises `Faults`: `illegal-transition`, `reason-required`, `outcome-required`.
    """
    business = answer.business_status or ""
    rule = _rules().get((by, answer.task_status, business, current))
    if rule is None:
        if _same(answer, current):
            return ()
        _illegal(by, answer)
    if rule.needs == "reason" and answer.reason_code is None:
        _refuse("reason-required", "Task.statusReason", "status-reason")
    if rule.needs == "outcome" and answer.outcome is None:
        _refuse("outcome-required", "Task.output", "output")
    return tuple(_step(command, rule, answer) for command in rule.commands)


def _same(answer: Answer, current: str) -> bool:
    view = task_views()[current]
    business = answer.business_status or view.business_status
    return (answer.task_status, business) == (view.task_status, view.business_status)


def _illegal(by: Party, answer: Answer) -> NoReturn:
    business = answer.business_status or ""
    known = {key[:3] for key in _rules()}
    other = "sender" if by == "recipient" else "recipient"
    here, there = ((party, answer.task_status, business) in known for party in (by, other))
    rule = "not-yours" if there and not here else "from-state"
    _refuse("illegal-transition", "Task.status", rule)


def _refuse(code: str, field: str, rule: str) -> NoReturn:
    raise Faults([Fault(code, field, rule)])


def _step(command: str, rule: _Rule, answer: Answer) -> Step:
    last = command == rule.commands[-1]
    return Step(
        command,
        reason_code=answer.reason_code if last else None,
        outcome=answer.outcome if last and command == "complete" else None,
        appointment_outcome="no_show" if command == "appointment_missed" else None,
        synthesised=not last,
    )


def read_answer(task: Mapping[str, Any], canonical_base: str) -> Answer:
    """The answer in a Task; raises `Faults` for a missing status or a code not in its list."""
    status = task.get("status")
    if not isinstance(status, str):
        _refuse("required", "Task.status", "element")
    known = {view.task_status for view in task_views().values()}
    if status not in known:
        _refuse("code-invalid", "Task.status", "not-in-list")
    business = _coded(task.get("businessStatus"), f"{canonical_base}/CodeSystem/business-status")
    if _present(task, "businessStatus") and business not in business_statuses():
        _refuse("code-invalid", "Task.businessStatus", "not-in-list")
    system = f"{canonical_base}/CodeSystem/referral-reason-code"
    reason = _coded(task.get("statusReason"), system)
    if _present(task, "statusReason") and not is_code("referral_reason_code", reason):
        _refuse("code-invalid", "Task.statusReason", "not-in-list")
    return Answer(status, business, reason, _outcome(task, canonical_base))


def _present(task: Mapping[str, Any], name: str) -> bool:
    return task.get(name) not in (None, {}, [])


def _coded(concept: Any, system: str) -> str | None:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    for coding in codings if isinstance(codings, list) else []:
        if isinstance(coding, dict) and coding.get("system") == system:
            code = coding.get("code")
            return code if isinstance(code, str) else None
    return None


def _outcome(task: Mapping[str, Any], canonical_base: str) -> str | None:
    outputs = task.get("output")
    for output in outputs if isinstance(outputs, list) else []:
        if not isinstance(output, dict):
            continue
        value = output.get("valueCodeableConcept")
        outcome = _coded(value, f"{canonical_base}/CodeSystem/referral-outcome")
        if outcome is not None:
            if not is_code("referral_outcome", outcome):
                _refuse("code-invalid", "Task.output", "not-in-list")
            return outcome
    return None
