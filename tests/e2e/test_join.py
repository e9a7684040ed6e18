"""Recipients lay side by side all they received of the same people, and cannot join it.

Two get it by FHIR, one is told by webhook and reads natively; all read on every surface, and
subscribe. What any two of them have in common is looked for.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest

from connectors.fhir_r4 import notification
from connectors.sandbox.people import SamplePerson, person
from connectors.sandbox.samples import Permit, Sample
from services.console.local import plan
from services.console.local.place import Place
from services.console.local.ports import free_ports
from services.kit.settings import Settings
from tests.support import join
from tests.support.hub import Hub, running_hub
from tests.support.join_codes import CODES, CONSTANTS
from tests.support.servers import Databases
from tests.support.withdrawal import quiet_deliveries
from tests.support.withdrawal_world import (
    Organisation,
    Referred,
    Shelter,
    World,
    running_world,
    until,
)

PEOPLE = 100
ABREAST = 12
READERS = 15
TAKEN_BACK = 10
RECIPIENTS = ("refugio-sur", "refugio-este")
CLINIC = "clinica-este"
PATIENTS = 30
"""So many of the people are referred to the clinic too."""
CATEGORIES = ("pseudonymous_core", "health")
POPULATIONS = ("in_transit", "pendular")
REGIONS = ("CO-ANT",)
NATIONS = ("VEN", "ECU")


pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Met:
    """What the two recipients saw of everybody, and who was who."""

    one: join.Recorder
    other: join.Recorder
    clinic: join.Recorder
    person_of: dict[str, int]
    facts: list[tuple[str, ...]]


@pytest.fixture(scope="module")
def bare_hub(secrets: Place, settings: Settings) -> Iterator[Hub]:
    with running_hub(secrets, settings, (plan.VAULT, plan.HUB)) as running:
        yield running


@pytest.fixture(scope="module")
def met(bare_hub: Hub, pg: Databases) -> Met:
    shelters = [
        Shelter(hub=bare_hub, org=org, port=port)
        for org, port in zip(RECIPIENTS, free_ports(len(RECIPIENTS)), strict=True)
    ]
    for shelter in shelters:
        shelter.start()
    return asyncio.run(meet(bare_hub, pg, shelters))


async def meet(hub: Hub, pg: Databases, shelters: list[Shelter]) -> Met:
    recorders = [join.Recorder(org=shelter.org) for shelter in shelters]
    clinic = join.Recorder(org=CLINIC)
    async with AsyncExitStack() as stack:
        orgs = [Organisation(org="ong-norte", org_type="ngo", role="source")]
        urls = {CLINIC: await stack.enter_async_context(join.listening(clinic))}
        for recorder, shelter in zip(recorders, shelters, strict=True):
            url = await stack.enter_async_context(join.recording(recorder, shelter.url))
            urls[shelter.org] = url
            orgs.append(
                Organisation(org=shelter.org, url=url, token_url=f"{shelter.url}/oauth/token")
            )
        there = urls[CLINIC]
        orgs.append(Organisation(org=CLINIC, url=there, hook=f"{there}/in"))
        world = await stack.enter_async_context(running_world(hub, pg, orgs))
        for org in (*RECIPIENTS, CLINIC):
            world.tokens[org].scope = ""
        for shelter in shelters:
            switches = {"answers": [["received", 0], ["accepted", 0]]}
            async with world.session.post(f"{shelter.url}/_control", json=switches) as answer:
                assert answer.status == 200
        everybody = [*recorders, clinic]
        told = {r.org: await subscribe(world, r.org, urls[r.org]) for r in everybody}
        people = [someone(number) for number in range(PEOPLE)]
        room = asyncio.Semaphore(ABREAST)
        sent = await asyncio.gather(*(refer(world, room, n, p) for n, p in enumerate(people)))
        await quiet_deliveries(world.admin)
        await confirmed(world)
        for recorder in everybody:
            await asyncio.gather(
                *(read(world, room, recorder, referred) for referred in sent[:READERS])
            )
            await read_lists(world, recorder, told[recorder.org])
        for referred in sent[:TAKEN_BACK]:
            for one in referred:
                await world.agency.withdraw(one.ids["Consent"])
        await settled(world)
        for recorder in everybody:
            await read_lists(world, recorder, told[recorder.org])
        person_of = {
            str(await world.alias(recorder.org, "task", one.referral_ref)): number
            for recorder in recorders
            for number, referred in enumerate(sent)
            for one in referred
        }
    facts = [facts_of(p, n) for n, p in enumerate(people)]
    return Met(
        one=recorders[0], other=recorders[1], clinic=clinic, person_of=person_of, facts=facts
    )


async def confirmed(world: World) -> None:
    """The referrals know of their deliveries, which they are told after them."""
    waiting = "select count(*) from referral.referral where to_org = any($1) and status = 'sent'"

    async def done() -> bool:
        return not await world.admin.fetchval(waiting, list(RECIPIENTS))

    await until(done, "not confirmed", 60)


async def settled(world: World) -> None:
    """What can be done without the clinic, which answers no request to erase, is done."""
    waiting = """select (select count(*) from delivery.task where state in ('queued', 'claimed'))
        + (select count(*) from delivery.notification where state = 'queued')
        + (select count(*) from delivery.subscription where last_number > sent_number)
        + (select count(*) from delivery.erasure where state = 'requested')"""

    async def done() -> bool:
        return not await world.admin.fetchval(waiting)

    await asyncio.sleep(1)
    await until(done, "not settled", 60)
    await asyncio.sleep(1)
    await until(done, "not settled", 60)


async def subscribe(world: World, org: str, url: str) -> str:
    """A subscription of the recipient to its own Tasks; its id."""
    content = {"extension": [{"url": notification.CONTENT, "valueCode": "id-only"}]}
    channel = {
        "type": "rest-hook",
        "endpoint": f"{url}{join.TOLD}",
        "payload": "application/fhir+json",
        "_payload": content,
    }
    wanted = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": org,
        "criteria": f"Task?owner=Organization/{org}",
        "channel": channel,
    }
    status, body, _ = await world.call(
        org, "POST", "/fhir/Subscription", wanted, Content_Type="application/fhir+json"
    )
    assert status == 201, body
    return str(body["id"])


def someone(number: int) -> SamplePerson:
    chance = random.Random(number)
    return replace(
        person(7_000_000 + number),
        birth_date=f"{chance.choice((1959, 1995))}-05-17",
        nationality=chance.choice(NATIONS),
        admin1=chance.choice(REGIONS),
    )


def facts_of(who: SamplePerson, number: int) -> tuple[str, ...]:
    """The coded facts that a recipient learns; the year stands for the age band."""
    return (who.gender, who.birth_date, who.nationality, who.admin1, population(number))


def population(number: int) -> str:
    return random.Random(-number - 1).choice(POPULATIONS)


async def refer(
    world: World, room: asyncio.Semaphore, number: int, who: SamplePerson
) -> list[Referred]:
    """Referrals of one case: to one, to the other, to one of them again; to the clinic."""
    async with room:
        found = []
        clinic = (CLINIC,) if number < PATIENTS else ()
        for to_org in (*RECIPIENTS, RECIPIENTS[number % 2], *clinic):
            others = [org for org in (*RECIPIENTS, *clinic) if org != to_org]
            sample = Sample(
                person=who,
                to_org=to_org,
                entry=f"{to_org}-casa",
                categories=CATEGORIES,
                more_permits=tuple(Permit(o, "service_referral", CATEGORIES) for o in others),
                requisition=f"caso-{number}",
            )
            found.append(await world.refer(with_population(sample.bundle(), number)))
        return found


def with_population(bundle: dict[str, Any], number: int) -> dict[str, Any]:
    for entry in bundle["entry"]:
        if entry["resource"]["resourceType"] == "ServiceRequest":
            for part in entry["resource"]["extension"][0]["extension"]:
                if part["url"] == "population_type":
                    part["valueCode"] = population(number)
    return bundle


async def read(
    world: World, room: asyncio.Semaphore, recorder: join.Recorder, referred: list[Referred]
) -> None:
    """The recipient reads at the hub everything of a person that it may, on both surfaces."""
    for one in referred:
        task = await world.alias(recorder.org, "task", one.referral_ref)
        if task is None:
            continue
        async with room:
            body = await take(world, recorder, f"/fhir/Task/{task}")
            request = await take(world, recorder, f"/fhir/{body['focus']['reference']}")
            await take(world, recorder, f"/fhir/{request['subject']['reference']}")
            await take(world, recorder, f"/fhir/{request['supportingInfo'][0]['reference']}")
            for part in ("", "/timeline", "/data"):
                await take(world, recorder, f"/v1/referrals/{task}{part}")


async def read_lists(world: World, recorder: join.Recorder, subscription: str) -> None:
    """Its lists, each to the second page; its log of disclosures and of its subscription."""
    for path in ("/fhir/Task?_count=5", "/fhir/AuditEvent?_count=5"):
        body = await take(world, recorder, path)
        links = {link["relation"]: link["url"] for link in body["link"]}
        await take(world, recorder, links["next"])
    for path in ("/v1/referrals?limit=5", "/v1/erasure-requests?limit=5"):
        body = await take(world, recorder, path)
        if "next" in body:
            await take(world, recorder, f"{path}&cursor={body['next']}")
    for part in ("", "/$status", "/$events"):
        await take(world, recorder, f"/fhir/Subscription/{subscription}{part}")


async def take(world: World, recorder: join.Recorder, path: str) -> dict[str, Any]:
    hub = world.hub.settings.public_url
    status, body, headers = await world.call(recorder.org, "GET", path.removeprefix(hub))
    assert status == 200, (path, body)
    body = orjson.loads(orjson.dumps(body).replace(hub.encode(), b""))
    recorder.messages.append(join.Message(headers=headers, path=path, body=body, size=0))
    found: dict[str, Any] = body
    return found


def test_both_recipients_have_seen_everybody(met: Met) -> None:
    for recorder in (met.one, met.other):
        seen = {p.person for p in join.profiles(recorder, met.person_of, CODES)}
        assert seen == set(range(PEOPLE))
        assert sum(1 for m in recorder.messages if m.path.endswith("/fhir/Task")) >= TAKEN_BACK


def test_no_value_header_or_id_is_with_both_apart_from_codes_and_days(met: Met) -> None:
    common = sorted(join.shared(met.one, met.other, CODES))
    print(common)
    assert not common


def test_the_clinic_shares_no_value_with_who_gets_it_by_fhir(met: Met) -> None:
    for recorder in (met.one, met.other):
        common = sorted(join.shared(recorder, met.clinic, CODES))
        print(common)
        assert not common


def test_no_more_instants_are_with_two_than_chance_gives(met: Met) -> None:
    for one, other in ((met.one, met.other), (met.one, met.clinic), (met.other, met.clinic)):
        found, mean, spread = join.coincidences(one, other)
        print(
            f"{found} instants with {one.org} and {other.org}, by chance {mean:.1f} ± {spread:.1f}"
        )
        assert found <= mean + 4 * max(spread, 1)


def test_the_same_event_told_at_one_instant_to_two_is_found(met: Met) -> None:
    """The look at instants works: a tenth of what one was told, told to the other as it was."""
    told = [m for m in met.one.messages if isinstance(m.body, dict)]
    other = replace(met.other, messages=[*met.other.messages, *told[::10]])
    found, mean, spread = join.coincidences(met.one, other)
    assert found > mean + 4 * max(spread, 1)


def test_the_clinic_was_told_and_has_read_of_the_same_people(met: Met) -> None:
    bodies = [m.body for m in met.clinic.messages if isinstance(m.body, dict)]
    kinds = Counter(body.get("type") for body in bodies)
    assert kinds["cauce.referral.sent"] == PATIENTS
    assert kinds["cauce.erasure.requested"] == TAKEN_BACK
    assert kinds["cauce.referral.revoked"] == TAKEN_BACK
    assert sum("person" in body for body in bodies) == READERS
    for recorder in (met.one, met.other, met.clinic):
        assert any(m.path == join.TOLD for m in recorder.messages)
        assert any("/v1/erasure-requests" in m.path for m in recorder.messages)


def test_no_code_of_the_exemption_is_there_for_nothing(met: Met) -> None:
    assert met.one.values() & met.other.values() >= CONSTANTS


def test_linking_by_codes_does_no_better_than_their_frequencies_allow(met: Met) -> None:
    """A guess among n people of equal facts is right once on average: one hit a class."""
    one, other = (join.profiles(r, met.person_of, CODES) for r in (met.one, met.other))
    expected, spread = join.allowed_hits(met.facts)
    runs = [join.linked(one, other, random.Random(seed)) for seed in range(20)]
    mean = sum(runs) / len(runs)
    print(f"linked {mean:.1f} of {PEOPLE}, allowed {expected:.0f} ± {spread:.1f}")
    assert mean <= expected + 3 * spread
    assert mean >= expected / 2, "the attack does not even use the codes"


def test_the_attack_finds_everybody_when_one_value_is_common() -> None:
    """The attack itself works: with a value in common it links all, without it one a class."""
    values = [frozenset({f"x{n}"}) for n in range(PEOPLE)]
    mine = [join.Profile(person=n, codes=(), sizes=(1,), values=values[n]) for n in range(PEOPLE)]
    assert join.linked(mine, mine, random.Random(1)) == PEOPLE
    blind = [replace(p, values=frozenset()) for p in mine]
    hits = [join.linked(blind, blind, random.Random(seed)) for seed in range(40)]
    assert sum(hits) / len(hits) < 3
