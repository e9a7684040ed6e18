"""5W rows on a running edge: taken whole or refused by row, field and rule; the same row once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from schemas import decode, frame
from services.gateway.indicators.app import RULES
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, whole
from tests.support.indicator_rows import MUTATIONS, ROW, changed

PATH = "/v1/indicators"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(settings: Settings, pg: servers.Databases) -> AsyncIterator[World]:
    async with whole(settings, pg.admin_dsn) as made:
        yield made


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def report(world: World, *rows: dict[str, Any], org: str = "ong-norte") -> tuple[int, Any]:
    status, body, _ = await world.call("POST", PATH, org, {"rows": list(rows)})
    return status, body


async def events(world: World) -> list[Any]:
    found = await world.admin.fetch(
        "select schema_id, seq, body from bus.event where topic = 'cauce.indicator' order by id"
    )
    return [decode(frame(row["schema_id"], row["seq"], row["body"])) for row in found]


async def test_a_row_is_new_then_unchanged_then_replaced_and_told_of_each_change(
    world: World,
) -> None:
    status, body = await report(world, ROW)
    assert (status, body["rows"][0]["status"], body["rows"][0]["version"]) == (200, "new", 1)
    assert (await report(world, ROW))[1]["rows"][0]["status"] == "unchanged"
    status, body = await report(world, {**ROW, "total_monthly": 50})
    assert (body["rows"][0]["status"], body["rows"][0]["version"]) == ("replaced", 2)
    told = await events(world)
    assert [(one.version, one.total_monthly) for one in told] == [(1, 40), (2, 50)]
    assert (told[0].org, told[0].key_seq, told[1].key_seq) == ("ong-norte", 1, 2)
    assert told[0].indicator_type == "direct_assistance"


async def test_rows_of_one_key_on_the_log_and_many_rows_at_once(world: World) -> None:
    before = len(await events(world))
    rows = [
        {**ROW, "month": month, "admin1": place}
        for month in [f"2025-{m:02d}" for m in range(1, 11)]
        for place in ("CO-ANT", "CO-ATL", "CO-BOL", "CO-BOY", "CO-CAL", "CO-CES", "CO-CHO")
    ]
    status, body = await report(world, *rows)
    assert status == 200
    assert [row["month"] for row in body["rows"]] == [row["month"] for row in rows]
    told = (await events(world))[before:]
    assert len(told) == 70
    assert len({one.report_ref for one in told}) == 10


async def test_two_organisations_report_the_same_row_apart(world: World) -> None:
    row = {**ROW, "month": "2024-05"}
    for org in ("ong-norte", "refugio-sur"):
        assert (await report(world, row, org=org))[1]["rows"][0]["status"] == "new"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: f"{one.rule}-{one.field}")
async def test_a_faulty_row_is_refused_with_the_others_and_nothing_is_stored(
    world: World, mutation: Any
) -> None:
    tables = "select count(*), max(version) from gateway.indicator"
    before, told = await world.admin.fetchrow(tables), len(await events(world))
    good = {**ROW, "month": "2023-01"}
    status, body = await report(world, good, changed(mutation))
    assert status == mutation.http, body
    place = f"rows[1].{mutation.field}".removesuffix(".")
    assert [(f["code"], f["rule"], f["field"]) for f in body["faults"]] == [
        (mutation.code, mutation.rule, place)
    ]
    assert await world.admin.fetchrow(tables) == before
    assert len(await events(world)) == told


async def test_a_row_twice_in_one_report_is_refused(world: World) -> None:
    status, body = await report(world, ROW, {**ROW, "total_monthly": 60})
    assert status == 422
    first = body["faults"][0]
    assert (first["code"], first["rule"], first["field"]) == (
        "value-invalid",
        "repeated",
        "rows[1]",
    )
    assert (await report(world))[1]["faults"][0]["rule"] == "item-count"


async def test_every_rule_has_a_row_that_breaks_it(world: World) -> None:
    assert world.url
    assert {m.rule for m in MUTATIONS if m.code == "indicator-invalid"} == set(RULES)
