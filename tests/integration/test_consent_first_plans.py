"""Plans that were made while consent's tables were empty, once these are full."""

from uuid import uuid4

import asyncpg

from tests.integration.test_consent_plans import FILL
from tests.support.servers import Databases


async def test_a_plan_made_on_the_empty_tables_reads_a_case_and_not_all_of_them(
    pg: Databases,
) -> None:
    conn = await asyncpg.connect(pg.dsn("consent"))
    gate, hold = "select consent.gate($1, $2)", "select * from consent.hold($1)"
    for _ in range(8):  # from the sixth call on the plan is kept
        await conn.fetchval(gate, [uuid4()], ["service_referral"])
        await conn.fetch(hold, [uuid4()])
    await conn.execute(FILL.split("analyze", maxsplit=1)[0])
    rows = await conn.fetch("select case_ref from consent.version limit 16")
    cases = [r["case_ref"] for r in rows]
    async with conn.transaction():
        await conn.fetchval(gate, cases, ["service_referral"] * len(cases))
        await conn.fetch(hold, cases)
        fetched = "select pg_stat_get_xact_tuples_fetched('consent.item'::regclass)"
        assert await conn.fetchval(fetched) <= 4 * len(cases)
    await conn.close()
