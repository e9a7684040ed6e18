"""Whatever the parties do or leave undone, a referral ends or is escalated in bounded time."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.referral.domain import TERMINAL, Denied, State, apply
from services.referral.timing import (
    LONGEST,
    due_at,
    entered,
    owed_by,
    planned,
    reached,
    told,
    upcoming,
    waits,
)
from tests.unit.referral.test_machine import COMMANDS, NOW, TABLE, command, role_for, state

HOUR = timedelta(hours=1)
ANSWERING = sorted(s for s, w in waits().items() if w.clock == "answer")
LATER = sorted(s for s, w in waits().items() if w.clock == "news")


def waiting(status: str, **changes: Any) -> State:
    """A referral that came into its state at `NOW`, to be answered in 24 hours."""
    fields = {"created_at": NOW, "updated_at": NOW, "response_due": NOW + 24 * HOUR} | changes
    return planned(state(status, **fields))


def wake(one: State, now: datetime) -> tuple[State, str | None]:
    """What the timers do at `now`, as values."""
    stage = reached(one, now)
    if stage is None:
        return planned(one), None
    if stage != "expired":
        return told(one, stage, now), stage
    moved: Any = apply(one, command("expire", "hub"), now, TABLE, consent_valid=False)
    return entered(one, moved.after, "hub"), stage


def test_every_open_state_waits_for_somebody() -> None:
    states = {source for source, _ in TABLE} | {row.target for row in TABLE.values()}
    assert set(waits()) == states - TERMINAL - {"draft", "before_cancel"}


def test_only_what_the_hub_may_expire_has_a_time_to_expire() -> None:
    ends = {status for status, wait in waits().items() if "expired" in wait.shares}
    assert ends == {status for status, name in TABLE if name == "expire"} == set(ANSWERING)


@pytest.mark.parametrize("status", sorted(waits()))
def test_each_state_reminds_then_is_overdue_then_escalates(status: str) -> None:
    wait = waits()[status]
    assert list(wait.shares)[:3] == ["reminded", "overdue", "escalated"]
    assert sorted(wait.shares.values()) == list(wait.shares.values())
    assert wait.shares["overdue"] == 1


@pytest.mark.parametrize("status", ANSWERING)
def test_an_answer_owed_is_told_of_by_stages_and_then_expires(status: str) -> None:
    one, seen = waiting(status), []
    while one.next_at is not None:
        at = one.next_at
        one, stage = wake(one, at)
        seen.append((stage, (at - NOW) / HOUR))
    reminder = 6 if status == "delivery_failed" else 12
    assert seen == [("reminded", reminder), ("overdue", 24), ("escalated", 30), ("expired", 36)]
    assert (one.status, one.closed) == ("expired", "expired")


@pytest.mark.parametrize("status", LATER)
def test_a_service_without_news_is_escalated_and_not_ended_by_the_hub(status: str) -> None:
    one, seen = waiting(status), []
    while one.next_at is not None:
        one, stage = wake(one, one.next_at)
        seen.append(stage)
    assert seen == ["reminded", "overdue", "escalated"]
    assert (one.status, one.closed, one.escalated_at is not None) == (status, "escalated", True)


@pytest.mark.parametrize(
    ("status", "org"), [("delivered", "refugio-dos"), ("returned", "ong-uno"), ("rejected", None)]
)
def test_the_step_is_owed_by_whose_turn_it_is(status: str, org: str | None) -> None:
    assert owed_by(state(status)) == org
    assert (due_at(state(status)) is None) == (org is None)


def test_before_its_moment_nothing_is_told() -> None:
    one = waiting("sent")
    assert wake(one, NOW + 12 * HOUR - timedelta(seconds=1)) == (one, None)


def test_who_was_away_is_not_reminded_of_what_is_overdue() -> None:
    one, stage = wake(waiting("sent"), NOW + 25 * HOUR)
    assert stage == "overdue"
    assert wake(one, NOW + 25 * HOUR) == (one, None)


def test_what_was_told_stays_told_while_the_same_party_owes_the_same_answer() -> None:
    one, _ = wake(waiting("sent"), NOW + 12 * HOUR)
    later = entered(one, replace(one, status="delivered", version=4), "hub")
    assert (later.stage, later.next_at) == ("reminded", NOW + 24 * HOUR)
    returned = entered(later, replace(later, status="returned", version=5), "recipient")
    assert (returned.stage, returned.next_at) == (None, NOW + 12 * HOUR)


def test_news_begins_the_time_anew() -> None:
    one, _ = wake(waiting("accepted"), NOW + 84 * HOUR)
    moved = replace(one, status="scheduled", updated_at=NOW + 90 * HOUR)
    assert entered(one, moved, "recipient").next_at == NOW + (90 + 360) * HOUR


def test_a_due_time_that_is_past_already_still_goes_by_stages() -> None:
    one, seen = waiting("sent", response_due=NOW - HOUR), []
    while one.next_at is not None:
        one, stage = wake(one, NOW)
        seen.append(stage)
    assert seen == ["overdue", "escalated", "expired"]


@pytest.mark.parametrize(
    ("status", "role", "result"),
    [
        ("rejected", "recipient", "answered"),
        ("completed", "recipient", "answered"),
        ("not_completed", "recipient", "answered"),
        ("cancelled", "recipient", "answered"),
        ("cancelled", "sender", "ended_by_sender"),
        ("entered_in_error", "sender", "ended_by_sender"),
        ("expired", "hub", "expired"),
        ("revoked", "consent", "revoked"),
        ("accepted", "recipient", None),
    ],
)
def test_an_end_is_counted_by_who_brought_it(status: str, role: str, result: str | None) -> None:
    before = waiting("delivered")
    assert entered(before, replace(before, status=status), role).closed == result


def test_a_loop_is_counted_once() -> None:
    one = waiting("on_hold")
    while one.next_at is not None:
        one, _ = wake(one, one.next_at)
    later = entered(one, replace(one, status="completed"), "recipient")
    assert (one.closed, later.closed) == ("escalated", "escalated")


ACTS = st.lists(
    st.tuples(st.sampled_from(COMMANDS), st.integers(min_value=1, max_value=2000)), max_size=40
)
BOUND = LONGEST + timedelta(hours=1)


@settings(max_examples=200, deadline=None)
@given(ACTS, st.integers(min_value=0, max_value=72))
def test_every_referral_ends_or_is_escalated_within_the_bound(acts: Any, hours: int) -> None:
    """The parties act or not; between their acts the clock runs and the timers wake on time."""
    one = waiting("sent", response_due=NOW + hours * HOUR)
    now, last, stages = NOW, NOW, []
    for name, pause in [*acts, ("", 24 * 365)]:
        until = now + pause * HOUR
        while one.next_at is not None and one.next_at <= until:
            now = max(now, one.next_at)
            one, stage = wake(one, now)
            if stage is not None:
                stages.append((one.version, stage))
            if stage == "escalated":
                assert now - last <= BOUND
                last = now
        now = until
        if one.status in TERMINAL:
            break
        if one.stage != "escalated":
            assert now - last <= BOUND
        if waits()[one.status].clock == "answer":
            assert now - NOW <= 1.5 * hours * HOUR + HOUR
        row = TABLE.get((one.status, name))
        if row is not None and name != "mark_error":
            moved = apply(one, command(name, role_for(row)), now, TABLE, consent_valid=True)
            if not isinstance(moved, Denied):
                one = entered(one, moved.after, role_for(row))
    assert one.status in TERMINAL or one.stage == "escalated"
    assert one.closed is not None
    assert len(stages) == len(set(stages))
    assert upcoming(one) is None


def test_news_for_ever_are_escalated_all_the_same() -> None:
    one, now = waiting("scheduled"), NOW
    escalated = 0
    for week in range(60):
        now = NOW + timedelta(days=7 * week)
        while one.next_at is not None and one.next_at <= now:
            one, stage = wake(one, max(one.next_at, one.updated_at))
            escalated += stage == "escalated"
        moved: Any = apply(one, command("reschedule"), now, TABLE, consent_valid=True)
        one = entered(one, replace(moved.after, version=one.version + 1), "recipient")
    assert escalated == 2
