"""Each kind of service from end to end: its purpose, its row of the need-to-know matrix, no more.

The table is written out here from the specification and not read from the product's data.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from schemas.codes import codes
from services.console.local import plan
from services.console.local.place import Place
from services.kit.settings import Settings
from tests.support.hub import Hub, running_hub
from tests.support.servers import Databases
from tests.support.withdrawal_world import Organisation, World, running_world

CORE, CONTACT, IDENTITY = "pseudonymous_core", "contact", "identity"
DETAILS, HEALTH, FAMILY, CHILD = "exploitation_details", "health", "family", "child_data"
LEGAL = (CORE, CONTACT, IDENTITY, DETAILS, "experience_narrative", "migration_status", "evidence")
CHILD_AUTHORITY = (CORE, CHILD, FAMILY, IDENTITY, DETAILS)
SHELTER_BARE = (CORE, CONTACT, CHILD, FAMILY)
PSYCHOSOCIAL = (CORE, CONTACT, DETAILS, HEALTH, "sexual_violence")
HEALTHCARE = (CORE, CONTACT, HEALTH, "sexual_violence")
LIVELIHOODS = (CORE, CONTACT)
CASE = (CORE, CONTACT, DETAILS)
REFERRAL = "service_referral"
KINDS = {
    "shelter": "refugio-sur",
    "un_agency": "agencia-onu",
    "child_protection_authority": "defensoria-ninez",
}


@dataclass(frozen=True)
class Row:
    """One kind of service at one kind of recipient; `excess` is a category it may not ask for."""

    service: str
    purpose: str
    categories: tuple[str, ...]
    excess: str
    kind: str = "shelter"

    def __str__(self) -> str:
        return f"{self.service} at {self.kind}"


def rows() -> Iterator[Row]:
    for service in ("legal_counsel", "legal_representation", "documentation_regularization"):
        yield Row(service, "legal_assistance", LEGAL, HEALTH)
    un = (CORE, IDENTITY, CONTACT, "migration_status")
    yield Row("asylum", "international_protection", un, "evidence", "un_agency")
    tracing = "family_tracing_reunification"
    yield Row(tracing, "family_tracing", CHILD_AUTHORITY, CONTACT)
    for service in ("child_protection", "best_interests", "alternative_care", "family_mediation"):
        authority = "child_protection_authority"
        yield Row(service, REFERRAL, CHILD_AUTHORITY, HEALTH, authority)
        yield Row(service, REFERRAL, SHELTER_BARE, HEALTH)
    for service in ("shelter_temporary", "shelter_specialized"):
        yield Row(service, REFERRAL, (*SHELTER_BARE, HEALTH), DETAILS)
    for service in ("psychosocial", "mental_health", "gbv_services"):
        yield Row(service, REFERRAL, PSYCHOSOCIAL, IDENTITY)
    for service in ("health_medical", "sexual_reproductive_health"):
        yield Row(service, REFERRAL, HEALTHCARE, DETAILS)
    for service in (
        "livelihoods",
        "education",
        "cash_assistance",
        "food",
        "nfi",
        "wash",
        "safe_transport",
        "interpretation",
        "information_counselling",
    ):
        yield Row(service, REFERRAL, LIVELIHOODS, DETAILS)
    for service in ("case_management", "reintegration", "voluntary_return"):
        yield Row(service, REFERRAL, CASE, IDENTITY)


ROWS = list(rows())
PACKETS = ("justice_access_prosecution", "police_protection")
NEVER = ("rescue", "other")
SERVICES = tuple(sorted({*(row.service for row in ROWS), *PACKETS, *NEVER}))
PEOPLE = iter(range(4_000_000, 4_100_000))


@pytest.fixture(scope="module")
def bare_hub(secrets: Place, settings: Settings) -> Iterator[Hub]:
    with running_hub(secrets, settings, (plan.VAULT, plan.HUB)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(bare_hub: Hub, pg: Databases) -> AsyncIterator[World]:
    orgs = [
        Organisation(org="ong-norte", org_type="ngo", role="source", service_types=SERVICES),
        *(
            Organisation(org=org, org_type=kind, service_types=SERVICES)
            for kind, org in KINDS.items()
        ),
    ]
    async with running_world(bare_hub, pg, orgs) as made:
        yield made


async def send(world: World, row: Row, **changes: Any) -> tuple[int, Any]:
    org = KINDS[row.kind]
    fields: dict[str, Any] = {
        "person": person(next(PEOPLE)),
        "to_org": org,
        "entry": f"{org}-casa",
        "service_type": row.service,
        "purpose": row.purpose,
        "categories": row.categories,
    }
    bundle = Sample(**(fields | changes)).bundle()
    headers = {"Content_Type": "application/fhir+json"}
    status, body, _ = await world.call("ong-norte", "POST", "/fhir", bundle, **headers)
    return status, body


def refusals(body: Any) -> list[tuple[str, str]]:
    """(code, rule) of each issue."""
    found = []
    for issue in body["issue"]:
        codes = [coding["code"] for coding in issue["details"]["coding"]]
        found.append((codes[0], codes[1] if len(codes) > 1 else ""))
    return found


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_a_service_is_referred_for_its_purpose_with_its_row(world: World, row: Row) -> None:
    status, body = await send(world, row)
    assert status == 200, body["issue"]
    task = body["entry"][-1]["response"]["location"].split("/")[1]
    found = await world.admin.fetchrow(
        "select e.purpose from bus.event e join gateway.referral r on r.case_ref = e.key"
        " join gateway.alias a on a.referral_ref = r.referral_ref"
        " where a.alias::text = $1 and e.type = 'referral.requested'",
        task,
    )
    assert found is not None
    assert found["purpose"] == row.purpose
    status, body = await send(world, row, categories=(*row.categories, row.excess))
    assert status == 422
    assert refusals(body) == [("not-permitted", "category-needed")]


@pytest.mark.parametrize("row", [r for r in ROWS if r.kind == "shelter"], ids=str)
async def test_no_other_purpose_carries_the_service(world: World, row: Row) -> None:
    other = "legal_assistance" if row.purpose == REFERRAL else REFERRAL
    status, body = await send(world, row, purpose=other)
    assert status == 422, body


@pytest.mark.parametrize("service", [*PACKETS, *NEVER])
async def test_what_is_no_referral_is_refused(world: World, service: str) -> None:
    row = Row(service, REFERRAL, (CORE,), HEALTH)
    status, body = await send(world, row)
    code = "use-packet" if service in PACKETS else "not-permitted"
    assert status == 422
    assert refusals(body)[0][0] == code


async def test_asylum_goes_to_the_un_agency_alone(world: World) -> None:
    row = Row("asylum", "international_protection", (CORE,), HEALTH)
    status, body = await send(world, row)
    assert (status, refusals(body)) == (422, [("not-permitted", "org-type-of-service")])


@pytest.mark.parametrize("row", ROWS[::5], ids=str)
async def test_an_emergency_carries_core_and_contact_alone(world: World, row: Row) -> None:
    urgent: dict[str, Any] = {
        "purpose": "emergency",
        "legal_basis": "vital_interest",
        "basis_reason": "danger_to_life",
        "approver": "coordinadora-1",
    }
    status, body = await send(world, row, categories=(CORE, CONTACT), **urgent)
    assert status == 200, body["issue"]
    status, body = await send(world, row, categories=(CORE, CONTACT, IDENTITY), **urgent)
    assert status == 422


async def test_every_service_of_the_list_stands_in_the_table() -> None:
    assert set(codes("service_type")) == set(SERVICES)
