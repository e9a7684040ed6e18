"""The life of one referral: which command may move it where, and who may give it.

Pure rules over the table in `transitions.csv`. It guards that nothing moves a referral except as a
row says: right state, right actor, reason or outcome given, consent still valid. Storing, sealing
and telling others are left to the store and to `events`.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Final
from uuid import UUID

from services.kit.ports.referral import Command

DRAFT: Final = "draft"
TERMINAL: Final = frozenset(
    {
        "rejected",
        "completed",
        "not_completed",
        "cancelled",
        "revoked",
        "expired",
        "entered_in_error",
    }
)
ANY: Final = "any"
ANY_OPEN: Final = "any_open"
BEFORE_CANCEL: Final = "before_cancel"
RULES: Final = frozenset(
    {
        "not-found",
        "version-conflict",
        "not-your-command",
        "illegal-transition",
        "reason-required",
        "outcome-required",
        "appointment-outcome-required",
        "consent-not-valid",
        "key-reused",
    }
)
"""Why a command is refused; the closed list."""
MISSED: Final = frozenset({"no_show", "cancelled"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """One row of the table: `actors` are roles, `needs` its guards, `event` what tells of it."""

    id: str
    source: str
    command: str
    target: str
    actors: frozenset[str]
    needs: frozenset[str]
    event: str


Machine = Mapping[tuple[str, str], Transition]
"""The transition by (state, command)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A referral's state; the codes that say something of the person are kept out of its repr."""

    referral_ref: UUID
    case_ref: UUID
    from_org: str
    to_org: str
    status: str
    version: int
    purpose: str
    consent_ref: UUID
    confidentiality: str
    data_categories: tuple[str, ...]
    directory_entry_ref: UUID | None
    vault_version: int
    response_due: datetime | None
    replaces: UUID | None
    onward_of: UUID | None
    before_cancel: str | None
    created_at: datetime
    updated_at: datetime
    stage: str | None = None
    """Last told of the present waiting; see `timing`."""
    next_at: datetime | None = None
    escalated_at: datetime | None = None
    closed: str | None = None
    service_type: str | None = field(default=None, repr=False)
    priority: str | None = field(default=None, repr=False)
    special_requirements: tuple[str, ...] = field(default=(), repr=False)
    reason_code: str | None = field(default=None, repr=False)
    outcome: str | None = field(default=None, repr=False)
    appointment_outcome: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A legal move: the state after it, and the row that allowed it."""

    before: State
    after: State
    transition: Transition
    command: Command


@dataclass(frozen=True, kw_only=True, slots=True)
class Denied:
    """A command that may not be done, by its rule of `RULES`."""

    rule: str


@cache
def machine() -> Machine:
    """The committed table."""
    text = files("services.referral").joinpath("transitions.csv").read_text(encoding="utf-8")
    return expand(_row(row) for row in csv.DictReader(text.splitlines()))


def _row(row: Mapping[str, str]) -> Transition:
    return Transition(
        id=row["id"],
        source=row["from"],
        command=row["command"],
        target=row["to"],
        actors=frozenset(row["actors"].split()),
        needs=frozenset(row["needs"].split()),
        event=row["event"],
    )


def expand(rows: Iterable[Transition]) -> Machine:
    """The table by (state, command), its `any` rows spelled out; two answers are a ValueError."""
    listed = list(rows)
    states = {r.source for r in listed} | {r.target for r in listed}
    states -= {ANY, ANY_OPEN, BEFORE_CANCEL}
    found: dict[tuple[str, str], Transition] = {}
    for row in listed:
        for source in _sources(row.source, states):
            if (source, row.command) in found:
                raise ValueError("two transitions for one state and command")
            found[source, row.command] = row
    return found


def _sources(source: str, states: set[str]) -> set[str]:
    if source == ANY:
        return states - {"entered_in_error"}
    if source == ANY_OPEN:
        return states - TERMINAL
    return {source}


def apply(
    state: State, command: Command, now: datetime, table: Machine, *, consent_valid: bool
) -> Step | Denied:
    """Move the state by one command, or name the rule that forbids it."""
    if command.expected_version not in {None, state.version}:
        return Denied(rule="version-conflict")
    row = table.get((state.status, command.command))
    if row is None:
        return Denied(rule="illegal-transition")
    rule = _actor_rule(state, command, row) or _guard_rule(command, row, valid=consent_valid)
    if rule is not None:
        return Denied(rule=rule)
    return Step(
        before=state, after=_moved(state, command, row, now), transition=row, command=command
    )


def needs_consent(status: str, command: str, table: Machine) -> bool:
    """Whether the move asks for valid consent; false also for a move that does not exist."""
    row = table.get((status, command))
    return row is not None and "consent" in row.needs


def _actor_rule(state: State, command: Command, row: Transition) -> str | None:
    party = {"sender": state.from_org, "recipient": state.to_org}.get(command.actor_role)
    wrong_org = party is not None and party != command.actor_org
    if wrong_org or command.actor_role not in row.actors:
        return "not-your-command"
    return None


def _guard_rule(command: Command, row: Transition, *, valid: bool) -> str | None:
    if "reason" in row.needs and command.reason_code is None:
        return "reason-required"
    if "outcome" in row.needs and command.outcome is None:
        return "outcome-required"
    if "appointment" in row.needs and command.appointment_outcome not in MISSED:
        return "appointment-outcome-required"
    if "consent" in row.needs and not valid:
        return "consent-not-valid"
    return None


def _moved(state: State, command: Command, row: Transition, now: datetime) -> State:
    target = row.target
    if target == BEFORE_CANCEL:
        target = state.before_cancel or "accepted"
    return replace(
        state,
        status=target,
        version=state.version + 1,
        updated_at=now,
        before_cancel=state.status if target == "cancel_requested" else None,
        reason_code=command.reason_code,
        outcome=command.outcome or state.outcome,
        appointment_outcome=command.appointment_outcome or state.appointment_outcome,
    )


def narrowed(state: State, lost: frozenset[str]) -> tuple[str, ...] | None:
    """Categories left when some are withdrawn; None when nothing useful remains (revoke)."""
    left = tuple(c for c in state.data_categories if c not in lost)
    return left if "pseudonymous_core" in left else None
