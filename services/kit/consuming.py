"""What a consumer does with records of the log: exactly once, in order, case by case.

It guards the cursor: every transaction begins with it, an event takes effect only if it is the next
of its case, missing events are read from the record first, and an event that cannot be handled
parks its case for this consumer while all others go on. Kafka itself is `kit.bus`'s business.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from schemas.codec import DecodeError, decode, encode, frame, peek
from schemas.models import DeadLetter, Event
from schemas.registry import by_id
from schemas.topics import event_types
from services.kit.db import is_data_fault, transaction
from services.kit.exchange import put_events
from services.kit.logs import Log
from services.kit.metrics import Metrics
from services.kit.steps import step

MOST: Final = 64
"""Most cases, and most events handled, in one transaction."""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_ADVANCE: Final = """
with b as (select * from unnest($2::uuid[], $3::bigint[], $4::bigint[]) u(c, first, last)),
ok as (
    insert into {schema}.cursor as k (consumer, case_ref, last_seq)
    select $1, c, last from b
     where first = 1
        or exists (select from {schema}.cursor x where x.consumer = $1 and x.case_ref = b.c)
     order by c
    on conflict (consumer, case_ref) do update set last_seq = excluded.last_seq
     where not k.parked and k.last_seq = (select first - 1 from b where b.c = k.case_ref)
    returning case_ref)
