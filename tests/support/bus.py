"""Events, records and a process of one consumer for tests of the exchange."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from schemas.codec import Encoded, encode
from schemas.codes import CODELIST_VERSION
from schemas.models import ReferralDelivered, ReferralRevoked
from services.kit.db import transaction
from services.kit.exchange import put_events
from services.kit.records import Received
from tests.support.servers import Databases

HEAD: dict[str, Any] = {
    "case_seq": 0,
    "source_org": "ong-norte",
    "codelist_version": CODELIST_VERSION,
    "confidentiality": "restricted",
    "purpose": None,
}


def head(case_ref: UUID) -> dict[str, Any]:
    return {
        **HEAD,
        "event_id": uuid4(),
        "occurred_at": datetime.now(UTC),
        "case_ref": case_ref,
        "correlation_id": uuid4(),
        "causation_id": None,
    }


def delivered(case_ref: UUID, attempts: int = 1) -> Encoded:
    """An event of `referral` that `delivery` listens to."""
    return encode(
        ReferralDelivered(
            **head(case_ref),
            referral_ref=uuid4(),
            version=2,
            to_org="refugio-sur",
            delivered_at=datetime.now(UTC),
            attempts=attempts,
        )
    )


def revoked(case_ref: UUID) -> Encoded:
    """Another event of `referral`."""
    return encode(
        ReferralRevoked(
            **head(case_ref),
            referral_ref=uuid4(),
            version=3,
            from_status="sent",
            cause="withdrawn",
            erasure_required=True,
        )
    )


async def put(pool: asyncpg.Pool, events: Sequence[Encoded]) -> list[int]:
    async with transaction(pool) as conn:
        return await put_events(conn, events)


class Book:
    """A handler that writes what it sees into a table of the consumer's schema."""

    def __init__(self) -> None:
        self.fail: dict[UUID, Exception] = {}
        self.calls = 0

    async def handle(self, conn: asyncpg.Connection, events: Sequence[Received]) -> None:
        self.calls += 1
        for event in events:
            if event.event_id in self.fail:
                raise self.fail[event.event_id]
            await conn.execute(
                "insert into delivery.book values ($1, $2, $3)",
                event.case_ref,
                event.seq,
                event.event_id,
            )


async def book_of(pool: asyncpg.Pool, case_ref: UUID) -> list[int]:
    sql = "select seq from delivery.book where case_ref = $1 order by n"
    rows = await pool.fetch(sql, case_ref)
    return [row["seq"] for row in rows]


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def make_book(pg: Databases) -> None:
    """A cursor and the table that `Book` writes to, in the schema of delivery."""
    admin = await asyncpg.connect(pg.admin_dsn)
    await admin.execute(
        """
        set role delivery;
        create table if not exists delivery.book (
            case_ref uuid, seq bigint, event_id uuid primary key, n bigserial);
        create table if not exists delivery.cursor (
            consumer text not null, case_ref uuid not null, last_seq bigint not null,
            parked boolean not null default false, primary key (consumer, case_ref))"""
    )
    await admin.close()
