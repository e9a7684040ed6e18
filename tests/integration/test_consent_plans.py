"""Consent's hot statements on full tables: none reads a table from end to end."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from services.consent import store
from tests.support.servers import Databases

FILL = """
insert into consent.version select gen_random_uuid(), 1 from generate_series(1, 20000);
insert into consent.record
    select gen_random_uuid(), 1, null, case_ref, 'ong-norte', 'given', 'consent', null, null,
           'aviso-1', 'es', 'written_signature', 'self', null, now(), now(), now() + interval '9 d'
      from consent.version;
insert into consent.item (consent_ref, since_version, case_ref, decision, purpose, to_org,
                          data_categories, valid_from, valid_to)
    select consent_ref, 1, case_ref, 'permit', p, 'refugio-sur', '{contact}', now(), valid_to
      from consent.record, unnest(array['service_referral', 'legal_assistance']) p;
insert into consent.dead_key select case_ref, 'statistics', 1, 1 from consent.version;
analyze consent.version; analyze consent.record; analyze consent.item; analyze consent.dead_key;
"""


class Recording:
    """A connection that explains each statement before it runs."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self._conn = conn
        self.plans: list[str] = []

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        rows = await self._conn.fetch(f"explain {statement}", *arguments)
        self.plans.append("\n".join(row[0] for row in rows))
        return list(await self._conn.fetch(statement, *arguments))


@pytest.fixture
async def full(pg: Databases) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(pg.dsn("consent"))
    await conn.execute(FILL)
    yield conn
    await conn.close()


async def test_no_hot_statement_scans_a_table(full: asyncpg.Connection) -> None:
    rows = await full.fetch("select case_ref from consent.version limit 64")
    cases = [r["case_ref"] for r in rows]
    watched = Recording(full)
    held = await store.load(watched, await store.versions(watched, cases))
    assert all(len(h.records) == 1 and len(h.records[0].rules) == 2 for h in held.values())
    await store.cases_of(watched, [uuid4()])
    await store.due(watched)
    assert len(watched.plans) == 6
    assert [p for p in watched.plans if "Seq Scan" in p] == []
    scans = "select sum(seq_scan) from pg_stat_user_tables where schemaname = 'consent'"
    await full.execute("select pg_stat_force_next_flush()")
    before = await full.fetchval(scans)
    await full.fetchval("select consent.gate($1, $2)", cases, ["service_referral"] * len(cases))
    await full.fetch("select * from consent.hold($1)", cases)
    await full.execute("select pg_stat_force_next_flush()")
    await full.execute("select pg_stat_clear_snapshot()")
    assert await full.fetchval(scans) == before
