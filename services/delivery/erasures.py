"""Requests to delete at every past recipient, tracked to the partner's answer.

It guards that a request is made once per referral, recipient and what is to go, goes out at once in
a lane of its own, and is made again when something of that may have arrived after it. The answer is
a code of `withdrawal_effect`; without one in the agreed days the request is overdue.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from schemas import CODELIST_VERSION, ConsentEffectReported, encode, is_code
from services.delivery import store
from services.delivery.domain import Task
from services.kit.exchange import put_events
from services.kit.leaf import Leaf, append_leaves, leaf
from services.kit.ports.delivery import EffectReport, EffectResult, ErasureQuery, ErasureState

Conn = Any

COLUMNS: Final = (
    "erasure_ref, case_ref, referral_ref, to_org, source_org, confidentiality, round,"
    " data_categories, task_id"
)
# ruff: noqa: S608 -- the only text put into these statements is the column list above
_REQUEST: Final = f"""
insert into delivery.erasure (erasure_ref, case_ref, referral_ref, to_org, source_org,
    confidentiality, due_at, data_categories, task_id)
select e, c, r, t, s, f, d, string_to_array(k, ','), i
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[],
    $7::timestamptz[], $8::text[], $9::uuid[]) q(e, c, r, t, s, f, d, k, i)
on conflict (referral_ref, to_org, data_categories) do nothing
returning {COLUMNS}
"""
_AGAIN: Final = f"""
update delivery.erasure e set round = e.round + 1, state = 'requested', effect = null,
    reported_at = null, task_id = gen_random_uuid()
from unnest($1::uuid[], $2::text[], $3::text[]) q(r, o, k)
where e.referral_ref = q.r and e.to_org = q.o
  and (e.data_categories = '{{}}' or e.data_categories && string_to_array(q.k, ','))
returning {", ".join("e." + name for name in COLUMNS.split(", "))}
"""
_OF_TASK: Final = f"select {COLUMNS} from delivery.erasure where task_id = $1"
_SENT: Final = """
update delivery.erasure set state = case when state = 'overdue' then state else 'sent' end,
    sent_at = clock_timestamp() where erasure_ref = $1 and state <> 'acknowledged'
"""
_REPORTED: Final = """
update delivery.erasure set state = 'acknowledged', effect = $2, reported_at = $3
where erasure_ref = $1 and state <> 'acknowledged' and round = $4 returning erasure_ref
"""
_WAITING: Final = f"""
select {", ".join("e." + name for name in COLUMNS.split(", "))}
from delivery.erasure e join delivery.task t on t.task_id = e.task_id and t.state = 'done'
where e.state in ('sent', 'overdue') order by e.due_at limit 200
"""
_OVERDUE: Final = """
update delivery.erasure set state = 'overdue'
where state in ('requested', 'sent') and due_at < clock_timestamp()
"""
_SHOWN: Final = (
    "task_id as request_id, referral_ref, to_org, state, effect, data_categories, requested_at,"
    " due_at, erasure_ref as place"
)
_FIND: Final = f"""
select {_SHOWN} from delivery.erasure
where ($1::text is null or to_org = $1) and ($2::uuid is null or referral_ref = $2)
  and ($3::text[] = '{{}}' or state = any($3)) and task_id is not null
  and ($4::timestamptz is null or (requested_at, erasure_ref) > ($4, $5::uuid))
order by requested_at, erasure_ref limit $6
"""
_HELD: Final = f"""
select {COLUMNS} from delivery.erasure where task_id = $1 and to_org = $2 for update
"""
_ONE: Final = f"select {_SHOWN} from delivery.erasure where erasure_ref = $1"
_NEED_NOT_GO: Final = """
update delivery.task set state = 'done', rule = 'reported', ended_at = clock_timestamp(),
    confirmed = true where task_id = $1 and state = 'queued'
