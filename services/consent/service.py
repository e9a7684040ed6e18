"""The Consent port: decisions from a cache kept by version, withdrawals and expiry under the lock.

A cached case is used only while its committed version is the one cached, so a decision is as fresh
as its one query; whoever acts on it holds the case (`consent.hold`) and compares the version. It
leaves every rule to `domain.py` and every row to `store.py`.
"""

from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from schemas.codec import encode
from schemas.codes import CODELIST_VERSION
from schemas.models import ConsentExpired, ConsentWithdrawn
from services.consent import store
from services.consent.domain import POLICY_VERSION, Change, Refusal, evaluate, expire, withdraw
from services.consent.store import CaseConsent
from services.kit.exchange import put_events
from services.kit.leaf import append_leaves, leaf
from services.kit.metrics import Metrics
from services.kit.ports.batch import MAX_BATCH
from services.kit.ports.consent import (
    ConsentHistory,
    ConsentRecord,
    Decision,
    Question,
    Withdrawal,
    Withdrawn,
)
from services.kit.steps import step

EFFECT_DELAY: Final = timedelta(seconds=2)
"""Longest life of a grant given just before a withdrawal; by then every call under it has ended."""

CONFIDENTIALITY: Final = "restricted"
"""Of consent's own events: they carry no facts, and consent does not know the case's level."""

_CACHED_CASES: Final = 20_000


class ConsentService:
    """Implements `services.kit.ports.Consent` on PostgreSQL."""

    def __init__(self, pool: asyncpg.Pool, metrics: Metrics, *, cell: str) -> None:
        self._pool = pool
        self._metrics = metrics
        self._cell = cell
        self._cache: OrderedDict[UUID, CaseConsent] = OrderedDict()

    async def decide(self, items: Sequence[Question]) -> list[Decision]:
        """Decide over all live records of each case plus the overlay. Default deny."""
        cases = sorted({item.case_ref for item in items})
        held: dict[UUID, CaseConsent] = {}
        async with self._pool.acquire() as conn:
            for start in range(0, len(cases), MAX_BATCH):
                held |= await self._current(conn, cases[start : start + MAX_BATCH])
        now = datetime.now(UTC)
        return [self._decide(held[item.case_ref], item, now) for item in items]

    def _decide(self, held: CaseConsent, item: Question, now: datetime) -> Decision:
        decision = evaluate(
            held.records,
            item,
            now,
            version=held.version,
            key_version=held.keys.get(item.purpose, 1),
        )
        self._metrics.inc(
            "cauce_decisions_total", rule=decision.rule, allowed="yes" if decision.allowed else "no"
        )
        return decision

    async def _current(self, conn: Any, cases: Sequence[UUID]) -> dict[UUID, CaseConsent]:
        versions = await store.versions(conn, cases)
        held = {c: known for c, v in versions.items() if (known := self._cached(c, v)) is not None}
        stale = {c: v for c, v in versions.items() if c not in held}
        found = await store.load(conn, stale) if stale else {}
        for case_ref, loaded in found.items():
            if loaded.version > 0:
                self._keep(case_ref, loaded)
        return held | found

    def _cached(self, case_ref: UUID, version: int) -> CaseConsent | None:
        known = self._cache.get(case_ref)
        if known is None or known.version != version:
            return None
        self._cache.move_to_end(case_ref)
        return known

    def _keep(self, case_ref: UUID, loaded: CaseConsent) -> None:
        self._cache[case_ref] = loaded
        self._cache.move_to_end(case_ref)
        while len(self._cache) > _CACHED_CASES:
            self._cache.popitem(last=False)

    async def read(self, items: Sequence[UUID]) -> list[ConsentRecord | None]:
        """Records by consent_ref, whatever their status; their rules are those still standing."""
        async with self._pool.acquire() as conn:
            cases = await store.cases_of(conn, items)
            at = await store.versions(conn, sorted(set(cases.values())))
            held = await store.load(conn, at)
        records = {r.consent_ref: r for case in held.values() for r in case.records}
        return [records.get(item) for item in items]

    async def history(self, items: Sequence[UUID]) -> list[ConsentHistory]:
        """Every consent of each case after each change that touched it."""
        async with self._pool.acquire() as conn:
            newest = await store.versions(conn, items)
            return [
                ConsentHistory(records=await store.changes(conn, case_ref, newest[case_ref]))
                for case_ref in items
            ]

    async def withdraw(self, items: Sequence[Withdrawal]) -> list[Withdrawn]:
        """Withdraw under the exclusive lock of the case; a repeat of a command changes nothing."""
        return [await self._withdraw(item) for item in items]

    async def _withdraw(self, item: Withdrawal) -> Withdrawn:
        async with self._pool.acquire() as conn:
            cases = await store.cases_of(conn, [item.consent_ref])
            if item.consent_ref not in cases:
                return Withdrawn(effective_at=None, version=0, rule="unknown-consent")
            async with conn.transaction():
                done = await self._withdraw_locked(conn, cases[item.consent_ref], item)
        if done.rule is None and not done.already:
            step("withdraw.committed")
            self._metrics.inc("cauce_withdrawals_total")
        return done

    async def _withdraw_locked(self, conn: Any, case_ref: UUID, item: Withdrawal) -> Withdrawn:
        version, at = await store.lock(conn, case_ref)
        before = await store.answered(conn, item)
        if before is not None:
            return before
        held = (await store.load(conn, {case_ref: version}))[case_ref]
        over = await store.over(conn, item.consent_ref, at)
        change = withdraw(held.records, item, at, held.keys, cell=self._cell, over=over)
        if isinstance(change, Refusal):
            rule = None if change.already else change.rule
            return Withdrawn(effective_at=None, version=version, already=change.already, rule=rule)
        done = Withdrawn(effective_at=_up_to_ms(at + EFFECT_DELAY), version=version + 1)
        await store.apply(conn, held, item.consent_ref, change)
        await store.answer(conn, item, done)
        await put_events(conn, [encode(_withdrawn(held, item, change, done, at))])
        await append_leaves(
            conn,
            [
                leaf(
                    "withdrawn",
                    at,
                    actor=item.by_org,
                    case_ref=case_ref,
                    consent_ref=item.consent_ref,
                    consent_version=done.version,
                    status=item.status,
                    staff_id=item.staff_id,
                    policy_version=POLICY_VERSION,
                )
            ],
        )
        return done

    async def expire_due(self) -> int:
        """Close what is over in up to 64 cases; answers how many cases were looked at."""
        async with self._pool.acquire() as conn:
            due = await store.due(conn)
            for case_ref in due:
                async with conn.transaction():
                    await self._expire_locked(conn, case_ref)
        return len(due)

    async def _expire_locked(self, conn: Any, case_ref: UUID) -> None:
        version, at = await store.lock(conn, case_ref)
        held = (await store.load(conn, {case_ref: version}))[case_ref]
        for consent_ref in sorted(held.item_ids):
            record = next(r for r in held.records if r.consent_ref == consent_ref)
            change = expire(held.records, record, at, held.keys)
            if change is None:
                continue
            version = await store.apply(conn, held, consent_ref, change)
            await put_events(conn, [encode(_expired(record, change, version, at))])
            await append_leaves(
                conn,
                [
                    leaf(
                        "expired",
                        at,
                        actor=self._cell,
                        case_ref=case_ref,
                        consent_ref=consent_ref,
                        consent_version=version,
                        policy_version=POLICY_VERSION,
                    )
                ],
            )
            held = (await store.load(conn, {case_ref: version}))[case_ref]

    async def decide_at(self, asked: Question, version: int, now: datetime) -> Decision:
        """Evaluate a past decision again: consent as it stood at that version, at that time."""
        async with self._pool.acquire() as conn:
            held = (await store.load(conn, {asked.case_ref: version}))[asked.case_ref]
        return evaluate(
            held.records,
            asked,
            now,
            version=held.version,
            key_version=held.keys.get(asked.purpose, 1),
        )


