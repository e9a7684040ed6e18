"""Withdrawals and a partner with a webhook: aimed at messages and reads, and one by one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest
import pytest_asyncio

from services.console.local import plan
from services.console.local.place import Place
from services.kit.settings import Settings
from tests.e2e.test_withdrawal import start_with_faults
from tests.support.hooks import values
from tests.support.hub import Hub, running_hub
from tests.support.servers import Databases
from tests.support.withdrawal_hooks import (
    CLINIC,
    REVOKED,
    SENT,
    Clinic,
    HookFire,
    hooked_world,
    insist,
    late_notes,
    strangers_told,
    submit,
    subscribe,
    take_back,
    until,
)
from tests.support.withdrawal_judge import EFFECT_DELAY, Judged
from tests.support.withdrawal_world import World

COUNT = 110
PLANTED = 40
pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]


@dataclass(frozen=True)
class Ran:
    """A run and what the clinic saw of it."""

    found: Judged
    clinic: Clinic
    subscription: str
    ends: dict[str, datetime]
    """The clinic's own id of a referral → when consent ended."""
    doubtful: frozenset[str]


@pytest.fixture(scope="module")
def bare_hub(secrets: Place, settings: Settings) -> Iterator[Hub]:
    with running_hub(secrets, settings, (plan.VAULT, plan.HUB)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(bare_hub: Hub, pg: Databases) -> AsyncIterator[tuple[World, Clinic]]:
    async with hooked_world(bare_hub, pg) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(there: tuple[World, Clinic]) -> Ran:
    world, clinic = there
    subscription = await subscribe(world, clinic.base)
    found, facts = await HookFire(world=world, clinic=clinic, count=COUNT).run()
    print(found.report())
    rows = await world.admin.fetch("select referral_ref, case_ref from gateway.referral")
    named = [(str(await world.alias(CLINIC, "task", r["referral_ref"])), r) for r in rows]
    ends = {name: facts.ended[r["case_ref"]] for name, r in named if r["case_ref"] in facts.ended}
    unknown = {one.referral_ref for one in facts.disclosures if one.state == "unknown"}
    doubtful = frozenset(name for name, r in named if r["referral_ref"] in unknown)
    return Ran(found, clinic, subscription, ends, doubtful)


async def test_nothing_is_announced_read_or_authorised_past_its_time(run: Ran) -> None:
    assert run.found.violations == []
    assert run.found.withdrawals >= COUNT
    assert max(run.found.late, default=0) <= EFFECT_DELAY.total_seconds()


async def test_the_withdrawals_met_messages_and_reads(run: Ran) -> None:
    assert run.found.never > 0, "some were never announced"
    assert run.clinic.refused, "reads that came too late"
    assert set(run.clinic.refused) <= {403, 410}
    assert {"calm", "recovering"} <= run.found.modes.keys()
    assert len(run.clinic.mark_of) > COUNT // 3


async def test_past_recipients_are_asked_at_once_by_webhook(run: Ran) -> None:
    """The slower ones were asked by the hub that was killed in between."""
    asked = sorted(run.found.asked)
    assert len(asked) > 10
    assert asked[len(asked) // 4] < EFFECT_DELAY.total_seconds() * 2


async def test_notes_that_come_late_say_that_it_is_over_and_nothing_else(run: Ran) -> None:
    assert late_notes(run.clinic, run.ends) == []
    told = {subject for _, kind, subject in run.clinic.notes if kind == REVOKED}
    assert told, "who was told of a referral is told of its end"
    assert told <= run.clinic.mark_of.keys() | run.doubtful, "and nobody else"


async def test_a_subscription_tells_nothing_of_what_was_never_announced(
    there: tuple[World, Clinic], run: Ran
) -> None:
    assert strangers_told(run.clinic, run.ends, run.doubtful) == []
    assert any(not focus for _, focus in run.clinic.events), "its numbers have no gaps"
    world, clinic = there
    told: list[dict[str, str]] = []
    while True:
        path = f"/fhir/Subscription/{run.subscription}/$events?eventsSinceNumber={len(told) + 1}"
        status, body = await insist(world, CLINIC, "GET", path)
        assert status == 200
        page = values(body)["events"]
        told += page
        if not page:
            break
    assert [int(event["event-number"]) for event in told] == list(range(1, len(told) + 1))
    named = {event["focus"].rpartition("/")[2] for event in told if "focus" in event}
    assert named <= clinic.mark_of.keys() | run.doubtful
    assert len(named) > COUNT // 3


async def test_content_is_410_after_a_withdrawal_and_the_request_is_answered_once(
    there: tuple[World, Clinic], run: Ran
) -> None:
    world, clinic = there
    one = await submit(world, 4_100_001)
    await until(lambda: one.theirs in clinic.mark_of, "never announced")
    data = f"/v1/referrals/{one.theirs}/data"
    assert (await insist(world, CLINIC, "GET", data))[0] == 200
    await take_back(world, one)
    status, answer = await insist(world, CLINIC, "GET", data)
    assert (status, answer["faults"][0]["rule"]) == (410, "withdrawn")

    async def state() -> object:
        return await world.admin.fetchval(
            "select state from delivery.erasure where referral_ref = $1", one.referral_ref
        )

    for _ in range(100):
        if await state() == "acknowledged":
            break
        await asyncio.sleep(0.1)
    assert await state() == "acknowledged"
    leaves = [leaf["kind"] for leaf in await world.leaves(one.case_ref)]
    assert leaves.index("withdrawn") < leaves.index("erasure_requested")
    assert leaves.index("erasure_requested") < leaves.index("erasure_reported")


async def test_what_was_not_announced_yet_never_is(there: tuple[World, Clinic], run: Ran) -> None:
    world, clinic = there
    clinic.slow = 0
    refs = await asyncio.gather(*(submit(world, 4_200_000 + n) for n in range(8)))
    await asyncio.gather(*(take_back(world, one) for one in refs))
    await asyncio.sleep(EFFECT_DELAY.total_seconds() + 1)
    for one in refs:
        kinds = {kind for _, kind, subject in clinic.notes if subject == one.theirs}
        assert kinds in (set(), {SENT, REVOKED}, {SENT})
        status, _ = await insist(world, CLINIC, "GET", f"/v1/referrals/{one.theirs}/data")
        assert status in (404, 410)


async def test_a_hub_with_planted_faults_is_found_out(
    there: tuple[World, Clinic], run: Ran
) -> None:
    world, clinic = there
    hub = world.hub
    hub.stop(plan.HUB)
    await asyncio.to_thread(start_with_faults, hub)
    fire = HookFire(world=world, clinic=clinic, count=PLANTED, seed=2, blows=False)
    fire.aimed, fire.early = 0.2, 2.0
    found, _ = await fire.run()
    violations = "\n".join(found.violations)
    assert "authorised after the withdrawal" in violations
    assert "no request to erase" in violations
    assert "still holds something" in violations
