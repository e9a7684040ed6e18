"""Waiting referrals on PostgreSQL: each stage told once, in the transaction that remembers it."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from schemas import ReferralAnswerDue
from schemas.codec import decode, frame
from services.kit.exchange import put_events
from services.kit.metrics import Metrics
from services.kit.ports.referral import OverdueQuery
from services.referral import store, timers
from services.referral.app import measure
from services.referral.timers import Timers
from tests.support.partner_rows import partner, register
from tests.support.path import CELL, Path, now, running_path
from tests.support.plans import sequential_scans
from tests.support.servers import Databases

HOUR = timedelta(hours=1)


@pytest.fixture
async def path(pg: Databases) -> AsyncIterator[Path]:
    async with running_path(pg) as made:
        await register(
            made.admin,
            "refugio-sur",
            partner("refugio-sur", "http://127.0.0.1:9", transport="pull"),
        )
        yield made


def of(path: Path) -> Timers:
    return Timers(path.pools["referral"], path.referral, cell=CELL)


async def until(path: Path, moment: datetime) -> None:
    """Turn until nothing more is due at that moment."""
    while await of(path).turn(moment):
        pass


async def rate(path: Path) -> dict[str, int]:
    """The closed-loop counters as a process that has just begun tells them."""
    metrics = Metrics()
    for _ in range(2):
        measure(metrics, await store.counts(path.pools["referral"], now()))
    pattern = r'cauce_referrals_closed_total{result="(\w+)"} (\d+)'
    return {name: int(n) for name, n in re.findall(pattern, metrics.text().decode())}


async def told(path: Path, ref: UUID) -> list[ReferralAnswerDue]:
    rows = await path.admin.fetch(
        "select * from bus.event where type = 'referral.answer_due' order by id"
    )
    events = [decode(frame(r["schema_id"], r["seq"], r["body"], None, None)) for r in rows]
    return [e for e in events if isinstance(e, ReferralAnswerDue) and e.referral_ref == ref]


async def test_an_answer_owed_is_reminded_overdue_escalated_and_expired(path: Path) -> None:
    begun = now()
    ref = await path.request(response_due=begun + 24 * HOUR)
    await path.pump()
    for hours in (1, 13, 25, 31):
        await until(path, begun + hours * HOUR)
    assert (await path.state(ref)).version == 1
    await until(path, begun + 37 * HOUR)
    events = await told(path, ref)
    assert [e.answer_stage for e in events] == ["reminded", "overdue", "escalated"]
    assert {(e.status, e.owed_by, e.version) for e in events} == {("sent", "refugio-sur", 1)}
    assert (await path.state(ref)).status == "expired"
    row = await path.admin.fetchrow("select * from referral.referral where referral_ref=$1", ref)
    assert (row["closed"], row["next_at"]) == ("expired", None)


async def test_timers_that_run_twice_at_once_tell_once(path: Path) -> None:
    ref = await path.request(response_due=now() + HOUR)
    await path.pump()
    later = now() + HOUR
    await asyncio.gather(*(of(path).turn(later) for _ in range(4)))
    assert [e.answer_stage for e in await told(path, ref)] == ["overdue"]


async def test_a_process_that_dies_before_its_commit_told_nothing_and_the_next_tells(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await path.request(response_due=now() + HOUR)
    await path.pump()
    real = put_events

    async def dying(conn: Any, events: Any) -> Any:
        await real(conn, events)
        raise ConnectionError

    monkeypatch.setattr(timers, "put_events", dying)
    with pytest.raises(ConnectionError):
        await of(path).turn(now() + HOUR)
    assert await told(path, ref) == []
    monkeypatch.setattr(timers, "put_events", real)
    await until(path, now() + HOUR)
    assert [e.answer_stage for e in await told(path, ref)] == ["overdue"]


async def test_a_service_without_news_stands_in_the_coordinators_list(path: Path) -> None:
    ref = await path.request()
    await path.pump()
    await path.answer(ref, "accept")
    await until(path, now() + 400 * HOUR)
    query = OverdueQuery(from_org="ong-norte", stages=("escalated",))
    (found,) = await path.referral.overdue([query])
    mine = next(one for one in found if one.referral_ref == ref)
    assert (mine.status, mine.stage, mine.owed_by) == ("accepted", "escalated", "refugio-sur")
    before = await rate(path)
    assert before["escalated"] >= 1
    await path.answer(ref, "start_service")
    (found,) = await path.referral.overdue([query])
    assert ref not in {one.referral_ref for one in found}
    await path.answer(ref, "complete", outcome="service_provided")
    row = await path.admin.fetchrow(
        "select closed from referral.referral where referral_ref=$1", ref
    )
    assert row["closed"] == "escalated"
    assert await rate(path) == before, "its later end does not count again"


async def test_an_answer_takes_the_referral_out_of_waiting(path: Path) -> None:
    begun = now()
    ref = await path.request(response_due=begun + HOUR)
    await path.pump()
    await until(path, begun + HOUR)
    await path.answer(ref, "reject", reason_code="no_capacity")
    await until(path, begun + 100 * HOUR)
    assert [e.answer_stage for e in await told(path, ref)] == ["overdue"]
    assert (await path.state(ref)).status == "rejected"


async def test_a_referral_from_before_finds_its_moment(path: Path) -> None:
    ref = await path.request(response_due=now() + 24 * HOUR)
    await path.pump()
    await path.admin.execute(
        "update referral.referral set next_at = updated_at where referral_ref = $1", ref
    )
    await until(path, now())
    at = await path.admin.fetchval(
        "select next_at from referral.referral where referral_ref=$1", ref
    )
    assert 11 * HOUR < at - now() < 13 * HOUR
    assert await told(path, ref) == []


async def test_what_is_due_is_found_without_reading_the_table(path: Path, pg: Databases) -> None:
    await path.admin.execute(
        "insert into referral.referral select gen_random_uuid(), gen_random_uuid(), 'ong-uno',"
        " 'refugio-dos', 'completed', 1, 'service_referral', gen_random_uuid(), 'restricted',"
        " '{pseudonymous_core}', null, 1, now(), null, null, null, now(), now()"
        " from generate_series(1, 5000)"
    )
    await path.admin.execute("analyze referral.referral")
    conn = path.admin
    assert await sequential_scans(conn, pg, store._DUE, now()) == set()
    stages = ["overdue", "escalated"]
    assert await sequential_scans(conn, pg, store._OVERDUE, stages, "ong-uno", None, 50) == set()
