"""Accept: the batched way from a submission that may be accepted to the one hub transaction.

It guards the order of `design.md` §1.2: reserve, vault, one transaction with consent, case, leaf
and events; before its commit nothing has happened, after it nothing is refused. When consent or
cases changed in between, an item is decided again by itself. HTTP is left to `fhir`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from services.gateway.intake import store
from services.gateway.intake.build import Built, Incoming, Located, Parts, build
from services.gateway.intake.records import consent_record, identifiers, vault_record
from services.kit.bases import record_fault
from services.kit.db import is_infrastructure_fault
from services.kit.doors import ConsentChangedError
from services.kit.doors import consent_record as put_consents
from services.kit.errors import Refused
from services.kit.exchange import put_events
from services.kit.leaf import append_leaves
from services.kit.ports.batch import MAX_BATCH
from services.kit.ports.consent import Consent, ConsentRecord, Decision, Question
from services.kit.ports.vault import Lookup, PutItem, PutResult, Vault
from services.kit.steps import step

TRIES: Final = 4
STATISTICS: Final = "statistics"
CELL_KIND: Final = "other"

DENIED: Final = frozenset({"permit-part", "deny-org", "deny-kind", "not-yet-valid"})
"""Rules of a consent decision that a sender is told as such; every other reads `no-permit`."""


EMERGENCY_FAULTS: Final = frozenset(
    {"emergency-is-vital-interest", "emergency-core-and-contact-only"}
)


class AgainError(Exception):
    """Something changed since it was read; the item is worth another try from the start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """An item with its case, the record to store, and the decisions on it."""

    item: Incoming
    located: Located
    record: ConsentRecord
    decision: Decision
    statistics: Decision | None


Outcome = bytes | Exception


