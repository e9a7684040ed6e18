"""How the sandbox recipient misbehaves and answers:

switches that tests and people set while it runs.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

Fault = Literal["", "unavailable", "commit_then_500", "cut_before", "cut_after"]


@dataclass(frozen=True)
class Behaviour:
    """One frozen set; `fault_calls` counts down how many content calls still meet the fault (-1:

    all).
    """

    slow_ms: int = 0
    fault: Fault = ""
    fault_calls: int = -1
    answers: tuple[tuple[str, int], ...] = (("received", 200), ("accepted", 200))
    """(Task.status, wait in ms before writing it) for each new referral, in order."""
    answer_by: Literal["patch", "local", "none"] = "patch"
    """patch: at the hub with a token; local: only here, for a hub that polls."""
    erasure_effect: str = "deleted"
    erasure_after_ms: int = 0
    honours_not_after: bool = True
    honours_idempotency: bool = True
    reject_reason: str = "no_capacity"
    outcome: str = field(default="service_provided")


def changed(current: Behaviour, wanted: dict[str, Any]) -> Behaviour:
    """`current` with the named switches set; an unknown switch raises ValueError."""
    names = {item.name for item in fields(Behaviour)}
    unknown = sorted(set(wanted) - names)
    if unknown:
        raise ValueError(f"unknown switch: {unknown[0]}")
    if "answers" in wanted:
        wanted = {**wanted, "answers": tuple((str(s), int(ms)) for s, ms in wanted["answers"])}
    return replace(current, **wanted)
