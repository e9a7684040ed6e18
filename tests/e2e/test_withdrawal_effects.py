"""What a withdrawal, a part of one, an end of validity and a renewal do, from end to end."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from services.console.local import plan
from services.console.local.place import Place
from services.kit.settings import Settings
from tests.support.bundles import resource
from tests.support.hub import Hub, running_hub
from tests.support.servers import Databases
from tests.support.withdrawal import quiet_deliveries
from tests.support.withdrawal_keys import live_key, readable
from tests.support.withdrawal_world import (
    Organisation,
    Referred,
    Shelter,
    World,
    running_world,
    until,
)

PURPOSE = "service_referral"
SHELTER = plan.REFUGIO
PEOPLE = iter(range(3_000_000, 3_100_000))


@pytest.fixture(scope="module")
def bare_hub(secrets: Place, settings: Settings) -> Iterator[Hub]:
    quick = settings.model_copy(update={"poll_seconds": 0.5})
    with running_hub(secrets, quick, (plan.VAULT, plan.HUB)) as running:
        yield running


@pytest.fixture(scope="module")
def shelter(bare_hub: Hub) -> Shelter:
    made = Shelter(hub=bare_hub, org=SHELTER, port=bare_hub.settings.refugio_port)
    made.start()
    return made


@pytest.fixture
async def world(bare_hub: Hub, pg: Databases, shelter: Shelter) -> AsyncIterator[World]:
    orgs = (
        Organisation(org="ong-norte", org_type="ngo", role="source"),
        Organisation(org=SHELTER, url=shelter.url),
    )
    async with running_world(bare_hub, pg, orgs) as made:
        await control(made, shelter, slow_ms=0, fault="", erasure_after_ms=0)
        yield made


async def control(world: World, shelter: Shelter, **switches: Any) -> None:
    async with world.session.post(f"{shelter.url}/_control", json=switches) as answer:
        assert answer.status == 200


def sample(**changes: Any) -> Sample:
    return Sample(person=person(next(PEOPLE)), **changes)


async def status(world: World, referred: Referred) -> str:
    found: str = await world.admin.fetchval(
        "select status from referral.referral where referral_ref = $1", referred.referral_ref
    )
    return found


async def becomes(world: World, referred: Referred, wanted: str) -> None:
    async def check() -> bool:
        return await status(world, referred) == wanted

    await until(check, f"never {wanted}")


async def accepted(world: World, made: Sample) -> Referred:
    """A referral that the recipient has accepted, with contact delivered."""
    referred = await world.refer(made.bundle())
    await becomes(world, referred, "accepted")
    await quiet_deliveries(world.admin)
    return referred


async def kinds(world: World, referred: Referred) -> list[str]:
    return [leaf["kind"] for leaf in await world.leaves(referred.case_ref)]


def held_by(shelter: Shelter, alias: UUID | None) -> dict[str, Any]:
    """What the recipient's journal says it holds of a referral, by kind of resource."""
    held: dict[tuple[str, str], dict[str, Any]] = {}
    for record in shelter.records():
        for one in record.get("resources", ()):
            held[one["resourceType"], one["id"]] = one
        for kind, rid in record.get("removed", ()):
            held.pop((kind, rid), None)
    task = next((r for r in held.values() if _named(r, alias)), None)
    if task is None:
        return {}
    found = {"Task": task}
    for name in ("focus", "for"):
        kind, _, rid = task[name]["reference"].partition("/")
        if (kind, rid) in held:
            found[kind] = held[kind, rid]
    return found


def _named(resource: dict[str, Any], alias: UUID | None) -> bool:
    ids = [i.get("value") for i in resource.get("identifier", ())]
    return resource["resourceType"] == "Task" and str(alias) in ids


async def erasure(world: World, referred: Referred) -> Any:
    return await world.admin.fetchrow(
        "select * from delivery.erasure where referral_ref = $1", referred.referral_ref
    )


async def reported(world: World, referred: Referred) -> bool:
    row = await erasure(world, referred)
    return row is not None and row["state"] == "acknowledged"


async def read_by_recipient(world: World, referred: Referred) -> dict[str, int]:
    """Status of each read of the recipient."""
    request = await world.alias(SHELTER, "service_request", referred.referral_ref)
    consent = await world.alias(SHELTER, "consent", referred.referral_ref)
    found = {}
    for path in (f"ServiceRequest/{request}", f"Consent/{consent}"):
        found[path.partition("/")[0]], _, _ = await world.call(SHELTER, "GET", f"/fhir/{path}")
    return found


async def test_a_past_recipient_is_asked_at_once_and_followed_to_its_answer(
    world: World, shelter: Shelter
) -> None:
    referred = await accepted(world, sample())
    alias = await world.alias(SHELTER, "task", referred.referral_ref)
    assert set(held_by(shelter, alias)) == {"Task", "ServiceRequest", "Patient"}
    await control(world, shelter, erasure_after_ms=1500)
    answer = await world.agency.withdraw(referred.ids["Consent"])
    assert answer["status"] == 200

    async def sent() -> Any:
        row = await erasure(world, referred)
        return row is not None and row["state"] == "sent" and row

    row = await until(sent, "never sent", 5)
    assert row["effect"] is None
    assert row["due_at"] - row["requested_at"] == pytest.approx(
        timedelta(days=5), abs=timedelta(seconds=5)
    )
    await until(partial(reported, world, referred), "never answered", 10)
    assert (await erasure(world, referred))["effect"] == "deleted"
    assert held_by(shelter, alias) == {}
    await becomes(world, referred, "revoked")
    found = await kinds(world, referred)
    assert found.index("withdrawn") < found.index("erasure_requested")
    assert found.index("erasure_requested") < found.index("erasure_reported")


