"""What a consumer does with records of the log: exactly once, in order, case by case.

It guards the cursor: every transaction begins with it, an event takes effect only if it is the next
of its case, missing events are read from the record first, and an event that cannot be handled
parks its case for this consumer while all others go on. Kafka itself is `kit.bus`'s business.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from schemas.codec import DecodeError, encode, frame
from schemas.models import DeadLetter
from schemas.registry import by_id
from services.kit.db import is_data_fault, transaction
from services.kit.exchange import put_events
from services.kit.logs import Log
from services.kit.metrics import Metrics
from services.kit.records import (
    Received,
    Record,
    Replayed,
    Run,
    Subscription,
    class_of,
    received,
    rule_of,
    runs_of,
    type_of,
)
from services.kit.steps import step

MOST: Final = 64
"""Most cases, and most events handled, in one transaction."""
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
_READ_OPEN: Final = "select * from bus.read_open($3, $1::uuid[], $2::bigint[])"
CASES: Final = "cauce.case"


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
            handled += [received(framed) for framed in await self._claim(conn, runs_of(records))]
            await self._handle(conn, handled)
            step("bus.handled")
        step("bus.committed")
        self._count("handled", len(handled))
        if handled and self._subscription.after is not None:
            await self._subscription.after(handled)

    async def _handle(self, conn: asyncpg.Connection, events: Sequence[Received]) -> None:
        for start in range(0, len(events), MOST):
            await self._subscription.handle(conn, events[start : start + MOST])

    async def _claim(self, conn: asyncpg.Connection, runs: dict[UUID, Run]) -> list[bytes]:
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
            for case_ref in runs
            if case_ref in moved
            for record in runs[case_ref].records
            if self.wants(record)
        ]
        return frames + (await self._claim_slowly(conn, slow) if slow else [])

    async def _claim_slowly(self, conn: asyncpg.Connection, runs: dict[UUID, Run]) -> list[bytes]:
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
            frames += [
                _frame(row) for row in rows if row["seq"] <= until and row["schema_id"] in self._ids
            ]
            last = rows[-1]["seq"]
        self._count("filled", len(frames))
        return frames

    async def _read(
        self, conn: asyncpg.Connection, case_ref: UUID, after: int
    ) -> list[asyncpg.Record]:
        source: Any = conn if self._hub is self._pool else self._hub
        topic = self._subscription.topic
        if topic == CASES:
            found: list[asyncpg.Record] = await source.fetch(_READ, [case_ref], [after])
        else:
            found = await source.fetch(_READ_OPEN, [case_ref], [after], topic)
        return found

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
        self._metrics.inc("cauce_faults_total", service=self._schema, kind="data")
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
                error_class=class_of(error),
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
