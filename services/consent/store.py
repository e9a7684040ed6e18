"""Consent in PostgreSQL: what was live at a version of a case, and changes under its lock.

Rows are only added and ended, never rewritten, so reading at a version needs no lock and any past
decision can be evaluated again. Every change is one transaction: exclusive lock of the case, the
stamp after it, rows, version + 1, event, custody leaf. What changes is decided in `domain.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from services.consent.domain import Change
from services.kit.doors import rule_json
from services.kit.ports.consent import ConsentRecord, ConsentRule, Withdrawal, Withdrawn


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseConsent:
    """Everything a decision on one case needs, as of one version."""

    case_ref: UUID
    version: int
    records: tuple[ConsentRecord, ...]
    keys: Mapping[str, int]
    """Current key version by purpose; absent means 1."""
    item_ids: Mapping[UUID, tuple[int, ...]]
    """Row ids of each record's rules, in their order."""


EMPTY: Mapping[str, int] = {}


async def versions(conn: Any, cases: Sequence[UUID]) -> dict[UUID, int]:
    """Committed consent version of each case; 0 where there is none."""
    rows = await conn.fetch(
        "select case_ref, version from consent.version where case_ref = any($1::uuid[])",
        list(cases),
    )
    found = {r["case_ref"]: r["version"] for r in rows}
    return {case: found.get(case, 0) for case in cases}


async def load(conn: Any, at: Mapping[UUID, int]) -> dict[UUID, CaseConsent]:
    """Consent of each case as it stood at that version of it, 0 being none."""
    known = {case: version for case, version in at.items() if version > 0}
    records = await _records(conn, known) if known else {}
    keys = await _keys(conn, known) if known else {}
    return {
        case: CaseConsent(
            case_ref=case,
            version=version,
            records=tuple(record for record, _ in records.get(case, ())),
            keys=keys.get(case, EMPTY),
            item_ids={record.consent_ref: ids for record, ids in records.get(case, ())},
        )
        for case, version in at.items()
    }


async def _records(
    conn: Any, at: Mapping[UUID, int]
) -> dict[UUID, list[tuple[ConsentRecord, tuple[int, ...]]]]:
    rows = await conn.fetch(
        "select r.* from unnest($1::uuid[], $2::bigint[]) u(c, v)"
        " join consent.record r on r.case_ref = u.c and r.since_version <= u.v"
        " and (r.until_version is null or r.until_version > u.v) order by r.consent_ref",
        *(list(at), list(at.values())),
    )
    items = await conn.fetch(
        "select i.* from unnest($1::uuid[], $2::bigint[]) u(c, v)"
        " join consent.item i on i.case_ref = u.c and i.since_version <= u.v"
        " and (i.until_version is null or i.until_version > u.v) order by i.item_id",
        *(list(at), list(at.values())),
    )
    rules: dict[UUID, list[asyncpg.Record]] = {}
    for item in items:
        rules.setdefault(item["consent_ref"], []).append(item)
    found: dict[UUID, list[tuple[ConsentRecord, tuple[int, ...]]]] = {}
    for row in rows:
        own = rules.get(row["consent_ref"], [])
        record = _record(row, tuple(_rule(i) for i in own))
        ids = tuple(i["item_id"] for i in own)
        found.setdefault(row["case_ref"], []).append((record, ids))
    return found


async def _keys(conn: Any, at: Mapping[UUID, int]) -> dict[UUID, dict[str, int]]:
    rows = await conn.fetch(
        "select d.case_ref, d.purpose, max(d.key_version) + 1 as current"
        " from unnest($1::uuid[], $2::bigint[]) u(c, v) join consent.dead_key d"
        " on d.case_ref = u.c and d.since_version <= u.v group by d.case_ref, d.purpose",
        *(list(at), list(at.values())),
    )
    found: dict[UUID, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row["case_ref"], {})[row["purpose"]] = row["current"]
    return found


async def cases_of(conn: Any, consents: Sequence[UUID]) -> dict[UUID, UUID]:
    """Case of each consent that exists; a consent never changes its case."""
    rows = await conn.fetch(
        "select consent_ref, case_ref from consent.record"
        " where consent_ref = any($1::uuid[]) and until_version is null",
        list(consents),
    )
    return {r["consent_ref"]: r["case_ref"] for r in rows}


async def lock(conn: Any, case_ref: UUID) -> tuple[int, datetime]:
    """Take the case exclusively; answers its version and the time, both after the wait."""
    row = await conn.fetchrow("select * from consent.lock($1)", case_ref)
    return row["version"], row["at"]