"""
_COUNT: Final = "select state, count(*) as n from delivery.erasure group by state"


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure:
    """One request; `round` counts how often it had to be made, `task_id` is of the present one."""

    erasure_ref: UUID
    case_ref: UUID
    referral_ref: UUID
    to_org: str
    source_org: str
    confidentiality: str
    round: int
    data_categories: tuple[str, ...]
    """What is to go; empty: everything of the referral."""
    task_id: UUID


def _erasure(record: asyncpg.Record) -> Erasure:
    fields = {name: record[name] for name in COLUMNS.split(", ")}
    return Erasure(**(fields | {"data_categories": tuple(fields["data_categories"])}))


async def request(
    conn: Conn, recipients: Sequence[asyncpg.Record], due_at: Sequence[datetime]
) -> list[Erasure]:
    """Make the requests that are not there yet; answers the new ones (not yet queued).

    `recipients` are rows of `intents.recipients` or `intents.holders`.
    """
    rows = await conn.fetch(
        _REQUEST,
        [uuid4() for _ in recipients],
        [r["case_ref"] for r in recipients],
        [r["referral_ref"] for r in recipients],
        [r["to_org"] for r in recipients],
        [r["source_org"] for r in recipients],
        [r["confidentiality"] for r in recipients],
        list(due_at),
        [",".join(r["data_categories"]) for r in recipients],
        [uuid4() for _ in recipients],
    )
    return [_erasure(r) for r in rows]


async def again(conn: Conn, late: Mapping[tuple[UUID, str], frozenset[str]]) -> list[Erasure]:
    """Make requests anew, where there was one, for (referral, org) that got categories late."""
    rows = await conn.fetch(
        _AGAIN,
        [r for r, _ in late],
        [o for _, o in late],
        [",".join(sorted(categories)) for categories in late.values()],
    )
    return [_erasure(r) for r in rows]


def task_for(erasure: Erasure) -> Task:
    """The task that takes a request to its recipient."""
    return Task(
        task_id=erasure.task_id,
        kind="erasure",
        case_ref=erasure.case_ref,
        referral_ref=erasure.referral_ref,
        to_org=erasure.to_org,
        purpose="",
        source_org=erasure.source_org,
        confidentiality=erasure.confidentiality,
        version=erasure.round,
        again=False,
        doubtful=False,
        attempts=0,
        claim=None,
    )


async def queue(conn: Conn, made: Sequence[Erasure]) -> None:
    """Queue requests; their leaves (`leaves_of`) belong into the same transaction."""
    if made:
        await store.put(conn, [task_for(e) for e in made])


def leaves_of(made: Sequence[Erasure], now: datetime, cell: str) -> list[Leaf]:
    """The leaves of queued requests."""
    return [
        leaf(
            "erasure_requested",
            now,
            actor=cell,
            case_ref=e.case_ref,
            referral_ref=e.referral_ref,
            to_org=e.to_org,
            categories=e.data_categories or None,
            erasure_ref=e.erasure_ref,
        )
        for e in made
    ]


async def of_task(conn: Conn, task: Task) -> Erasure | None:
    """The request a task carries; None when a later round has taken its place."""
    row = await conn.fetchrow(_OF_TASK, task.task_id)
    return _erasure(row) if row is not None else None


async def sent(conn: Conn, erasure_ref: UUID) -> None:
    """Note that the partner has the request."""
    await conn.execute(_SENT, erasure_ref)


async def report(conn: Conn, erasure: Erasure, effect: str, now: datetime) -> bool:
    """Record the partner's answer with its leaf and event; False when it was known or no code."""
    if not is_code("withdrawal_effect", effect) or effect == "pending":
        return False
    known = await conn.fetchval(_REPORTED, erasure.erasure_ref, effect, now, erasure.round)
    if known is None:
        return False
    event = ConsentEffectReported(
        event_id=uuid4(),
        occurred_at=now,
        case_ref=erasure.case_ref,
        source_org=erasure.source_org,
        correlation_id=erasure.referral_ref,
        codelist_version=CODELIST_VERSION,
        confidentiality=erasure.confidentiality,
        erasure_ref=erasure.erasure_ref,
        to_org=erasure.to_org,
        withdrawal_effect=effect,
        reported_at=now,
    )
    await put_events(conn, [encode(event)])
    reported = leaf(
        "erasure_reported",
        now,
        actor=erasure.to_org,
        case_ref=erasure.case_ref,
        referral_ref=erasure.referral_ref,
        to_org=erasure.to_org,
        erasure_ref=erasure.erasure_ref,
        status=effect,
    )
    await append_leaves(conn, [reported])
    return True


async def find(pool: asyncpg.Pool, query: ErasureQuery) -> list[ErasureState]:
    """A page of requests, oldest first."""
    at, place = query.after or (None, None)
    rows = await pool.fetch(
        _FIND, query.to_org, query.referral_ref, list(query.states), at, place, query.limit
    )
    return [_state(r) for r in rows]


def _state(record: asyncpg.Record) -> ErasureState:
    fields = dict(record)
    return ErasureState(**(fields | {"data_categories": tuple(fields["data_categories"])}))


async def answered(conn: Conn, said: EffectReport, now: datetime) -> EffectResult:
    """Take a recipient's answer to a request; where it was not yet sent, it need not go."""
    if not is_code("withdrawal_effect", said.effect) or said.effect == "pending":
        return EffectResult(rule="effect")
    row = await conn.fetchrow(_HELD, said.request_id, said.to_org)
    if row is None:
        return EffectResult(rule="not-found")
    erasure = _erasure(row)
    await conn.execute(_NEED_NOT_GO, erasure.task_id)  # own rows before bus and custody
    new = await report(conn, erasure, said.effect, now)
    shown = _state(await conn.fetchrow(_ONE, erasure.erasure_ref))
    rule = "reported" if new else "repeated" if shown.effect == said.effect else "other-effect"
    return EffectResult(rule=rule, request=shown)


async def waiting(pool: asyncpg.Pool) -> list[Erasure]:
    """Requests that the partner has and has not answered."""
    return [_erasure(r) for r in await pool.fetch(_WAITING)]


async def mark_overdue(pool: asyncpg.Pool) -> None:
    """Requests past the agreed days."""
    await pool.execute(_OVERDUE)


async def counts(pool: asyncpg.Pool) -> dict[str, int]:
    """Requests by state."""
    return {r["state"]: r["n"] for r in await pool.fetch(_COUNT)}
