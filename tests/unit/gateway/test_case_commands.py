"""The state machine of a case: what is legal, on which version, with which reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.cases.domain import COMMANDS, TRANSITIONS, Case, Command, after, check
from services.kit.errors import Refused

OPEN = Case(status="open", version=4)
CLOSED = Case(status="closed", version=5, closure_reason="moved")
CLOSE = Command(name="close", expected_version=4, closure_reason="moved")
REOPEN = Command(name="reopen", expected_version=5)
COMMAND = st.sampled_from(sorted(COMMANDS))


def fault(refused: Refused) -> tuple[str, str]:
    (one,) = refused.faults
    return one.code, one.rule


def rule(case: Case, command: Command) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        after(case, command)
    return fault(refused.value)


def test_closing_keeps_the_reason_and_counts_a_version() -> None:
    assert after(OPEN, CLOSE) == CLOSED


def test_opening_again_forgets_the_reason() -> None:
    assert after(CLOSED, REOPEN) == Case(status="open", version=6)


@pytest.mark.parametrize("case", [OPEN, CLOSED])
def test_what_was_entered_in_error_stays_so(case: Case) -> None:
    wrong = after(case, Command(name="mark_error", expected_version=case.version))
    assert wrong == Case(status="entered_in_error", version=case.version + 1)
    for name in sorted(COMMANDS):
        command = Command(name=name, expected_version=wrong.version, closure_reason="moved")
        assert rule(wrong, command) == ("illegal-transition", "from-state")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (Command(name="close", expected_version=4), ("required", "element")),
        (
            Command(name="reopen", expected_version=5, closure_reason="moved"),
            ("structure", "unknown-element"),
        ),
        (
            Command(name="mark_error", expected_version=5, closure_reason="moved"),
            ("structure", "unknown-element"),
        ),
    ],
)
def test_a_reason_goes_with_closing_alone(command: Command, expected: tuple[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        check(command)
    assert fault(refused.value) == expected


def test_a_version_that_is_past_is_refused() -> None:
    assert rule(CLOSED, CLOSE) == ("conflict", "expected-version")


def test_a_closed_case_is_not_closed_and_an_open_one_not_opened() -> None:
    late = Command(name="close", expected_version=5, closure_reason="moved")
    assert rule(CLOSED, late) == ("illegal-transition", "from-state")
    early = Command(name="reopen", expected_version=4)
    assert rule(OPEN, early) == ("illegal-transition", "from-state")


@given(st.lists(st.tuples(COMMAND, st.integers(-1, 1)), max_size=12))
def test_any_commands_leave_a_case_that_the_table_allows(said: list[tuple[str, int]]) -> None:
    case = Case(status="open", version=1)
    for name, off in said:
        reason = "moved" if name == "close" else None
        command = Command(name=name, expected_version=case.version + off, closure_reason=reason)
        allowed = off == 0 and (case.status, name) in TRANSITIONS
        try:
            new = after(case, command)
        except Refused:
            assert not allowed
            continue
        assert allowed
        assert new.version == case.version + 1
        assert new.status == TRANSITIONS[case.status, name]
        assert (new.status == "closed") == (new.closure_reason is not None)
        case = new