def _up_to_ms(at: datetime) -> datetime:
    """The first whole millisecond not before `at`, as events carry it."""
    return at + timedelta(microseconds=-at.microsecond % 1000)


def _withdrawn(
    held: CaseConsent, item: Withdrawal, change: Change, done: Withdrawn, at: datetime
) -> ConsentWithdrawn:
    return ConsentWithdrawn(
        event_id=uuid4(),
        occurred_at=at,
        case_ref=held.case_ref,
        source_org=item.by_org,
        correlation_id=item.command_id,
        codelist_version=CODELIST_VERSION,
        confidentiality=CONFIDENTIALITY,
        consent_ref=item.consent_ref,
        version=done.version,
        consent_status=item.status,
        affected=change.affected,
        dead_keys=change.dead_keys,
        effective_at=done.effective_at or _up_to_ms(at + EFFECT_DELAY),
    )


def _expired(record: ConsentRecord, change: Change, version: int, at: datetime) -> ConsentExpired:
    return ConsentExpired(
        event_id=uuid4(),
        occurred_at=at,
        case_ref=record.case_ref,
        source_org=record.source_org,
        correlation_id=uuid4(),
        codelist_version=CODELIST_VERSION,
        confidentiality=CONFIDENTIALITY,
        consent_ref=record.consent_ref,
        version=version,
        affected=change.affected,
        dead_keys=change.dead_keys,
    )
