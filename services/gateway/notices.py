"""Later notices: what a person must yet be told, from the act that makes it due until it is done.

It guards that a notice says what made it due and no more, and that there is one for each act. It is
stored in the transaction of that act; people see and close notices by `admin/notices.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from services.kit.leaf import Leaf, leaf

Cause = Literal["emergency", "identity_opened"]
OUTCOMES: Final = ("told", "unreachable", "unsafe")
"""How a notice ends: the person was told, cannot be found, or telling would endanger them."""

_DUE: Final = """
insert into gateway.notice (notice_ref, cause, case_ref, about_ref, due_since)
select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::timestamptz[])
on conflict (about_ref) do nothing"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A notice that is due; `about_ref` is the referral or the opening that made it so."""

    notice_ref: UUID
    cause: Cause
    case_ref: UUID
    about_ref: UUID
    due_since: datetime


def due(cause: Cause, case_ref: UUID, about_ref: UUID, now: datetime) -> Notice:
    """A notice due from now on."""
    return Notice(
        notice_ref=uuid4(), cause=cause, case_ref=case_ref, about_ref=about_ref, due_since=now
    )


def due_leaf(notice: Notice, actor: str) -> Leaf:
    """The leaf that belongs into the transaction which stores the notice."""
    return _leaf("notice_due", notice, notice.due_since, actor)


async def store(conn: Any, notices: Sequence[Notice]) -> None:
    """Store notices; one for the same act stays as it is."""
    if notices:
        await conn.execute(
            _DUE,
            [n.notice_ref for n in notices],
            [n.cause for n in notices],
            [n.case_ref for n in notices],
            [n.about_ref for n in notices],
            [n.due_since for n in notices],
        )


def closed_leaf(notice: Notice, now: datetime, actor: str, outcome: str) -> Leaf:
    """The leaf that belongs into the transaction which closes the notice."""
    return _leaf("notice_closed", notice, now, actor, outcome)


def _leaf(
    kind: Literal["notice_due", "notice_closed"],
    notice: Notice,
    now: datetime,
    actor: str,
    outcome: str | None = None,
) -> Leaf:
    about = "opening_ref" if notice.cause == "identity_opened" else "referral_ref"
    return leaf(
        kind,
        now,
        actor=actor,
        case_ref=notice.case_ref,
        notice_ref=notice.notice_ref,
        rule=notice.cause,
        status=outcome,
        **{about: notice.about_ref},
    )
