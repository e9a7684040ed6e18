"""Intents: the row and leaf written before anything leaves, and what became of each.

It guards that every intent ends exactly once as disclosed, not sent or unknown, with its leaf in
the same transaction, and that a disclosure is announced. Whether to disclose is `authority`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from schemas import CODELIST_VERSION, DisclosureMade, DisclosureRefused, encode
from services.delivery.domain import Task
from services.kit.leaf import Leaf, leaf

Conn = Any

COLUMNS: Final = (
    "grant_ref, task_id, case_ref, referral_ref, to_org, purpose, source_org, confidentiality,"
    " data_categories, legal_basis, consent_ref, consent_version, policy_version, deadline,"
    " vault_version"
)
# ruff: noqa: S608 -- the only text put into these statements is the column list above
_OPEN: Final = f"""
insert into delivery.intent ({COLUMNS})
select g, i, c, r, t, p, s, f, string_to_array(k, ','), b, n, v, y, d, w
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::uuid[], $12::bigint[], $13::text[],
    $14::timestamptz[], $15::int[]) q(g, i, c, r, t, p, s, f, k, b, n, v, y, d, w)
"""
_CLOSE: Final = f"""
update delivery.intent t set state = q.s
from unnest($1::uuid[], $2::text[]) q(g, s)
where t.grant_ref = q.g and t.state in ('open', 'unknown') and t.state <> q.s
returning {", ".join("t." + name for name in COLUMNS.split(", "))}, t.state
"""
_LOST: Final = f"""
select {COLUMNS} from delivery.intent
where state = 'open' and deadline < $1 order by deadline limit 64
"""
_OF_TASKS: Final = f"""
select {COLUMNS} from delivery.intent
where task_id = any($1::uuid[]) and state in ('open', 'unknown') and state = any($2::text[])
"""
_RECIPIENTS: Final = """
select distinct on (i.referral_ref, i.to_org) i.case_ref, i.referral_ref, i.to_org, i.purpose,
    i.source_org, i.confidentiality, '{}'::text[] as data_categories
from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) q(c, o, p, r)
join delivery.intent i on i.case_ref = q.c and (q.o is null or i.to_org = q.o)
    and (q.p is null or i.purpose = q.p) and (q.r is null or i.referral_ref = q.r)
where i.state <> 'not_sent'
order by i.referral_ref, i.to_org
"""


_HOLDERS: Final = """
select i.case_ref, i.referral_ref, i.to_org, i.source_org, i.confidentiality,
    array_agg(distinct k order by k) as data_categories
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) q(c, o, p, lost)
join delivery.intent i on i.case_ref = q.c and i.to_org = q.o and i.purpose = q.p
cross join unnest(i.data_categories) k
where i.state <> 'not_sent' and k = any(string_to_array(q.lost, ','))
group by i.case_ref, i.referral_ref, i.to_org, i.source_org, i.confidentiality
order by i.referral_ref, i.to_org
"""
_STANDING: Final = """
select q.n, i.referral_ref, array_agg(distinct k) as data_categories
from unnest($1::uuid[], $2::text[]) with ordinality q(c, o, n)
join delivery.intent i on i.case_ref = q.c and i.to_org = q.o
cross join unnest(i.data_categories) k
where i.state <> 'not_sent' and not exists (
    select from delivery.erasure e where e.referral_ref = i.referral_ref and e.to_org = i.to_org
       and (e.data_categories = '{}' or k = any(e.data_categories)))
group by q.n, i.referral_ref
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """One disclosure as it was authorised."""

    grant_ref: UUID
    task_id: UUID | None
    case_ref: UUID
    referral_ref: UUID
    to_org: str
    purpose: str
    source_org: str
    confidentiality: str
    data_categories: tuple[str, ...]
    legal_basis: str
    consent_ref: UUID
    consent_version: int
    policy_version: str
    deadline: datetime
    vault_version: int | None = None


def _intent(record: asyncpg.Record) -> Intent:
    fields = {name: record[name] for name in COLUMNS.split(", ")}
    return Intent(**(fields | {"data_categories": tuple(fields["data_categories"])}))


async def open_all(conn: Conn, intents: Sequence[Intent]) -> None:
    """Write the intents, before anything leaves."""
    await conn.execute(
        _OPEN,
        [i.grant_ref for i in intents],
        [i.task_id for i in intents],
        [i.case_ref for i in intents],
        [i.referral_ref for i in intents],
        [i.to_org for i in intents],
        [i.purpose for i in intents],
        [i.source_org for i in intents],
        [i.confidentiality for i in intents],
        [",".join(i.data_categories) for i in intents],
        [i.legal_basis for i in intents],
        [i.consent_ref for i in intents],
        [i.consent_version for i in intents],
        [i.policy_version for i in intents],
        [i.deadline for i in intents],
        [i.vault_version for i in intents],
    )