async def apply(conn: Any, held: CaseConsent, consent_ref: UUID, change: Change) -> int:
    """Write a change planned under the lock of the case; answers the new version."""
    ids = held.item_ids.get(consent_ref, ())
    await conn.execute(
        "select consent.change($1, $2, $3, $4, $5::bigint[], $6::jsonb, $7::text[], $8::int[])",
        held.case_ref,
        consent_ref,
        held.version + 1,
        change.status,
        [ids[i] for i in change.ended],
        orjson.dumps([rule_json(rule) for rule in change.kept]).decode(),
        [k.purpose for k in change.dead_keys],
        [k.key_version for k in change.dead_keys],
    )
    return held.version + 1


async def changes(conn: Any, case_ref: UUID, newest: int) -> tuple[ConsentRecord, ...]:
    """Each record of a case as it stood at each version of it that changed the record."""
    last: dict[UUID, ConsentRecord] = {}
    found = []
    for version in range(1, newest + 1):
        held = (await load(conn, {case_ref: version}))[case_ref]
        for record in held.records:
            now = replace(record, version=version)
            before = last.get(record.consent_ref)
            if before is None or replace(before, version=version) != now:
                last[record.consent_ref] = now
                found.append(now)
    return tuple(found)


async def over(conn: Any, consent_ref: UUID, now: datetime) -> tuple[ConsentRule, ...]:
    """Permits of a record that have ended and whose time is over."""
    rows = await conn.fetch(
        "select purpose, to_org, data_categories, valid_from, valid_to from consent.item"
        " where consent_ref = $1 and decision = 'permit' and until_version is not null"
        " and valid_to <= $2 order by item_id",
        consent_ref,
        now,
    )
    return tuple(
        ConsentRule(
            decision="permit",
            purpose=r["purpose"],
            to_org=r["to_org"],
            to_kind=None,
            data_categories=tuple(r["data_categories"]),
            valid_from=r["valid_from"],
            valid_to=r["valid_to"],
        )
        for r in rows
    )


async def answered(conn: Any, request: Withdrawal) -> Withdrawn | None:
    """The answer a command got when it was first carried out."""
    row = await conn.fetchrow(
        "select * from consent.command where command_id = $1", request.command_id
    )
    if row is None:
        return None
    if row["consent_ref"] != request.consent_ref:
        return Withdrawn(effective_at=None, version=row["version"], rule="command-reused")
    return Withdrawn(effective_at=row["effective_at"], version=row["version"])


async def answer(conn: Any, request: Withdrawal, done: Withdrawn) -> None:
    """Keep the answer of a command."""
    await conn.execute(
        "insert into consent.command (command_id, consent_ref, effective_at, version)"
        " values ($1, $2, $3, $4)",
        request.command_id,
        request.consent_ref,
        done.effective_at,
        done.version,
    )


async def due(conn: Any, limit: int = 64) -> list[UUID]:
    """Cases with a rule whose validity is over and not yet closed, longest over first."""
    rows = await conn.fetch(
        "select case_ref from consent.item where until_version is null and since_version > 0"
        " and valid_to <= clock_timestamp() order by valid_to limit $1",
        limit,
    )
    return sorted({r["case_ref"] for r in rows})


async def name_cell(conn: Any, cell: str) -> None:
    """Say which cell this is: a `statistics` permit counts only when it names it."""
    await conn.execute(
        "insert into consent.setting (cell) values ($1)"
        " on conflict (only_row) do update set cell = excluded.cell",
        cell,
    )


async def named_cell(conn: Any) -> str | None:
    """The cell named in the database, None before the first start."""
    name: str | None = await conn.fetchval("select cell from consent.setting")
    return name


def _record(row: asyncpg.Record, rules: tuple[ConsentRule, ...]) -> ConsentRecord:
    return ConsentRecord(
        consent_ref=row["consent_ref"],
        case_ref=row["case_ref"],
        source_org=row["source_org"],
        status=row["status"],
        legal_basis=row["legal_basis"],
        reason_code=row["reason_code"],
        approver_ref=row["approver_ref"],
        notice=row["notice"],
        language=row["language"],
        form=row["form"],
        giver=row["giver"],
        assent=row["assent"],
        given_at=row["given_at"],
        valid_from=row["valid_from"],
        valid_to=row["valid_to"],
        version=row["since_version"],
        rules=rules,
    )


def _rule(row: asyncpg.Record) -> ConsentRule:
    return ConsentRule(
        decision=row["decision"],
        purpose=row["purpose"],
        to_org=row["to_org"],
        to_kind=row["to_kind"],
        data_categories=tuple(row["data_categories"]),
        valid_from=row["valid_from"],
        valid_to=row["valid_to"],
    )
