"""The state machine of a case as its organisation drives it: closed for a reason, opened again.

Pure. It guards that a command is given on the version its caller saw and is legal from the state
the case is in. What a case says of a person is not here.
"""

from dataclasses import dataclass, replace
from typing import Final

from services.kit.errors import Refused

CLOSE: Final = "close"
REOPEN: Final = "reopen"
COMMANDS: Final = frozenset({CLOSE, REOPEN})


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A case as it stands."""

    status: str
    version: int
    closure_reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What a case's organisation commands; `closure_reason` goes with closing."""

    name: str
    expected_version: int
    closure_reason: str | None = None


def after(case: Case, command: Command) -> Case:
    """The case after a command; Refused by the rule that forbids it."""
    if command.name == CLOSE and command.closure_reason is None:
        raise Refused.of("required", "element", "closure_reason")
    if command.name == REOPEN and command.closure_reason is not None:
        raise Refused.of("structure", "unknown-element", "closure_reason")
    if command.expected_version != case.version:
        raise Refused.of("conflict", "expected-version")
    if (case.status, command.name) not in {("open", CLOSE), ("closed", REOPEN)}:
        raise Refused.of("illegal-transition", "from-state")
    return replace(
        case,
        status="closed" if command.name == CLOSE else "open",
        version=case.version + 1,
        closure_reason=command.closure_reason,
    )