async def close(conn: Conn, ends: Sequence[tuple[UUID, str]]) -> list[tuple[Intent, str]]:
    """End intents as (grant, state); answers those that were not yet in that state."""
    rows = await conn.fetch(_CLOSE, [g for g, _ in ends], [s for _, s in ends])
    return [(_intent(r), r["state"]) for r in rows]


async def lost(conn: Conn, before: datetime) -> list[Intent]:
    """Intents without outcome whose deadline is well past: their holder is gone."""
    return [_intent(r) for r in await conn.fetch(_LOST, before)]


async def of_tasks(conn: Conn, task_ids: Sequence[UUID], states: Sequence[str]) -> list[Intent]:
    """Intents of these tasks that are `open` or `unknown`, whichever is asked for."""
    return [_intent(r) for r in await conn.fetch(_OF_TASKS, list(task_ids), list(states))]


async def recipients(
    conn: Conn, rows: Sequence[tuple[UUID, str | None, str | None, UUID | None]]
) -> list[asyncpg.Record]:
    """Who may hold something: (case, org or any, purpose or any, referral or any) each."""
    if not rows:
        return []
    return list(await conn.fetch(_RECIPIENTS, *(list(c) for c in zip(*rows, strict=True))))


async def holders(
    conn: Conn, rows: Sequence[tuple[UUID, str, str, tuple[str, ...]]]
) -> list[asyncpg.Record]:
    """Who may hold which of (case, org, purpose, categories): a row for each referral and org."""
    if not rows:
        return []
    lost = [",".join(categories) for *_, categories in rows]
    columns = list(zip(*rows, strict=True))[:3]
    return list(await conn.fetch(_HOLDERS, *(list(c) for c in columns), lost))


Standing = Mapping[UUID, frozenset[str]]
"""Categories that a recipient may hold of a case by referral, but for what it shall delete."""


async def standing(conn: Conn, lanes: Sequence[tuple[UUID, str]]) -> list[Standing]:
    """What may be held of each (case, org)."""
    rows = await conn.fetch(_STANDING, [c for c, _ in lanes], [o for _, o in lanes])
    found: list[dict[UUID, frozenset[str]]] = [{} for _ in lanes]
    for row in rows:
        found[row["n"] - 1][row["referral_ref"]] = frozenset(row["data_categories"])
    return list(found)


def intent_leaf(intent: Intent, kind: Any, now: datetime, rule: str, cell: str) -> Leaf:
    """The leaf of an intent or of its end."""
    return leaf(
        kind,
        now,
        actor=cell,
        org=intent.source_org,
        case_ref=intent.case_ref,
        referral_ref=intent.referral_ref,
        to_org=intent.to_org,
        categories=intent.data_categories,
        purpose=intent.purpose,
        consent_ref=intent.consent_ref,
        consent_version=intent.consent_version,
        legal_basis=intent.legal_basis,
        policy_version=intent.policy_version,
        grant_ref=intent.grant_ref,
        delivery_ref=intent.task_id,
        rule=rule,
    )


def made(intent: Intent, leaf_ref: UUID, now: datetime) -> Any:
    """`disclosure.made`, encoded."""
    return encode(
        DisclosureMade(
            event_id=uuid4(),
            occurred_at=now,
            case_ref=intent.case_ref,
            source_org=intent.source_org,
            correlation_id=intent.referral_ref,
            codelist_version=CODELIST_VERSION,
            confidentiality=intent.confidentiality,
            disclosure_ref=intent.grant_ref,
            referral_ref=intent.referral_ref,
            to_org=intent.to_org,
            data_categories=intent.data_categories,
            legal_basis=intent.legal_basis,
            consent_ref=intent.consent_ref,
            grant_ref=intent.grant_ref,
            policy_version=intent.policy_version,
            leaf_ref=leaf_ref,
        )
    )


def refused(task: Task, rule: str, policy_version: str, leaf_ref: UUID, now: datetime) -> Any:
    """`disclosure.refused` at delivery, encoded."""
    return encode(
        DisclosureRefused(
            event_id=uuid4(),
            occurred_at=now,
            case_ref=task.case_ref,
            source_org=task.source_org,
            correlation_id=task.referral_ref,
            codelist_version=CODELIST_VERSION,
            confidentiality=task.confidentiality,
            referral_ref=task.referral_ref,
            to_org=task.to_org,
            stage="delivery",
            rule=rule,
            policy_version=policy_version,
            leaf_ref=leaf_ref,
        )
    )


def suppressed_leaf(task: Task, rule: str, now: datetime, cell: str) -> Leaf:
    """The leaf of content that was kept from leaving."""
    return leaf(
        "suppressed",
        now,
        actor=cell,
        case_ref=task.case_ref,
        referral_ref=task.referral_ref,
        to_org=task.to_org,
        delivery_ref=task.task_id,
        rule=rule,
    )