async def test_what_has_not_left_is_suppressed_with_its_leaf(
    world: World, shelter: Shelter
) -> None:
    shelter.kill()
    referred = await world.refer(sample().bundle())

    async def tried() -> Any:
        return await world.admin.fetchval(
            "select attempts > 0 and state = 'queued' from delivery.task where referral_ref = $1",
            referred.referral_ref,
        )

    await until(tried, "never tried")
    await world.agency.withdraw(referred.ids["Consent"])
    await becomes(world, referred, "revoked")
    shelter.start()
    await quiet_deliveries(world.admin)
    leaves = await world.leaves(referred.case_ref)
    kept = [leaf for leaf in leaves if leaf["kind"] == "suppressed"]
    assert [leaf["to_org"] for leaf in kept] == [SHELTER]
    assert held_by(shelter, await world.alias(SHELTER, "task", referred.referral_ref)) == {}
    assert await erasure(world, referred) is None


async def test_reads_end_and_no_key_opens_the_facts_any_more(
    world: World, shelter: Shelter
) -> None:
    referred = await accepted(world, sample())
    case_ref = referred.case_ref
    assert await read_by_recipient(world, referred) == {"ServiceRequest": 200, "Consent": 200}
    opened, stored = await readable(world, case_ref, PURPOSE)
    assert opened == stored > 2
    await world.agency.withdraw(referred.ids["Consent"])
    assert await read_by_recipient(world, referred) == {"ServiceRequest": 403, "Consent": 403}

    async def dead() -> bool:
        return await live_key(world, case_ref, PURPOSE) is None

    await until(dead, "the key lives on", 10)
    assert await readable(world, case_ref, PURPOSE) == (0, stored)
    await until(partial(reported, world, referred), "never answered")
    assert "key_destroyed" in await kinds(world, referred)


async def test_taking_back_a_part_keeps_the_rest(world: World, shelter: Shelter) -> None:
    bundle = sample().bundle()
    referred = await world.refer(bundle)
    await becomes(world, referred, "accepted")
    await quiet_deliveries(world.admin)
    alias = await world.alias(SHELTER, "task", referred.referral_ref)
    assert "telecom" in held_by(shelter, alias)["Patient"]
    consent = resource(bundle, "Consent")
    consent |= {
        "id": referred.ids["Consent"],
        "patient": {"reference": f"Patient/{referred.ids['Patient']}"},
    }
    del consent["performer"]
    permit = consent["provision"]["provision"][0]
    permit["code"] = [c for c in permit["code"] if c["coding"][0]["code"] != "contact"]
    put = await world.call(
        "ong-norte",
        "PUT",
        f"/fhir/Consent/{referred.ids['Consent']}",
        consent,
        If_Match='W/"1"',
        Content_Type="application/fhir+json",
    )
    assert put[0] == 200, put[1]["issue"]

    async def gone() -> bool:
        return "telecom" not in held_by(shelter, alias)["Patient"]

    await until(gone, "the recipient still has the contact")
    assert await status(world, referred) == "accepted"
    await until(partial(reported, world, referred), "never answered")
    assert (await erasure(world, referred))["data_categories"] == ["contact"]
    opened, stored = await readable(world, referred.case_ref, PURPOSE)
    assert opened == stored
    assert (await read_by_recipient(world, referred))["ServiceRequest"] == 200


async def test_consent_given_again_works_under_a_new_key(world: World, shelter: Shelter) -> None:
    made = sample(requisition="caso-renovado")
    first = await accepted(world, made)
    old = await live_key(world, first.case_ref, PURPOSE)
    await world.agency.withdraw(first.ids["Consent"])
    await until(partial(reported, world, first), "never answered")
    again = sample(requisition="caso-renovado")
    again.person = made.person
    second = await accepted(world, again)
    assert second.case_ref == first.case_ref
    new = await live_key(world, second.case_ref, PURPOSE)
    assert old is not None
    assert new is not None
    assert new.version == old.version + 1
    assert held_by(shelter, await world.alias(SHELTER, "task", second.referral_ref))
    opened, stored = await readable(world, second.case_ref, PURPOSE)
    assert 0 < opened < stored
    assert await status(world, first) == "revoked"


async def test_an_end_of_validity_stops_all_and_asks_nobody_to_delete(
    world: World, shelter: Shelter
) -> None:
    bundle = sample().bundle()
    consent = resource(bundle, "Consent")
    end = datetime.now(UTC) + timedelta(seconds=6)
    consent["provision"]["period"]["end"] = end.isoformat()
    referred = await world.refer(bundle)
    await becomes(world, referred, "accepted")
    assert (await read_by_recipient(world, referred))["ServiceRequest"] == 200

    async def expired() -> bool:
        return "expired" in await kinds(world, referred)

    await until(expired, "never expired", 15)
    assert set((await read_by_recipient(world, referred)).values()) == {403}

    async def dead() -> bool:
        return await live_key(world, referred.case_ref, PURPOSE) is None

    await until(dead, "the key lives on", 10)
    await quiet_deliveries(world.admin)
    assert await erasure(world, referred) is None
    late = await world.admin.fetchval(
        "select count(*) from delivery.intent where referral_ref = $1 and at > $2",
        referred.referral_ref,
        end,
    )
    assert late == 0
    answer = await world.agency.withdraw(referred.ids["Consent"])
    assert answer["status"] == 200, "the person may still ask for what was received to go"
    await until(partial(reported, world, referred), "the past recipient never answered", 10)
    assert (await erasure(world, referred))["effect"] == "deleted"