class Accepter:
    """Handles batches of incoming submissions; every item gets its answer or its exception."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        vault: Vault,
        consent: Consent,
        parts: Parts,
        accepted: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._consent = consent
        self._parts = parts
        self._accepted = accepted

    async def handle(self, items: Sequence[Incoming]) -> list[Outcome]:
        """Accept a batch; people and cases that occur twice in it go one after the other."""
        answers: dict[UUID, Outcome] = {}
        waiting = list(items)
        while waiting:
            now, waiting = _apart(waiting)
            answers |= await self._together(now)
        return [answers[item.submission_ref] for item in items]

    async def examine(self, item: Incoming) -> tuple[str, ...]:
        """The categories that consent lets the recipient have, or Refused; nothing is written."""
        answers: dict[UUID, Outcome] = {}
        decided = await self._decide(await self._locate([item], answers), answers)
        for answer in answers.values():
            if isinstance(answer, Exception):
                raise answer
        return decided[0].decision.categories

    async def _together(self, items: list[Incoming]) -> dict[UUID, Outcome]:
        try:
            answers = await self._round(items)
        except Exception as error:  # noqa: BLE001 -- each item gets its own answer
            if _unavailable(error):
                return await self._give_up(items, error)
            answers = {item.submission_ref: AgainError() for item in items}
        for item in items:
            if isinstance(answers[item.submission_ref], AgainError):
                answers |= await self._alone(item)
        return answers

    async def _alone(self, item: Incoming) -> dict[UUID, Outcome]:
        """Decide one item from the start, a few times; each try takes over the one before."""
        last: Exception = AgainError()
        for _ in range(TRIES):
            item = replace(item, attempt=uuid4(), previous=item.attempt)
            try:
                answer = (await self._round([item]))[item.submission_ref]
            except (ConsentChangedError, asyncpg.UniqueViolationError) as error:
                last = error
            except Exception as error:  # noqa: BLE001 -- the item's own answer
                return await self._give_up([item], error)
            else:
                if not isinstance(answer, AgainError):
                    return {item.submission_ref: answer}
        return await self._give_up([item], last)

    async def _give_up(self, items: list[Incoming], error: Exception) -> dict[UUID, Outcome]:
        """Free the reservations, so that a repeat need not wait; if that fails, time does it."""
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._release(items)
        return {item.submission_ref: error for item in items}

    async def _release(self, items: list[Incoming]) -> None:
        held = [a for i in items for a in (i.attempt, i.previous) if a is not None]
        if held:
            async with self._pool.acquire() as conn:
                await store.release(conn, held)

    async def _round(self, items: list[Incoming]) -> dict[UUID, Outcome]:
        answers: dict[UUID, Outcome] = {}
        located = await self._locate(items, answers)
        decided = await self._decide(located, answers)
        # Only an earlier try can have reserved what is refused here.
        await self._release([i for i in items if i.submission_ref in answers and i.previous])
        decided = await self._reserve(decided, answers)
        if not decided:
            return answers
        step("accept.reserved")
        results = await self._vault.put([_put_item(one) for one in decided])
        step("accept.put")
        built = self._build(decided, results, answers)
        if built:
            answers |= await self._commit(built)
            step("accept.committed")
            self._accepted()
        refused = [d.item for d in decided if isinstance(answers[d.item.submission_ref], Refused)]
        await self._release(refused)
        return answers

    async def _locate(
        self, items: list[Incoming], answers: dict[UUID, Outcome]
    ) -> list[tuple[Incoming, Located]]:
        """The case of each item: the one named, the one open, or a new one."""
        unnamed = [item for item in items if item.requisition_mac is None]
        subjects: dict[UUID, UUID | None] = {}
        if unnamed:
            lookups = [Lookup(org=i.source, identifiers=identifiers(i.submission)) for i in unnamed]
            found = await self._vault.resolve(lookups)
            subjects = {i.submission_ref: s for i, s in zip(unnamed, found, strict=True)}
            step("accept.resolved")
        async with self._pool.acquire() as conn:
            named = await store.cases_by_requisition(
                conn, [(i.source, i.requisition_mac) for i in items if i.requisition_mac]
            )
            known = [(i.source, s) for i in unnamed if (s := subjects[i.submission_ref])]
            open_ = await store.open_cases(conn, known)
        located = []
        for item in items:
            subject = subjects.get(item.submission_ref)
            if item.requisition_mac is not None:
                case = named.get((item.source, item.requisition_mac))
                located.append((item, Located.of(case, None)))
                continue
            cases = open_.get((item.source, subject), []) if subject else []
            if len(cases) > 1:
                answers[item.submission_ref] = Refused.of("duplicate", "several-cases")
                continue
            located.append((item, Located.of(cases[0] if cases else None, subject)))
        return located

    async def _decide(
        self, located: list[tuple[Incoming, Located]], answers: dict[UUID, Outcome]
    ) -> list[Decided]:
        """Consent over the live records plus the submitted one; a refusal is the item's answer."""
        records = [
            consent_record(
                item.submission.consent,
                keys=self._parts.keys,
                org=item.source,
                consent_ref=uuid4(),
                case_ref=where.case_ref,
                now=item.now,
            )
            for item, where in located
        ]
        questions = [
            _question(item, record) for (item, _), record in zip(located, records, strict=True)
        ]
        counted = [n for n, r in enumerate(records) if _has_statistics(r, self._parts.cell)]
        questions += [_statistics(records[n], self._parts.cell) for n in counted]
        decisions = await self._consent.decide(questions) if questions else []
        extra = dict(zip(counted, decisions[len(located) :], strict=True))
        decided = []
        for n, ((item, where), record) in enumerate(zip(located, records, strict=True)):
            decision, fault = decisions[n], record_fault(record)
            if fault is not None:
                rule = fault if fault in EMERGENCY_FAULTS else "basis"
                answers[item.submission_ref] = Refused.of("consent-basis", rule)
                continue
            if not decision.allowed or decision.refused_categories:
                rule = decision.rule if decision.rule in DENIED else "no-permit"
                answers[item.submission_ref] = Refused.of("consent-denied", rule)
                continue
            statistics = extra.get(n)
            decided.append(
                Decided(
                    item=item,
                    located=where,
                    record=record,
                    decision=decision,
                    statistics=statistics if statistics and statistics.allowed else None,
                )
            )
        return decided

    async def _reserve(self, decided: list[Decided], answers: dict[UUID, Outcome]) -> list[Decided]:
        if not decided:
            return []
        wanted = [
            store.Reservation(
                org=one.item.source,
                key_mac=one.item.key_mac,
                digest=one.item.digest,
                attempt=one.item.attempt,
                previous=one.item.previous,
            )
            for one in decided
        ]
        async with self._pool.acquire() as conn:
            held = await store.reserve(conn, wanted)
        for one in decided:
            if one.item.attempt not in held:
                answers[one.item.submission_ref] = Refused.of(
                    "in-progress", "running", retry_after=1
                )
        return [one for one in decided if one.item.attempt in held]

    def _build(
        self, decided: list[Decided], results: list[PutResult], answers: dict[UUID, Outcome]
    ) -> list[Built]:
        built = []
        for one, result in zip(decided, results, strict=True):
            if result.rule is not None:
                answers[one.item.submission_ref] = _not_stored(one, result.rule)
                continue
            built.append(
                build(
                    self._parts,
                    one.item,
                    one.located,
                    one.record,
                    one.decision,
                    one.statistics,
                    result,
                )
            )
        return built

    async def _commit(self, built: list[Built]) -> dict[UUID, Outcome]:
        """The point of no return: submission, case, consent, events and leaf, all or nothing."""
        conn: Any
        async with self._pool.acquire() as conn, conn.transaction():
            done = await store.finalise(conn, [one.row for one in built])
            live = [one for one in built if one.row.attempt in done]
            if live:
                await store.add(conn, [one.row for one in live])
                await put_consents(conn, [one.given for one in live])
                events = [event for one in live for event in one.events]
                # The consents' own events have named every case: the counters are ours already.
                for start in range(0, len(events), MAX_BATCH):
                    await put_events(conn, events[start : start + MAX_BATCH])
                leaves = [made for one in live for made in one.leaves]
                for start in range(0, len(leaves), MAX_BATCH):
                    await append_leaves(conn, leaves[start : start + MAX_BATCH])
        lost: Outcome = AgainError()
        return {
            one.submission_ref: one.row.answer if one.row.attempt in done else lost for one in built
        }


