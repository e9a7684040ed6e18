"""Refusals by the rules of a referral and by states the hub is driven to."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import time
from typing import Any

from connectors.sandbox.samples import BASE, Permit
from services.console.local import plan
from tests.support.bundles import (
    ACT_REASON,
    concept,
    cut,
    put,
    resource,
)
from tests.support.refusals import (
    AnyRequest,
    Case,
    Change,
    Make,
    Request,
    in_body,
    send,
    simple,
)
from tests.support.refusals_wire import case, with_key
from tests.support.refusals_world import World, tomorrow

Bundle = dict[str, Any]
PROVISIONS = "Consent.provision.provision"
CORE = ("pseudonymous_core", "contact")


# --- who may refer what -----------------------------------------------------------------------


def at_entry(entry: str) -> Change:
    """Another entry of the directory."""
    return in_body(
        put("ServiceRequest", "performer", 0, "reference", value=f"HealthcareService/{entry}")
    )


def to(org: str, entry: str) -> Change:
    """Another recipient: owner, entry and permit."""

    def change(of: Bundle) -> None:
        put("Task", "owner", "reference", value=f"Organization/{org}")(of)
        performer = f"HealthcareService/{entry}"
        put("ServiceRequest", "performer", 0, "reference", value=performer)(of)
        permit = resource(of, "Consent")["provision"]["provision"][0]
        permit["actor"][0]["reference"]["reference"] = f"Organization/{org}"

    return in_body(change)


def service(code: str) -> Change:
    """Another kind of service."""
    value = concept(f"{BASE}/CodeSystem/service-type", code)
    return in_body(put("ServiceRequest", "code", value=value))


def _permit(**changes: Any) -> Callable[[Bundle], None]:
    return lambda of: resource(of, "Consent")["provision"]["provision"][0].update(changes)


def _categories(*codes: str) -> list[Any]:
    return [concept(f"{BASE}/CodeSystem/data-category", code) for code in codes]


def _more(permit: Permit) -> Change:
    """One permit more."""

    def change(world: World, request: Any) -> None:
        provisions = resource(request.body, "Consent")["provision"]["provision"]
        added = json.loads(json.dumps(provisions[0]))
        added["actor"][0]["reference"]["reference"] = f"Organization/{permit.to_org}"
        added["code"] = _categories(*permit.categories)
        provisions.append(added)

    return change


def _deny(reference: dict[str, Any]) -> Change:
    def change(of: Bundle) -> None:
        provisions = resource(of, "Consent")["provision"]["provision"]
        role = provisions[0]["actor"][0]["role"]
        actor = [{"role": role, "reference": reference}]
        provisions.append({"type": "deny", "actor": actor, "code": _categories(*CORE)})

    return in_body(change)


def _refused(rule: str, at: str, change: Change, make: Make | None = None) -> Case:
    return case(rule, "not-permitted", rule, at, make or simple(), change)


def _excess(category: str) -> str:
    return f"{PROVISIONS}.code.where(coding.code = '{category}')"


def without_address(world: World, number: int) -> Any:
    """A referral that does not say where the person is."""
    request = simple()(world, number)
    cut("Patient", "address")(request.body)
    return request


@asynccontextmanager
async def changed_record(world: World, org: str, **fields: Any) -> AsyncIterator[None]:
    """A partner's record is another for a while."""
    kept: dict[str, Any] = {}

    def there(record: dict[str, Any]) -> None:
        kept.update({name: record[name] for name in fields})
        record.update(fields)

    await world.change(org, there)
    try:
        yield
    finally:
        await world.change(org, lambda record: record.update(kept))


