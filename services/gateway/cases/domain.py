"""The state machine of a case as its organisation drives it. Pure.

It guards that a command is given on the version its caller saw, with what belongs to it and nothing
else, and is legal from the state the case is in. What a case says of a person is not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.kit.errors import Refused

CLOSE: Final = "close"
REOPEN: Final = "reopen"
MARK_ERROR: Final = "mark_error"
UPDATE: Final = "update"
ERROR: Final = "entered_in_error"
TRANSITIONS: Final[Mapping[tuple[str, str], str]] = {
    ("open", CLOSE): "closed",
    ("closed", REOPEN): "open",
    ("open", MARK_ERROR): ERROR,
    ("closed", MARK_ERROR): ERROR,
    ("open", UPDATE): "open",
    ("closed", UPDATE): "closed",
}
"""The state after a command, by state and command; what is not here is illegal."""
COMMANDS: Final = frozenset(command for _, command in TRANSITIONS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A case as it stands; `closure_reason` while it is closed."""

    status: str
    version: int
    closure_reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What a case's organisation commands; `closure_reason` goes with closing."""

    name: str
    expected_version: int
    closure_reason: str | None = None


def check(command: Command) -> None:
    """Refused where something is missing that belongs to the command, or is there and does not."""
    if command.name == CLOSE and command.closure_reason is None:
        raise Refused.of("required", "element", "closure_reason")
    if command.name != CLOSE and command.closure_reason is not None:
        raise Refused.of("structure", "unknown-element", "closure_reason")


def after(case: Case, command: Command) -> Case:
    """The case after a command; Refused by the rule that forbids it."""
    if command.expected_version != case.version:
        raise Refused.of("conflict", "expected-version")
    status = TRANSITIONS.get((case.status, command.name))
    if status is None:
        raise Refused.of("illegal-transition", "from-state")
    kept = case.closure_reason if status == case.status else command.closure_reason
    return Case(status=status, version=case.version + 1, closure_reason=kept)
