"""The abort Task: by which a sender asks that a referral under way be ended (`wire.md` §5). Pure.

It guards that such a Task says what it has to and nothing besides, and that it asks for the one
command that fits where the referral stands. Whether that is allowed is the state machine's to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from connectors.fhir_r4.inbound.structure import validate
from connectors.fhir_r4.inbound.tables import fhir_names
from connectors.fhir_r4.outbound.content import TASK_CODE
from connectors.sdk.faults import Fault, Faults
from connectors.sdk.report import Report
from connectors.sdk.steps import Step
from schemas.codes import is_code

READ: Final = frozenset(
    {"resourceType", "id", "meta", "identifier", "status", "intent", "code", "focus"}
    | {"requester", "owner", "reasonCode"}
)
BEFORE_ACCEPTANCE: Final = frozenset({"sent", "delivered", "under_review", "returned"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Abort:
    """What an abort Task asks: `task` is the sender's own id of the referral's Task."""

    identifier: tuple[str, str] | None
    task: str
    reason_code: str
    owner: str | None


def read_abort(document: Mapping[str, Any], org: str, base: str) -> Abort:
    """The abort in a document; `Faults` for what it lacks or may not say."""
    if document.get("resourceType") != "Task":
        _refuse("structure", "Task", "resource-type")
    for name in document:
        if name not in READ:
            known = name in fhir_names("Task")
            _refuse(*_unknown(name) if known else ("structure", "Task", "unknown-element"))
    report = Report()
    validate(dict(document), "Task", report)
    report.check()
    _fixed(document, org)
    owner = document.get("owner")
    return Abort(
        identifier=_identifier(document),
        task=_reference(document.get("focus"), "Task", "Task.focus"),
        reason_code=_reason(document, base),
        owner=None if owner is None else _reference(owner, "Organization", "Task.owner"),
    )


def _refuse(code: str, field: str, rule: str) -> NoReturn:
    raise Faults([Fault(code, field, rule)])


def _unknown(name: str) -> tuple[str, str, str]:
    return "unsupported", f"Task.{name}", "element"


def _fixed(document: Mapping[str, Any], org: str) -> None:
    """What is the same in every abort Task."""
    for name, value in (("status", "requested"), ("intent", "order")):
        if name not in document:
            _refuse("required", f"Task.{name}", "element")
        if document[name] != value:
            _refuse("value-invalid", f"Task.{name}", "fixed-value")
    if "code" not in document:
        _refuse("required", "Task.code", "element")
    codings = document["code"].get("coding", [])
    if not any(c.get("system") == TASK_CODE and c.get("code") == "abort" for c in codings):
        _refuse("code-invalid", "Task.code", "not-in-list")
    if "requester" in document:
        who = _reference(document["requester"], "Organization", "Task.requester")
        if who != org:
            _refuse("value-invalid", "Task.requester", "fixed-value")


def _identifier(document: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first identifier: under it a repeat is known."""
    given = document.get("identifier") or [{}]
    value = given[0].get("value", "")
    return (given[0].get("system", ""), value) if value.strip() else None


def _reference(node: Any, kind: str, field: str) -> str:
    if node is None:
        _refuse("required", field, "element")
    found, _, name = (node.get("reference") or "").partition("/")
    if found != kind or not name:
        _refuse("reference-invalid", field, "target")
    return str(name)


def _reason(document: Mapping[str, Any], base: str) -> str:
    system = f"{base}/CodeSystem/referral-reason-code"
    given = document.get("reasonCode")
    if given is None:
        _refuse("reason-required", "Task.reasonCode", "status-reason")
    codes = [c.get("code") for c in given.get("coding", []) if c.get("system") == system]
    if "text" in given:
        _refuse("unsupported", "Task.reasonCode.text", "element")
    if len(codes) != 1 or not is_code("referral_reason_code", codes[0]):
        _refuse("code-invalid", "Task.reasonCode", "not-in-list")
    return str(codes[0])


def step_for(abort: Abort, status: str) -> Step:
    """Before acceptance a referral is cancelled at once; later the recipient is asked."""
    command = "cancel" if status in BEFORE_ACCEPTANCE else "request_cancel"
    return Step(command, reason_code=abort.reason_code)


def status_after(referral_status: str, *, last: bool) -> str:
    """Task.status of an abort by where the referral stands; `last`: no other abort came after."""
    if not last:
        return "rejected"
    if referral_status == "cancel_requested":
        return "requested"
    ended = {"cancelled", "revoked", "expired", "entered_in_error", "not_completed"}
    return "completed" if referral_status in ended else "rejected"
