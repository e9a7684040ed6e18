"""The state machine of a case: what is legal, on which version, with which reason."""

import pytest

from services.gateway.cases.domain import Case, Command, after
from services.kit.errors import Refused

OPEN = Case(status="open", version=4)
CLOSED = Case(status="closed", version=5, closure_reason="moved")
CLOSE = Command(name="close", expected_version=4, closure_reason="moved")
REOPEN = Command(name="reopen", expected_version=5)


def rule(case: Case, command: Command) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        after(case, command)
    (fault,) = refused.value.faults
    return fault.code, fault.rule


def test_closing_keeps_the_reason_and_counts_a_version() -> None:
    assert after(OPEN, CLOSE) == CLOSED


def test_opening_again_forgets_the_reason() -> None:
    assert after(CLOSED, REOPEN) == Case(status="open", version=6)


def test_closing_asks_for_a_reason_and_opening_takes_none() -> None:
    bare = Command(name="close", expected_version=4)
    assert rule(OPEN, bare) == ("required", "element")
    given = Command(name="reopen", expected_version=5, closure_reason="moved")
    assert rule(CLOSED, given) == ("structure", "unknown-element")


def test_a_version_that_is_past_is_refused() -> None:
    assert rule(CLOSED, CLOSE) == ("conflict", "expected-version")


def test_a_closed_case_is_not_closed_and_an_open_one_not_opened() -> None:
    late = Command(name="close", expected_version=5, closure_reason="moved")
    assert rule(CLOSED, late) == ("illegal-transition", "from-state")
    early = Command(name="reopen", expected_version=4)
    assert rule(OPEN, early) == ("illegal-transition", "from-state")
