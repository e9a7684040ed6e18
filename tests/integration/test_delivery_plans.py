"""Hot statements of referral and delivery on full tables: none reads a table from end to end."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from services.delivery import amendments, erasures, intents, notifications, store
from services.kit.ports.delivery import ChangedQuery
from services.kit.ports.referral import ReferralQuery
from services.referral import store as referrals
from tests.support.servers import Databases

REFERRALS = """
insert into referral.referral
    select gen_random_uuid(), gen_random_uuid(), 'ong-' || i % 40 || 'x', 'refugio-' || i % 40,
           (array['sent', 'accepted', 'completed'])[1 + i % 3], 1, 'service_referral',
           gen_random_uuid(), 'restricted', '{pseudonymous_core}', null, 1,
           now() + make_interval(secs => i), null, null, null, now(), now(), '\\x00'
      from generate_series(1, 20000) i;
analyze referral.referral;
"""
TASKS = """
insert into delivery.task (task_id, kind, state, case_ref, referral_ref, to_org, purpose,
    source_org, confidentiality, version, confirmed, claim)
    select gen_random_uuid(), 'content', (array['done', 'queued', 'done', 'done'])[1 + i % 4],
           gen_random_uuid(), gen_random_uuid(), 'refugio-' || i % 40, 'service_referral',
           'ong-norte', 'restricted', 1, true, gen_random_uuid()
      from generate_series(1, 20000) i;
insert into delivery.intent
    select gen_random_uuid(), task_id, case_ref, referral_ref, to_org, purpose, source_org,
           confidentiality, '{pseudonymous_core}', 'consent', gen_random_uuid(), 1, '1', now(),
           'disclosed' from delivery.task;
insert into delivery.erasure (erasure_ref, case_ref, referral_ref, to_org, source_org,
    confidentiality, due_at) select gen_random_uuid(), case_ref, referral_ref, to_org, source_org,
    confidentiality, now() from delivery.task;
insert into delivery.current_version select distinct case_ref, 1, 2 from delivery.task;
insert into delivery.amendment (case_ref, version, since_version, data_categories, settled)
    select case_ref, 2, 2, '{pseudonymous_core}', seq % 40 > 0 from delivery.task;
insert into delivery.notification (notification_id, org, channel, side, type, subject, version,
    status, at, state)
    select gen_random_uuid(), to_org, 'webhook', 'to', 'cauce.referral.status_changed',
           referral_ref, 2, 'accepted', now(), (array['done', 'queued'])[1 + seq % 2]
      from delivery.task;
analyze delivery.task; analyze delivery.intent; analyze delivery.erasure;
analyze delivery.notification; analyze delivery.current_version; analyze delivery.amendment;
"""


async def scans(conn: Any, schema: str) -> int:
    await conn.execute("select pg_stat_force_next_flush()")
    await conn.fetchval("select 1")
    await conn.execute("select pg_stat_clear_snapshot()")
    return int(
        await conn.fetchval(
            "select sum(seq_scan) from pg_stat_user_tables"
            " where schemaname = $1 and relname not in ('claiming', 'poll')",
            schema,
        )
    )


@pytest.fixture
async def pools(pg: Databases) -> AsyncIterator[dict[str, Any]]:
    made = {
        name: await asyncpg.create_pool(pg.dsn(name), min_size=1, max_size=1)
        for name in ("referral", "delivery")
    }
    await made["referral"].execute(REFERRALS)
    await made["delivery"].execute(TASKS)
    yield made
    for pool in made.values():
        await pool.close()


async def test_no_hot_statement_scans_a_table(pools: dict[str, Any]) -> None:
    referral, delivery = pools["referral"], pools["delivery"]
    rows = await referral.fetch("select referral_ref, case_ref from referral.referral limit 64")
    refs, cases = [r["referral_ref"] for r in rows], [r["case_ref"] for r in rows]
    tasks = await delivery.fetch("select * from delivery.task where state = 'queued' limit 64")
    held = [store.task_of(r) for r in tasks]
    before = {name: await scans(pool, name) for name, pool in pools.items()}
    now = datetime.now(UTC)

    found = await referrals.lock(referral, refs)
    await referrals.lock_both(referral, refs, cases)
    await referrals.update(referral, list(found.values()))
    await referrals.insert(referral, list(found.values()))
    await referrals.due(referral, now)
    await referrals.find(referral, ReferralQuery(org="refugio-7", side="to"))

    claimed = await store.claim(delivery, {"refugio-1": 8, "refugio-2": 8, "refugio-3": 8}, 16)
    assert claimed
    assert await store.hold_claims(delivery, claimed) == {t.task_id for t in claimed}
    wait = timedelta(seconds=60)
    ended = await store.end(delivery, [(t, "queued", "x", None, False, wait) for t in claimed])
    assert len(ended) == len(claimed)
    await store.put(delivery, held[:2])
    await store.contents(delivery, [t.referral_ref for t in held])
    await store.suppress(delivery, [(t.case_ref, None, t.to_org, t.purpose, "x") for t in held[:8]])
    await store.take_over_expired(delivery)
    await store.unconfirmed(delivery, now)
    assert await intents.recipients(
        delivery, [(t.case_ref, t.to_org, t.purpose, None) for t in held]
    )
    await intents.close(delivery, [(uuid4(), "unknown")])
    await intents.lost(delivery, now)
    await intents.of_tasks(delivery, [t.task_id for t in held], ("open", "unknown"))
    await erasures.again(delivery, {(uuid4(), "refugio-1"): frozenset({"contact"})})
    await erasures.waiting(delivery)
    lost = [(t.case_ref, t.to_org, t.purpose, ("pseudonymous_core",)) for t in held]
    assert await intents.holders(delivery, lost)
    assert await amendments.current(delivery, [(t.case_ref, 1) for t in held])
    await amendments.changed(delivery, ChangedQuery(to_org="refugio-1"))
    assert not await amendments.owed(delivery, uuid4(), "refugio-1")
    assert await amendments.holders(delivery) == []  # each is asked to delete
    assert await intents.standing(delivery, [(t.case_ref, t.to_org) for t in held])
    notes = await notifications.due(delivery, {"refugio-1": 16, "refugio-2": 16}, [uuid4()])
    assert notes
    at_once = timedelta()
    await notifications.end(
        delivery, [(n.notification_id, "done", "taken", at_once) for n in notes]
    )
    await notifications.tidy(delivery)
    assert {name: await scans(pool, name) for name, pool in pools.items()} == before