PERFORMER, OWNER, SERVICE = "ServiceRequest.performer", "Task.owner", "ServiceRequest.code"
RULES = (
    _refused("source-service-type", SERVICE, service("psychosocial"), simple(entry="sur-todo")),
    _refused("recipient-agreement", OWNER, to("casa-vencida", "vencida-casa")),
    case(
        "recipient nobody knows", "not-permitted", "recipient-agreement", OWNER, simple(),
        to("nadie-zzqx", "refugio-sur-casa"),
    ),
    _refused("recipient-role", OWNER, to("ong-este", "refugio-sur-casa")),
    _refused("recipient-itself", OWNER, to("mixta", "mixta-casa"), simple("mixta")),
    _refused("entry-of-recipient", PERFORMER, at_entry("otra-casa")),
    _refused("entry-active", PERFORMER, at_entry("sur-cerrada")),
    _refused("entry-capacity", PERFORMER, at_entry("sur-llena")),
    case(
        "suspended entry", "not-permitted", "entry-capacity", PERFORMER, simple(),
        at_entry("sur-suspendida"),
    ),
    _refused("entry-service-type", SERVICE, at_entry("sur-comedor")),
    _refused("entry-population", "ServiceRequest.extension", at_entry("sur-retorno")),
    _refused("entry-age", "Patient.birthDate", at_entry("sur-infancia")),
    case(
        "age unknown", "required", "age", "Patient.birthDate", simple(entry="sur-adultas"),
        in_body(cut("Patient", "birthDate")),
    ),
    _refused(
        "entry-country", "Patient.address",
        in_body(put("Patient", "address", 0, value={"country": "ECU"})),
    ),
    _refused("transfer", OWNER, to("casa-lima", "lima-casa"), without_address),
    _refused("org-type-of-service", OWNER, service("asylum"), simple(entry="sur-todo")),
    _refused(
        "service-type-not-referred", SERVICE, service("rescue"), simple(entry="sur-todo")
    ),
    case(
        "police", "use-packet", "service-type-not-referred", SERVICE, simple(entry="sur-todo"),
        service("police_protection"),
    ),
    case(
        "prosecution", "use-packet", "org-type", OWNER, simple(), to("fiscalia", "fiscalia-casa")
    ),
    _refused(
        "purpose-agreed", f"{PROVISIONS}.purpose", to("casa-legal", "legal-casa")
    ),
    _refused(
        "category-needed", _excess("migration_status"),
        in_body(_permit(code=_categories(*CORE, "migration_status"))),
    ),
    _refused("category-agreed", _excess("contact"), to("casa-breve", "breve-casa")),
)  # fmt: skip


# --- consent ----------------------------------------------------------------------------------


def _denied(rule: str, at: str, change: Change) -> Case:
    return case(rule, "consent-denied", rule, at, simple(), change)


def emergency(**changes: Any) -> Make:
    """A referral on the basis of vital interest."""
    basis = {"legal_basis": "vital_interest", "purpose": "emergency"}
    reason = {"basis_reason": "danger_to_life", "approver": "coordinadora-1"}
    return simple(**basis, **reason, **changes)


def _referral_purpose(of: Bundle) -> None:
    system = f"{BASE}/CodeSystem/purpose"
    coc = {"system": ACT_REASON, "code": "COC"}
    _permit(purpose=[{"system": system, "code": "service_referral"}, coc])(of)


CONSENT = (
    _denied(
        "no-permit", PROVISIONS,
        in_body(put(
            "Consent", "provision", "provision", 0, "actor", 0, "reference", "reference",
            value="Organization/casa-otra",
        )),
    ),
    _denied(
        "permit-part", PROVISIONS,
        _more(Permit("refugio-sur", "service_referral", ("family",))),
    ),
    _denied(
        "not-yet-valid", "Consent.provision.period",
        in_body(_permit(period={"start": tomorrow()})),
    ),
    _denied("deny-org", PROVISIONS, _deny({"reference": "Organization/refugio-sur"})),
    _denied(
        "deny-kind", PROVISIONS,
        _deny({"identifier": {"system": f"{BASE}/CodeSystem/org-type", "value": "shelter"}}),
    ),
    case(
        "permit for an organisation nobody knows", "consent-actor", "unknown-organization",
        f"{PROVISIONS}.actor", simple(), _more(Permit("nadie-zzqx", "service_referral", CORE)),
    ),
    case(
        "emergency basis for a referral", "consent-basis", "emergency-is-vital-interest",
        f"{PROVISIONS}.purpose", emergency(), in_body(_referral_purpose),
    ),
    case(
        "emergency with more than core and contact", "consent-basis",
        "emergency-core-and-contact-only", f"{PROVISIONS}.code", emergency(),
        _more(Permit("casa-otra", "emergency", (*CORE, "health"))),
    ),
)  # fmt: skip


