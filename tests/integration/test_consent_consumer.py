"""What consent remembers of the log: recipients, and what they say became of the data."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

from schemas.models import ConsentEffectReported, DisclosureMade
from services.consent import consumer
from services.kit.bus import Received
from tests.support.servers import Databases

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def received(event: DisclosureMade | ConsentEffectReported) -> Received:
    return Received(
        event=event,
        event_type=event.event_type,
        event_id=event.event_id,
        case_ref=event.case_ref,
        seq=1,
        schema_id=1,
        purpose=None,
        facts=None,
        stats_facts=None,
    )


def made(consent_ref: UUID, case_ref: UUID, to_org: str, at: datetime) -> DisclosureMade:
    return DisclosureMade(
        event_id=uuid4(),
        occurred_at=at,
        case_ref=case_ref,
        source_org="cell-demo",
        correlation_id=uuid4(),
        codelist_version=1,
        confidentiality="restricted",
        disclosure_ref=uuid4(),
        to_org=to_org,
        data_categories=("contact",),
        legal_basis="consent",
        consent_ref=consent_ref,
        grant_ref=uuid4(),
        policy_version="1",
        leaf_ref=uuid4(),
    )


def effect(erasure_ref: UUID, case_ref: UUID, code: str) -> ConsentEffectReported:
    return ConsentEffectReported(
        event_id=uuid4(),
        occurred_at=NOW,
        case_ref=case_ref,
        source_org="refugio-sur",
        correlation_id=uuid4(),
        codelist_version=1,
        confidentiality="restricted",
        erasure_ref=erasure_ref,
        to_org="refugio-sur",
        withdrawal_effect=code,
        reported_at=NOW,
    )


async def test_recipients_and_effects_are_remembered_once(pg: Databases) -> None:
    consent_ref, case_ref, erasure_ref = uuid4(), uuid4(), uuid4()
    later = NOW + timedelta(hours=1)
    batch = [
        received(made(consent_ref, case_ref, "refugio-sur", later)),
        received(made(consent_ref, case_ref, "refugio-sur", NOW)),
        received(made(consent_ref, case_ref, "clinica-norte", NOW)),
        received(effect(erasure_ref, case_ref, "pending")),
        received(effect(erasure_ref, case_ref, "deleted")),
    ]
    conn = await asyncpg.connect(pg.dsn("consent"))
    for _ in range(2):
        async with conn.transaction():
            await consumer.handle(conn, batch)
    rows = await conn.fetch("select to_org, last_at from consent.disclosure order by to_org")
    assert [tuple(r) for r in rows] == [("clinica-norte", NOW), ("refugio-sur", later)]
    rows = await conn.fetch("select erasure_ref, withdrawal_effect from consent.effect")
    assert [tuple(r) for r in rows] == [(erasure_ref, "deleted")]
    await conn.close()
