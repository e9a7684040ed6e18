"""The state machine does exactly what its table says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.ports.referral import Command
from services.referral.domain import (
    RULES,
    TERMINAL,
    Denied,
    State,
    Step,
    expand,
    machine,
    narrowed,
)
from services.referral.domain import (
    apply as apply_one,
)
from services.referral.events import Cause, tell

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TABLE = machine()
STATES = sorted({source for source, _ in TABLE} | TERMINAL)
COMMANDS = sorted({command for _, command in TABLE})
ORGS = {"sender": "ong-uno", "recipient": "refugio-dos", "hub": "hub", "consent": "hub"}


def apply(*given: Any, **more: Any) -> Any:
    """`domain.apply`, whose answer each test takes apart."""
    return apply_one(*given, **more)


def told_of(step: Any) -> Any:
    return tell(step, uuid4(), Cause())


def state(status: Any = "delivered", **changes: Any) -> Any:
    fields = {
        "referral_ref": uuid4(),
        "case_ref": uuid4(),
        "from_org": "ong-uno",
        "to_org": "refugio-dos",
        "status": status,
        "version": 3,
        "purpose": "service_referral",
        "consent_ref": uuid4(),
        "confidentiality": "restricted",
        "data_categories": ("contact", "pseudonymous_core"),
        "directory_entry_ref": None,
        "vault_version": 1,
        "response_due": NOW + timedelta(hours=24),
        "replaces": None,
        "onward_of": None,
        "before_cancel": "scheduled" if status == "cancel_requested" else None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return State(**(fields | changes))


def command(name: Any, role: Any = "recipient", **changes: Any) -> Any:
    fields = {
        "command_id": uuid4(),
        "referral_ref": UUID(int=1),
        "command": name,
        "actor_org": ORGS[role],
        "actor_role": role,
        "reason_code": "no_capacity",
        "outcome": "service_provided",
        "appointment_outcome": "no_show",
    }
    return Command(**(fields | changes))


def role_for(row: Any) -> Any:
    return min(row.actors)


@pytest.mark.parametrize("status", STATES)
@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_in_each_state_is_allowed_exactly_where_the_table_has_a_row(
    status: Any, name: Any
) -> None:
    row = TABLE.get((status, name))
    role = role_for(row) if row else "recipient"
    result = apply(state(status), command(name, role), NOW, TABLE, consent_valid=True)
    if row is None:
        assert result == Denied(rule="illegal-transition")
    else:
        assert isinstance(result, Step)
        expected = "scheduled" if row.target == "before_cancel" else row.target
        assert (result.after.status, result.after.version) == (expected, 4)


@pytest.mark.parametrize(("source", "name"), sorted(TABLE))
def test_only_the_actor_of_the_row_may_give_the_command(source: Any, name: Any) -> None:
    row = TABLE[source, name]
    for role in ORGS:
        result = apply(state(source), command(name, role), NOW, TABLE, consent_valid=True)
        assert isinstance(result, Step) is (role in row.actors)
    for role in row.actors & {"sender", "recipient"}:
        other = command(name, role, actor_org="ong-otra")
        result = apply(state(source), other, NOW, TABLE, consent_valid=True)
        assert result == Denied(rule="not-your-command")


@pytest.mark.parametrize(("source", "name"), sorted(TABLE))
def test_a_guard_of_the_row_refuses_when_its_condition_is_missing(source: Any, name: Any) -> None:
    row = TABLE[source, name]
    missing: dict[str, tuple[dict[str, Any], bool, str]] = {
        "reason": ({"reason_code": None}, True, "reason-required"),
        "outcome": ({"outcome": None}, True, "outcome-required"),
        "appointment": ({"appointment_outcome": "attended"}, True, "appointment-outcome-required"),
        "consent": ({}, False, "consent-not-valid"),
    }
    for need, (changes, valid, rule) in missing.items():
        given_command = command(name, role_for(row), **changes)
        result = apply(state(source), given_command, NOW, TABLE, consent_valid=valid)
        if need in row.needs:
            assert result == Denied(rule=rule)
        else:
            assert isinstance(result, Step)


def test_a_stale_version_is_refused_before_anything_else() -> None:
    stale = command("accept", expected_version=2)
    result = apply(state(), stale, NOW, TABLE, consent_valid=True)
    assert result == Denied(rule="version-conflict")


def test_a_refused_cancellation_returns_to_the_state_before() -> None:
    asked = apply(
        state("on_hold"), command("request_cancel", "sender"), NOW, TABLE, consent_valid=True
    )
    back = apply(asked.after, command("refuse_cancel"), NOW, TABLE, consent_valid=True)
    assert back.after.status == "on_hold"
    assert back.after.before_cancel is None


def test_a_table_with_two_answers_for_one_command_is_refused() -> None:
    row = TABLE["sent", "cancel"]
    with pytest.raises(ValueError, match="two transitions"):
        expand([row, replace(row, id="T99")])


@given(st.lists(st.sampled_from(COMMANDS), max_size=12), st.booleans())
def test_any_walk_stays_inside_the_table_and_tells_of_every_step(names: Any, valid: Any) -> None:
    now = state("draft", version=0)
    for name in names:
        row = TABLE.get((now.status, name))
        result = apply(
            now, command(name, role_for(row) if row else "hub"), NOW, TABLE, consent_valid=valid
        )
        if isinstance(result, Denied):
            assert result.rule in RULES
            continue
        assert (now.status, name) in TABLE
        assert now.status not in TERMINAL or name == "mark_error"
        told = told_of(result)
        assert told.event.event_type == TABLE[now.status, name].event
        assert told.event.version == now.version + 1
        now = result.after


def test_reasons_and_outcomes_travel_as_facts_only() -> None:
    step = apply(state(), command("reject"), NOW, TABLE, consent_valid=True)
    told = told_of(step)
    assert told.facts.referral_reason_code == "no_capacity"
    assert "no_capacity" not in repr(told.event)
    assert "no_capacity" not in repr(told)


def test_withdrawing_the_core_leaves_nothing_and_withdrawing_contact_leaves_the_rest() -> None:
    assert narrowed(state(), frozenset({"pseudonymous_core"})) is None
    assert narrowed(state(), frozenset({"contact"})) == ("pseudonymous_core",)