# --- people and cases -------------------------------------------------------------------------


async def prepare_cases(world: World) -> None:
    """Submissions whose people and cases later ones run into."""
    first = with_key(simple(requisition="C-1"))(world, 900)
    for request in (
        first,
        simple(requisition="C-2")(world, 901),
        simple(requisition="C-3")(world, 901),
    ):
        answer = await send(world, request)
        assert answer.status == 200, answer.raw
    world.known["used-key"] = first.headers["Idempotency-Key"]


def _also_number_of(seed: int) -> Callable[[Bundle], None]:
    def change(of: Bundle) -> None:
        number = f"ZZ{40_000 + seed:08d}"
        system = "https://ong-norte.example/people"
        resource(of, "Patient")["identifier"].append({"system": system, "value": number})

    return change


def known_person(seed: int, **changes: Any) -> Make:
    """A referral of a person already known."""
    return lambda world, _: simple(**changes)(world, seed)


PEOPLE = (
    case(
        "case of another person", "duplicate", "case-of-another", "ServiceRequest.requisition",
        known_person(901, requisition="C-2"),
        in_body(put("ServiceRequest", "requisition", "value", value="C-1")),
    ),
    case(
        "two people in one", "duplicate", "identifiers-disagree", "Patient.identifier",
        known_person(900, requisition="C-1"), in_body(_also_number_of(901)),
    ),
    case(
        "several open cases", "duplicate", "several-cases", "ServiceRequest.requisition",
        known_person(901, requisition="C-2"), in_body(cut("ServiceRequest", "requisition")),
    ),
)  # fmt: skip


# --- driven states ----------------------------------------------------------------------------


@asynccontextmanager
async def used_up(world: World, request: AnyRequest) -> AsyncIterator[None]:
    """The partner's requests of this minute are used up."""
    if time() % 60 > 55:
        await asyncio.sleep(5.1)
    await world.change("ong-prisa", lambda record: record.update(requests_per_minute=1))
    while (await send(world, Request("GET", "/fhir/Task", "ong-prisa"))).status != 429:
        pass
    yield
    await world.change("ong-prisa", lambda record: record.update(requests_per_minute=1000))


@asynccontextmanager
async def vault_down(world: World, request: AnyRequest) -> AsyncIterator[None]:
    """The vault is killed, and back afterwards."""
    world.hub.kill(plan.VAULT)
    yield
    world.hub.start(plan.VAULT)  # in this thread: the process dies with the one that began it


@asynccontextmanager
async def running_elsewhere(world: World, request: AnyRequest) -> AsyncIterator[None]:
    """The same submission hangs at a frozen vault; afterwards it is accepted."""
    world.hub.freeze(plan.VAULT)
    first = asyncio.create_task(send(world, request))
    try:
        for _ in range(100):
            held = "select count(*) from gateway.submission where status = 'running'"
            if await world.admin.fetchval(held):
                break
            await asyncio.sleep(0.02)
        yield
    finally:
        world.hub.thaw(plan.VAULT)
    done = await first
    assert done.status in (200, 201), ("the first attempt must be accepted", done)


def nothing(world: World, request: Any) -> None:
    """The state alone makes the difference."""


DRIVEN = (
    case(
        "sender's role was taken away", "not-permitted", "source-role", "Task.requester",
        simple("ong-cambia"), lambda world, request: None,
        drive=lambda world, _: changed_record(world, "ong-cambia", roles=["recipient"]),
    ),
    case(
        "too many requests", "throttled", "rate", "", simple("ong-prisa"), nothing, kept=False,
        drive=used_up, retry_after=True,
    ),
    case(
        "first attempt still running", "in-progress", "running", "", simple(requisition="C-7"),
        nothing, kept=False, drive=running_elsewhere, retry_after=True,
    ),
    case(
        "vault down", "transient", "unavailable", "", simple(), nothing, kept=False,
        drive=vault_down, retry_after=True,
    ),
)  # fmt: skip


RULED = (*RULES, *CONSENT, *PEOPLE)
