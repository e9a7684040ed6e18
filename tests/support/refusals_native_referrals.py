"""Refusals of what comes after a native referral: commands, the read of its data, effects.

Every case has a referral of its own, made and brought where the case needs it before the run.
"""

import asyncio
from typing import Any

from tests.support.refusals import Case, Change, Make, Request, in_body, send, simple
from tests.support.refusals_wire import case
from tests.support.refusals_world import World, quiet

SENDER, RECIPIENT = "ong-norte", "refugio-sur"
GONE, CLOSED = "gone", "closed"
JSON = {"Content-Type": "application/json"}


async def prepare_native_referrals(world: World) -> None:
    """A referral for each case, one whose consent was taken back after a read, one rejected."""
    names = [*(one.name for one in NATIVE_REFERRAL_CASES), GONE, CLOSED]
    made = await asyncio.gather(*(_refer(world, 3000 + n) for n, _ in enumerate(names)))
    known: dict[str, dict[str, str]] = dict(zip(names, made, strict=True))
    world.known["native-referrals"] = known
    await quiet(world)
    await _accepted(world, Request("GET", f"/v1/referrals/{known[GONE]['mine']}/data", RECIPIENT))
    for name, command in ((CLOSED, "reject"), (_COMPLETED, "accept")):
        body = _command(command, 1, reason_code="other")
        await _accepted(world, _gives(known[name]["mine"], body))
    patch = [{"op": "replace", "path": "/status", "value": "inactive"}]
    where = f"/fhir/Consent/{known[GONE]['consent']}"
    headers = {"Content-Type": "application/json-patch+json"}
    await _accepted(world, Request("PATCH", where, SENDER, patch, headers))
    await quiet(world)
    asked = await _accepted(world, Request("GET", "/v1/erasure-requests", RECIPIENT))
    (known[GONE]["request"],) = (
        one["id"] for one in asked["erasure_requests"] if one["referral"] == known[GONE]["mine"]
    )
    await _accepted(world, _effect(world, 0))
    await quiet(world)


async def _accepted(world: World, request: Request) -> Any:
    answer = await send(world, request)
    assert answer.status == 200, answer.raw
    return answer.body


async def _refer(world: World, number: int) -> dict[str, str]:
    """The recipient's id of a new referral, and the sender's of its consent."""
    body = await _accepted(world, simple()(world, number))
    places = [entry["response"].get("location", "/") for entry in body["entry"]]
    ids = dict(place.split("/") for place in places)
    rows = await world.rows(
        "select b.alias::text from gateway.alias a join gateway.alias b using (referral_ref, kind)"
        " where a.alias = $1::uuid and b.org = $2",
        ids["Task"],
        RECIPIENT,
    )
    return {"mine": rows[0][0], "consent": ids["Consent"]}


def _command(name: str, version: int, **more: str) -> dict[str, Any]:
    return {"command": name, "expected_version": version, **more}


def _gives(ref: str, body: Any) -> Request:
    return Request("POST", f"/v1/referrals/{ref}/commands", RECIPIENT, body, dict(JSON))


def _effect(world: World, number: int) -> Any:
    """`POST /v1/erasure-requests/{id}/effect`, a repeat of what was said."""
    ref = world.known["native-referrals"][GONE]["request"]
    where = f"/v1/erasure-requests/{ref}/effect"
    return Request("POST", where, RECIPIENT, {"effect": "deleted"}, dict(JSON))


def gives(case_name: str, command: str, version: int, **more: str) -> Make:
    """`POST /v1/referrals/{id}/commands` by the recipient of the case's own referral."""

    def make(world: World, number: int) -> Any:
        ref = world.known["native-referrals"][case_name]["mine"]
        return _gives(ref, _command(command, version, **more))

    return make


def _reads(case_name: str) -> Make:
    """`GET /v1/referrals/{id}/data`."""

    def make(world: World, number: int) -> Any:
        ref = world.known["native-referrals"][case_name]["mine"]
        return Request("GET", f"/v1/referrals/{ref}/data", RECIPIENT)

    return make


def _of(name: str) -> Change:
    """The same of another referral."""

    def change(world: World, request: Any) -> None:
        request.path = f"/v1/referrals/{world.known['native-referrals'][name]['mine']}/data"

    return change


def _with(**elements: Any) -> Change:
    return in_body(lambda document: document.update(elements))


def _without(name: str) -> Change:
    return in_body(lambda document: document.pop(name))


_COMPLETED = "native: completes without outcome"
NATIVE_REFERRAL_CASES: tuple[Case, ...] = (
    case(
        "native: another version", "conflict", "expected-version", "expected_version",
        gives("native: another version", "accept", 1), _with(expected_version=99),
        kept=False, shape="native",
    ),
    case(
        "native: resumes what is sent", "illegal-transition", "from-state", "command",
        gives("native: resumes what is sent", "accept", 1), _with(command="resume"),
        kept=False, shape="native",
    ),
    case(
        "native: cancels as recipient", "illegal-transition", "not-yours", "command",
        gives("native: cancels as recipient", "accept", 1, reason_code="other"),
        _with(command="cancel"), kept=False, shape="native",
    ),
    case(
        "native: rejects without reason", "reason-required", "status-reason", "reason_code",
        gives("native: rejects without reason", "reject", 1, reason_code="other"),
        _without("reason_code"), kept=False, shape="native",
    ),
    case(
        _COMPLETED, "outcome-required", "output", "outcome",
        gives(_COMPLETED, "complete", 2, outcome="service_provided"), _without("outcome"),
        kept=False, shape="native",
    ),
    case(
        "native: reads what is closed", "suppressed", "consent", "",
        _reads("native: reads what is closed"), _of(CLOSED), kept=False, shape="native",
    ),
    case(
        "native: reads what was withdrawn", "gone", "withdrawn", "",
        _reads("native: reads what was withdrawn"), _of(GONE), kept=False, shape="native",
    ),
    case(
        "native: says another effect", "conflict", "other-effect", "effect",
        _effect, _with(effect="restricted"), kept=False, shape="native",
    ),
)  # fmt: skip
