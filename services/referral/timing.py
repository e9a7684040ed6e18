"""How long a referral may wait for somebody, and what is done about it when.

Pure rules over `timing.csv`: state → who owes the next step, by when, and at which share of that
time the hub reminds, calls it overdue, escalates to the sender's coordinator and, while an answer
is owed, expires. It guards that no referral waits for ever unseen: where news keep coming, it is
escalated every `LONGEST` all the same. Doing what is due is left to `timers`.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from services.referral.domain import TERMINAL, State

LONGEST: Final = timedelta(days=180)
"""From acceptance by the hub, or the last escalation, to the next while a referral is open."""
OVERDUE: Final = ("overdue", "escalated")
"""Stages in which a referral stands in the coordinator's list."""
_COLUMNS: Final = {
    "reminded": "remind",
    "overdue": "overdue",
    "escalated": "escalate",
    "expired": "expire",
}
RESULTS: Final = ("answered", "ended_by_sender", "expired", "revoked", "escalated")
"""How a loop ends; an escalation after acceptance counts as an end too."""
Clock = Literal["answer", "news"]
Stage = Literal["reminded", "overdue", "escalated", "expired"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """One row of the table; `shares` of the time, by stage, in order."""

    owed_by: Literal["sender", "recipient"]
    clock: Clock
    """answer: from acceptance by the hub to `response_due`; news: `hours` from the last change."""
    hours: int
    shares: Mapping[Stage, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """The next thing to do for a referral that waits, and when."""

    stage: Stage
    at: datetime


@cache
def waits() -> Mapping[str, Wait]:
    """The committed table by state."""
    text = files("services.referral").joinpath("timing.csv").read_text(encoding="utf-8")
    return {row["status"]: _wait(row) for row in csv.DictReader(text.splitlines())}


def _wait(row: Mapping[str, str]) -> Wait:
    return Wait(
        owed_by="sender" if row["owed_by"] == "sender" else "recipient",
        clock="answer" if row["clock"] == "answer" else "news",
        hours=int(row["hours"]),
        shares={s: float(row[c]) for s, c in _COLUMNS.items() if row[c]},  # type: ignore[misc]
    )


def owed_by(state: State) -> str | None:
    """The organisation whose turn it is; None when nothing is waited for."""
    wait = waits().get(state.status)
    if wait is None:
        return None
    return state.from_org if wait.owed_by == "sender" else state.to_org


def due_at(state: State) -> datetime | None:
    """When the step that is owed is due; None when nothing is waited for."""
    wait = waits().get(state.status)
    return _span(state, wait)[1] if wait is not None else None


def _span(state: State, wait: Wait) -> tuple[datetime, datetime]:
    hours = timedelta(hours=wait.hours)
    if wait.clock == "news":
        return state.updated_at, state.updated_at + hours
    begun = state.created_at
    return begun, max(begun, state.response_due or begun + hours)


def _at(state: State, wait: Wait, stage: Stage) -> datetime:
    begun, due = _span(state, wait)
    return begun + wait.shares[stage] * (due - begun)


def upcoming(state: State) -> Moment | None:
    """What comes next for a referral that was told `state.stage`; None when nothing does."""
    wait = waits().get(state.status)
    if wait is None:
        return None
    told = list(_COLUMNS).index(state.stage) + 1 if state.stage else 0
    left = [stage for stage in wait.shares if list(_COLUMNS).index(stage) >= told]
    found = Moment(stage=left[0], at=_at(state, wait, left[0])) if left else None
    if wait.clock == "answer" or state.stage == "escalated":
        return found
    longest = (state.escalated_at or state.created_at) + LONGEST
    if found is None or longest < found.at:
        return Moment(stage="escalated", at=max(longest, state.updated_at))
    return found


def reached(state: State, now: datetime) -> Stage | None:
    """The stage to tell now: one after another, but no reminder of what is overdue already."""
    found = upcoming(state)
    if found is None or found.at > now:
        return None
    if found.stage == "reminded":
        over = upcoming(replace(state, stage="reminded"))
        return over.stage if over is not None and over.at <= now else "reminded"
    return found.stage


def told(state: State, stage: Stage, now: datetime) -> State:
    """The referral after a stage was told; its version and its last change stay as they are."""
    escalated = stage == "escalated"
    ends = waits()[state.status].clock == "answer"
    return planned(
        replace(
            state,
            stage=stage,
            escalated_at=now if escalated else state.escalated_at,
            closed=state.closed or ("escalated" if escalated and not ends else None),
        )
    )


def planned(state: State) -> State:
    """The referral with the moment at which the hub looks at it next."""
    found = upcoming(state)
    return replace(state, next_at=found.at if found is not None else None)


def entered(before: State, after: State, role: str) -> State:
    """The referral after moves, the last by `role`: what it waits for now, how its loop ended.

    What was told stays told while the same party owes the same answer.
    """
    same = _answering(before) and _answering(after) and owed_by(before) == owed_by(after)
    return planned(
        replace(
            after,
            stage=before.stage if same else None,
            closed=after.closed or _ending(after.status, role),
        )
    )


def _answering(state: State) -> bool:
    wait = waits().get(state.status)
    return wait is not None and wait.clock == "answer"


def _ending(status: str, role: str) -> str | None:
    """How the loop of a referral ended; None while it is open."""
    if status not in TERMINAL:
        return None
    if status in {"expired", "revoked"}:
        return status
    return "answered" if role == "recipient" else "ended_by_sender"
