"""The consent service and its neighbours on a real database, and what a test asks of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from services.consent.service import ConsentService
from services.kit.doors import (
    Given,
    consent_record,
)
from services.kit.ports.consent import ConsentRecord, Decision, Question, Withdrawal, Withdrawn
from tests.support.servers import Databases
from tests.unit.consent import records

CELL = "cell-demo"
ALL = ("contact", "health", "pseudonymous_core")


class Hub:
    """The consent service and connections of its neighbours, on the module's database."""

    def __init__(self, service: ConsentService, pools: dict[str, asyncpg.Pool]) -> None:
        self.service = service
        self.pools = pools

    async def give(self, *held: ConsentRecord, expected: int = 0) -> list[int]:
        items = [
            Given(
                record=r,
                expected=expected,
                correlation_id=uuid4(),
                confidentiality="restricted",
                now=datetime.now(UTC),
            )
            for r in held
        ]
        async with self.pools["gateway"].acquire() as conn, conn.transaction():
            return await consent_record(conn, items)

    async def ask(self, asked: Question) -> Decision:
        return (await self.service.decide([asked]))[0]

    async def take_back(self, held: ConsentRecord, *items: Any, **changed: Any) -> Withdrawn:
        request = Withdrawal(
            command_id=uuid4(),
            consent_ref=held.consent_ref,
            by_org=held.source_org,
            status="withdrawn",
            items=items,
        )
        return (await self.service.withdraw([replace(request, **changed)]))[0]


def fresh(*rules: Any, case: UUID | None = None, days: int = 30, **changed: Any) -> ConsentRecord:
    """A new consent that is live now."""
    now = datetime.now(UTC)
    rules = rules or (records.permit(categories=ALL),)
    held = records.record(*rules, case=case or uuid4())
    start, end = now - timedelta(hours=1), now + timedelta(days=days)
    held = replace(
        held,
        consent_ref=uuid4(),
        given_at=start,
        valid_from=start,
        valid_to=end,
        rules=tuple(replace(r, valid_from=start, valid_to=end) for r in rules),
    )
    return replace(held, **changed)


def about(held: ConsentRecord, **changed: Any) -> Question:
    asked = records.question(categories=ALL)
    return replace(asked, case_ref=held.case_ref, **changed)


async def gate(pg: Databases, held: ConsentRecord, *purposes: str) -> list[bool]:
    conn = await asyncpg.connect(pg.dsn("relay"))
    try:
        return list(
            await conn.fetchval(
                "select consent.gate($1, $2)", [held.case_ref] * len(purposes), list(purposes)
            )
        )
    finally:
        await conn.close()


async def events(pg: Databases, case_ref: UUID) -> list[str]:
    conn = await asyncpg.connect(pg.admin_dsn)
    try:
        rows = await conn.fetch("select type from bus.event where key = $1 order by seq", case_ref)
        return [r["type"] for r in rows]
    finally:
        await conn.close()


async def leaves(pg: Databases, case_ref: UUID) -> list[str]:
    conn = await asyncpg.connect(pg.admin_dsn)
    try:
        rows = await conn.fetch(
            "select kind from custody.leaf where position($1 in encode(body, 'escape')) > 0",
            str(case_ref),
        )
        return [r["kind"] for r in rows]
    finally:
        await conn.close()