def _unavailable(error: Exception) -> bool:
    """A part is down: trying each item by itself would only take longer."""
    return is_infrastructure_fault(error) and not isinstance(error, asyncpg.PostgresError)


def _not_stored(one: Decided, rule: str) -> Exception:
    """What it means that the vault did not take a record."""
    if rule == "subject-conflict":
        return Refused.of("duplicate", "identifiers-disagree")
    if rule == "subject-changed" and one.item.requisition_mac is not None:
        return Refused.of("duplicate", "case-of-another")
    return AgainError()


def _apart(items: list[Incoming]) -> tuple[list[Incoming], list[Incoming]]:
    """Items that share no person and no case with another; and the rest, for the next round."""
    taken: set[object] = set()
    now: list[Incoming] = []
    later: list[Incoming] = []
    for item in items:
        keys: set[object] = {(item.source, item.key_mac)}
        keys |= {(item.source, *one) for one in identifiers(item.submission)}
        if item.requisition_mac is not None:
            keys.add((item.source, item.requisition_mac))
        (later if keys & taken else now).append(item)
        taken |= keys
    return now, later


def _question(item: Incoming, record: ConsentRecord) -> Question:
    return Question(
        case_ref=record.case_ref,
        to_org=item.plan.recipient.org,
        to_kind=item.plan.recipient.org_type,
        purpose=item.plan.need.purpose,
        categories=item.plan.categories,
        overlay=record,
    )


def _has_statistics(record: ConsentRecord, cell: str) -> bool:
    return any(
        r.decision == "permit" and r.purpose == STATISTICS and r.to_org == cell
        for r in record.rules
    )


def _statistics(record: ConsentRecord, cell: str) -> Question:
    return Question(
        case_ref=record.case_ref,
        to_org=cell,
        to_kind=CELL_KIND,
        purpose=STATISTICS,
        categories=("pseudonymous_core",),
        overlay=record,
    )


def _put_item(one: Decided) -> PutItem:
    versions = [(one.item.plan.need.purpose, one.decision.key_version)]
    if one.statistics is not None:
        versions.append((STATISTICS, one.statistics.key_version))
    return PutItem(
        attempt=one.item.attempt,
        org=one.item.source,
        identifiers=identifiers(one.item.submission),
        case_ref=one.located.case_ref,
        subject_seen=one.located.subject_ref,
        key_versions=tuple(versions),
        record=vault_record(one.item.submission, one.item.bundle_identifier),
    )