select case_ref from ok"""
_OPEN: Final = """
insert into {schema}.cursor (consumer, case_ref, last_seq)
select $1, c, 0 from unnest($2::uuid[]) u(c) order by c on conflict do nothing"""
_LOCK: Final = """
select case_ref, last_seq, parked from {schema}.cursor
 where consumer = $1 and case_ref = any($2::uuid[]) order by case_ref for update"""
_MOVE: Final = """
update {schema}.cursor k set last_seq = u.last
  from unnest($2::uuid[], $3::bigint[]) u(c, last)
 where k.consumer = $1 and k.case_ref = u.c"""
_PARK: Final = """
insert into {schema}.cursor (consumer, case_ref, last_seq, parked) values ($1, $2, 0, true)
on conflict (consumer, case_ref) do update set parked = true"""
_UNPARK: Final = """
update {schema}.cursor set last_seq = $3, parked = false where consumer = $1 and case_ref = $2"""
_READ: Final = "select * from bus.read($1::uuid[], $2::bigint[])"


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """An event for a handler; `facts` are sealed bytes."""

    event: Event
    event_type: str
    event_id: UUID
    case_ref: UUID
    seq: int
    schema_id: int
    purpose: str | None
    facts: bytes | None = field(default=None, repr=False)
    stats_facts: bytes | None = field(default=None, repr=False)


Handle = Callable[[asyncpg.Connection, Sequence[Received]], Awaitable[None]]
After = Callable[[Sequence[Received]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """Who listens to what. `handle` runs in the transaction of the cursor, with ≤ 64 events;

    `after` runs once it is committed and may only wake others.
    """

    consumer: str
    topic: str
    handle: Handle
    types: frozenset[str]
    after: After | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A record of the log, not yet decoded."""

    topic: str
    partition: int
    offset: int
    case_ref: UUID
    seq: int
    schema_id: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What a replay did: events handled, or the rule that still forbids it."""

    handled: int
    rule: str | None = None


@cache
def type_of(schema_id: int) -> str | None:
    """The event type a released schema belongs to."""
    subject = by_id()[schema_id].subject if schema_id in by_id() else None
    return next((e.type for e in event_types().values() if e.record == subject), None)


def record_of(topic: str, partition: int, offset: int, key: bytes, value: bytes) -> Record:
    """Read case, position and schema of a record without decoding it; DecodeError if unreadable."""
    try:
        case_ref = UUID(key.decode("ascii"))
    except (ValueError, AttributeError):
        raise DecodeError("frame") from None
    schema_id, seq = peek(value)
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        case_ref=case_ref,
        seq=seq,
        schema_id=schema_id,
        value=value,
    )


def received(framed: bytes) -> Received:
    """Decode a frame; DecodeError."""
    event: Any = decode(framed)
    schema_id, seq = peek(framed)
    return Received(
        event=event,
        event_type=type_of(schema_id) or "",
        event_id=event.event_id,
        case_ref=event.case_ref,
        seq=seq,
        schema_id=schema_id,
        purpose=event.purpose,
        facts=getattr(event, "facts", None),
        stats_facts=getattr(event, "stats_facts", None),
    )


@dataclass(slots=True)
class _Run:
    """Consecutive events of one case in a batch; `gap` when they are not consecutive."""

    records: list[Record]
    gap: bool = False

    def add(self, record: Record) -> None:
        last = self.records[-1].seq
        if record.seq > last:
            self.gap |= record.seq != last + 1
            self.records.append(record)


def runs_of(records: Iterable[Record]) -> dict[UUID, _Run]:
    """Records by case, sorted by case; repeats inside the batch are dropped."""
    found: dict[UUID, _Run] = {}
    for record in records:
        if record.case_ref in found:
            found[record.case_ref].add(record)
        else:
            found[record.case_ref] = _Run([record])
    return dict(sorted(found.items()))


def rule_of(error: BaseException) -> tuple[str, str | None]:
    """(rule, field) an error names by itself; never its text."""
    first = error
    faults = getattr(error, "faults", None)
    if isinstance(faults, Sequence) and faults:
        first = faults[0]
    rule = getattr(first, "rule", None) or getattr(first, "code", None) or _sqlstate(error)
    place = getattr(first, "field", None)
    return (
        rule if isinstance(rule, str) and _NAME.fullmatch(rule) else "not-handled",
        place if isinstance(place, str) and _NAME.fullmatch(place) else None,
    )


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return f"sqlstate-{state}" if isinstance(state, str) else None


class Consumer:
    """One subscription over its service's tables. `hub_pool` differs from `pool` for the vault."""

    def __init__(
        self,
        *,
        schema: str,
        subscription: Subscription,
        pool: asyncpg.Pool,
        hub_pool: asyncpg.Pool,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._subscription = subscription
        self._name = subscription.consumer
        self._schema = schema
        self._pool = pool
        self._hub = hub_pool
        self._metrics = metrics
        self._log = log
        wanted = subscription.types
        self._ids = frozenset(i for i in by_id() if type_of(i) in wanted)

    def wants(self, record: Record) -> bool:
        """Whether the handler is to see this record."""
        return record.schema_id in self._ids

    async def take(self, records: Sequence[Record]) -> None:
        """Handle records in order; raises infrastructure faults only, after which all may be given

        again: what was done is recognised.
        """
        for unit in self._units(records):
            try:
                await self._together(unit)
            except Exception as error:
                if not is_data_fault(error):
                    raise
                await self._singly(unit)

    def _units(self, records: Sequence[Record]) -> list[list[Record]]:
        units: list[list[Record]] = []
        cases: set[UUID] = set()
        wanted = MOST
        for record in records:
            full = record.case_ref not in cases and len(cases) == MOST
            if not units or full or (wanted == MOST and self.wants(record)):
                units.append([])
                cases, wanted = set(), 0
            units[-1].append(record)
            cases.add(record.case_ref)
            wanted += self.wants(record)
        return units

    async def _together(self, records: Sequence[Record]) -> None:
        """One transaction: cursor first, then the handler."""
        handled: list[Received] = []
        async with transaction(self._pool) as conn:
            for framed in await self._claim(conn, runs_of(records)):
                handled.append(received(framed))
            await self._handle(conn, handled)
            step("bus.handled")
        step("bus.committed")
        self._count("handled", len(handled))
        if handled and self._subscription.after is not None:
            await self._subscription.after(handled)

    async def _handle(self, conn: asyncpg.Connection, events: Sequence[Received]) -> None:
        for start in range(0, len(events), MOST):
            await self._subscription.handle(conn, events[start : start + MOST])

    async def _claim(self, conn: asyncpg.Connection, runs: dict[UUID, _Run]) -> list[bytes]:
        """Move the cursors; answers the frames to handle, case by case in order."""
        plain = {c: run for c, run in runs.items() if not run.gap}
        moved = set()
        if plain:
            rows = await conn.fetch(
                _ADVANCE.format(schema=self._schema),
                self._name,
                list(plain),
                [run.records[0].seq for run in plain.values()],
                [run.records[-1].seq for run in plain.values()],
            )
            moved = {row["case_ref"] for row in rows}
        slow = {c: run for c, run in runs.items() if c not in moved}
        frames = [
            record.value
            for case_ref in moved
            for record in runs[case_ref].records
            if self.wants(record)
        ]
        return frames + (await self._claim_slowly(conn, slow) if slow else [])

    async def _claim_slowly(self, conn: asyncpg.Connection, runs: dict[UUID, _Run]) -> list[bytes]:
        """Duplicates, gaps, new consumers, parked cases."""
        cases = list(runs)
        await conn.execute(_OPEN.format(schema=self._schema), self._name, cases)
        rows = await conn.fetch(_LOCK.format(schema=self._schema), self._name, cases)
        frames: list[bytes] = []
        moves: dict[UUID, int] = {}
        for row in rows:
            case_ref, last = row["case_ref"], row["last_seq"]
            if row["parked"]:
                self._count("ignored", len(runs[case_ref].records))
                continue
            fresh = [r for r in runs[case_ref].records if r.seq > last]
            self._count("duplicate", len(runs[case_ref].records) - len(fresh))
            if not fresh:
                continue
            moves[case_ref] = fresh[-1].seq
            if fresh[0].seq != last + 1 or runs[case_ref].gap:
                frames += await self._missing(conn, case_ref, last, fresh[-1].seq)
            else:
                frames += [r.value for r in fresh if self.wants(r)]
        if moves:
            await conn.execute(
                _MOVE.format(schema=self._schema), self._name, list(moves), list(moves.values())
            )
        return frames

    async def _missing(
        self, conn: asyncpg.Connection, case_ref: UUID, last: int, until: int
    ) -> list[bytes]:
        """Wanted events after `last` up to `until`, from the record (it is complete: what Kafka

        has was committed there first; only retention takes events away).
        """
        frames: list[bytes] = []
        while last < until:
            rows = await self._read(conn, case_ref, last)
            if not rows:
                break
            for row in rows:
                if row["seq"] <= until and row["schema_id"] in self._ids:
                    frames.append(_frame(row))
            last = rows[-1]["seq"]
        self._count("filled", len(frames))
        return frames

    async def _read(
        self, conn: asyncpg.Connection, case_ref: UUID, after: int
    ) -> list[asyncpg.Record]:
        if self._hub is self._pool:
            return await conn.fetch(_READ, [case_ref], [after])
        return await self._hub.fetch(_READ, [case_ref], [after])

    async def _singly(self, records: Sequence[Record]) -> None:
        """Event by event, so that a bad one stops its own case only."""
        for run in runs_of(records).values():
            for record in run.records:
                try:
                    await self._together([record])
                except Exception as error:
                    if not is_data_fault(error):
                        raise
                    await self._park(record, error)
                    break

    async def _park(self, record: Record, error: Exception) -> None:
        """Stop this case for this consumer and leave a pointer on `cauce.dead`."""
        letter = self._letter(record, error)
        if self._hub is not self._pool:
            async with transaction(self._hub) as hub:
                await put_events(hub, [letter])
        async with transaction(self._pool) as conn:
            await conn.execute(_PARK.format(schema=self._schema), self._name, record.case_ref)
            if self._hub is self._pool:
                await put_events(conn, [letter])
        self._count("parked", 1)
        self._metrics.inc("cauce_faults_total", service=self._name, kind="data")
        self._log.error(
            "case-parked",
            error,
            consumer=self._name,
            case_ref=record.case_ref,
            seq=record.seq,
            rule=rule_of(error)[0],
        )
        await self.count_parked()

    def _letter(self, record: Record, error: Exception) -> Any:
        rule, place = rule_of(error)
        try:
            source = received(record.value).event_id
        except DecodeError:
            source = record.case_ref
        return encode(
            DeadLetter(
                key_seq=0,
                event_id=uuid4(),
                occurred_at=datetime.now(UTC),
                source_event_id=source,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                consumer=self._name,
                error_class=type(error).__name__,
                rule=rule,
                field_path=place,
                schema_id=record.schema_id if record.schema_id in by_id() else None,
            )
        )

    async def replay(self, case_ref: UUID) -> Replayed:
        """Handle all that a parked case has missed and unpark it, in one transaction.

        A rule that still forbids it is answered; the case stays parked. LookupError: not parked.
        """
        handled: list[Received] = []
        try:
            async with transaction(self._pool) as conn:
                rows = await conn.fetch(_LOCK.format(schema=self._schema), self._name, [case_ref])
                if not rows or not rows[0]["parked"]:
                    raise LookupError("the case is not parked")
                last = rows[0]["last_seq"]
                while events := await self._read(conn, case_ref, last):
                    handled += [
                        received(_frame(row)) for row in events if row["schema_id"] in self._ids
                    ]
                    last = events[-1]["seq"]
                await self._handle(conn, handled)
                await conn.execute(_UNPARK.format(schema=self._schema), self._name, case_ref, last)
        except LookupError:
            raise
        except Exception as error:
            if not is_data_fault(error):
                raise
            self._log.error("replay-failed", error, consumer=self._name, case_ref=case_ref)
            return Replayed(handled=0, rule=rule_of(error)[0])
        await self.count_parked()
        if handled and self._subscription.after is not None:
            await self._subscription.after(handled)
        return Replayed(handled=len(handled))

    async def count_parked(self) -> None:
        """Bring the gauge of parked cases up to date."""
        number = await self._pool.fetchval(
            f"select count(*) from {self._schema}.cursor where consumer = $1 and parked",  # noqa: S608 -- our own name
            self._name,
        )
        self._metrics.set("cauce_parked_cases", number, consumer=self._name)

    def _count(self, result: str, number: int) -> None:
        if number:
            self._metrics.inc(
                "cauce_events_handled_total", number, consumer=self._name, result=result
            )


def _frame(row: asyncpg.Record) -> bytes:
    return frame(row["schema_id"], row["seq"], row["body"], row["facts"], row["stats_facts"])
