"""Refusals of what comes after a referral: reads, answers on Task, updates of Consent.

Every case has a referral of its own, made before the run, so that the unchanged request of one
does not stand in the way of another.
"""

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from connectors.sandbox.samples import BASE
from tests.support.bundles import concept, resource
from tests.support.refusals import (
    Case,
    Change,
    Make,
    Request,
    header,
    in_body,
    in_bytes,
    method,
    path,
    send,
    simple,
)
from tests.support.refusals_wire import case
from tests.support.refusals_world import World, quiet

SENDER, RECIPIENT = "ong-norte", "refugio-sur"
PATCH_TYPE = "application/json-patch+json"
GONE = "consent taken back"


@dataclass
class Known:
    """A referral as its parties know it: ids by kind, and the Task as each reads it."""

    sent: Any
    sender: dict[str, str] = field(default_factory=dict)
    recipient: dict[str, str] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    tag: dict[str, str] = field(default_factory=dict)


async def prepare_referrals(world: World) -> None:
    """A referral for each case, and one whose consent was taken back."""
    names = [*(case.name for case in TASK_CASES), GONE]
    made = await asyncio.gather(*(_refer(world, n) for n, _ in enumerate(names)))
    world.known["taken"] = 0
    world.known["referrals"] = dict(zip(names, made, strict=True))
    await quiet(world)
    patch = [{"op": "replace", "path": "/status", "value": "inactive"}]
    gone = world.known["referrals"][GONE].sender["consent"]
    answer = await send(world, _patch(SENDER, f"/fhir/Consent/{gone}", patch))
    assert answer.status == 200, answer.raw
    await quiet(world)
    await asyncio.gather(*(_read(world, known) for known in made))
    await quiet(world)


async def _refer(world: World, number: int) -> Known:
    request = simple()(world, 1000 + number)
    answer = await send(world, request)
    assert answer.status == 200, answer.raw
    known = Known(request.body)
    places = [entry["response"].get("location", "/") for entry in answer.body["entry"]]
    ids = dict(place.split("/") for place in places)
    rows = await world.rows(
        "select a.org, a.kind, a.alias::text from gateway.alias a join gateway.alias mine"
        " using (referral_ref) where mine.alias = $1::uuid",
        ids["Task"],
    )
    for org, kind, alias in rows:
        (known.sender if org == SENDER else known.recipient)[kind] = alias
    return known


async def _read(world: World, known: Known) -> None:
    for org, ids in ((SENDER, known.sender), (RECIPIENT, known.recipient)):
        answer = await send(world, Request("GET", f"/fhir/Task/{ids['task']}", org))
        assert answer.status == 200, answer.raw
        known.task[org], known.tag[org] = answer.body, answer.headers["etag"]


# --- requests that are accepted ---------------------------------------------------------------


def _patch(org: str, where: str, operations: Any) -> Request:
    return Request("PATCH", where, org, operations, {"Content-Type": PATCH_TYPE})


def _referral(world: World, number: int) -> Known:
    """The next referral nobody has taken."""
    found: Known = list(world.known["referrals"].values())[world.known["taken"]]
    world.known["taken"] += 1
    return found


def set_(**elements: Any) -> list[Any]:
    """JSON Patch that sets elements."""
    return [{"op": "add", "path": f"/{name}", "value": value} for name, value in elements.items()]


def answers(org: str = RECIPIENT, **elements: Any) -> Make:
    """`PATCH /fhir/Task/{id}` by a party."""

    def make(world: World, number: int) -> Any:
        known = _referral(world, number)
        ids = known.sender if org == SENDER else known.recipient
        request = _patch(org, f"/fhir/Task/{ids['task']}", set_(**elements))
        request.headers["If-Match"] = known.tag[org]
        return request

    return make


def whole(world: World, number: int) -> Any:
    """`PUT /fhir/Task/{id}`: accepted."""
    known = _referral(world, number)
    body = {**copy.deepcopy(known.task[RECIPIENT]), "status": "accepted"}
    where = f"/fhir/Task/{known.recipient['task']}"
    return Request("PUT", where, RECIPIENT, body, {"If-Match": known.tag[RECIPIENT]})


def reads(kind: str, org: str = RECIPIENT) -> Make:
    """`GET /fhir/{kind}/{id}`."""
    names = {"Task": "task", "ServiceRequest": "service_request", "Consent": "consent"}

    def make(world: World, number: int) -> Any:
        known = _referral(world, number)
        ids = known.sender if org == SENDER else known.recipient
        return Request("GET", f"/fhir/{kind}/{ids[names[kind]]}", org)

    return make


def searches(query: str) -> Make:
    """`GET /fhir/Task?…`."""
    return lambda world, number: Request("GET", f"/fhir/Task{query}", RECIPIENT)


def takes_back(world: World, number: int) -> Any:
    """`PATCH /fhir/Consent/{id}` to inactive."""
    known = _referral(world, number)
    return _patch(SENDER, f"/fhir/Consent/{known.sender['consent']}", set_(status="inactive"))


def renews(world: World, number: int) -> Any:
    """`PUT /fhir/Consent/{id}` with one category more, given now."""
    known = _referral(world, number)
    body = copy.deepcopy(resource(known.sent, "Consent"))
    body["id"] = known.sender["consent"]
    body["patient"] = {"reference": f"Patient/{known.sender['patient']}"}
    del body["performer"]
    body["dateTime"] = datetime.now(UTC).isoformat(timespec="seconds")
    more = concept(f"{BASE}/CodeSystem/data-category", "family")
    body["provision"]["provision"][0]["code"].append(more)
    where = f"/fhir/Consent/{known.sender['consent']}"
    return Request("PUT", where, SENDER, body, {"If-Match": 'W/"1"'})


# --- changes ----------------------------------------------------------------------------------


def no_header(name: str) -> Change:
    """A header less."""
    return lambda world, request: request.headers.pop(name)


def without(element: str) -> Change:
    """An operation less."""

    def change(operations: list[Any]) -> None:
        operations[:] = [one for one in operations if one["path"] != f"/{element}"]

    return in_body(change)


def with_(element: str, value: Any) -> Change:
    """An operation more, or another value."""

    def change(operations: list[Any]) -> None:
        operations[:] = [one for one in operations if one["path"] != f"/{element}"]
        operations.extend(set_(**{element: value}))

    return in_body(change)


def in_task(change: Callable[[Any], Any]) -> Change:
    """A change of a whole resource."""
    return in_body(change)


def of_gone(kind: str, side: str) -> Change:
    """The same of the referral whose consent was taken back."""

    def change(world: World, request: Any) -> None:
        gone = getattr(world.known["referrals"][GONE], side)[kind]
        request.path = request.path.rpartition("/")[0] + f"/{gone}"

    return change


def other_id(text: str) -> Change:
    """Another id."""
    return lambda world, request: setattr(
        request, "path", request.path.rpartition("/")[0] + f"/{text}"
    )


def by(org: str) -> Change:
    """Another caller."""
    return lambda world, request: setattr(request, "org", org)


def _by_recipient(world: World, request: Any) -> None:
    request.org = RECIPIENT
    for known in world.known["referrals"].values():
        if known.sender["consent"] in request.path:
            request.path = f"/fhir/Consent/{known.recipient['consent']}"


def given_before(world: World, request: Any) -> None:
    """The consent is dated as the one there is."""
    for known in world.known["referrals"].values():
        if known.sender["consent"] == request.body["id"]:
            request.body["dateTime"] = resource(known.sent, "Consent")["dateTime"]


def _row(name: str, code: str, rule: str, at: str, make: Make, change: Change) -> Case:
    return case(name, code, rule, at, make, change, kept=False)


REASON = concept(f"{BASE}/CodeSystem/referral-reason-code", "no_capacity")
OUTCOME = [
    {
        "type": concept(f"{BASE}/CodeSystem/task-output", "referral-outcome"),
        "valueCodeableConcept": concept(f"{BASE}/CodeSystem/referral-outcome", "service_provided"),
    }
]
ACCEPTS = answers(status="accepted")
REJECTS = answers(status="rejected", statusReason=REASON)
COMPLETES = answers(status="completed", output=OUTCOME)
CANCELS = answers(SENDER, status="cancelled", statusReason=REASON)

TASK_CASES: tuple[Case, ...] = (
    _row("no If-Match", "precondition-required", "if-match", "If-Match", ACCEPTS,
         no_header("If-Match")),
    _row("stale version", "conflict", "version", "If-Match", ACCEPTS,
         header("If-Match", 'W/"999"')),
    _row("If-Match that is no version", "conflict", "version", "If-Match", ACCEPTS,
         header("If-Match", '"zzqx"')),
    _row("sender's element", "forbidden", "field", "Task.priority", ACCEPTS,
         with_("priority", "routine")),
    _row("sender's element in a whole Task", "forbidden", "field", "Task.intent", whole,
         in_task(lambda task: task.update(intent="plan"))),
    _row("paused before it began", "illegal-transition", "from-state", "Task.status", ACCEPTS,
         with_("status", "on-hold")),
    _row("sender's command", "illegal-transition", "not-yours", "Task.status", REJECTS,
         with_("status", "entered-in-error")),
    _row("recipient's command", "illegal-transition", "not-yours", "Task.status", CANCELS,
         with_("status", "rejected")),
    _row("rejected without a reason", "reason-required", "status-reason", "Task.statusReason",
         REJECTS, without("statusReason")),
    _row("reason in no list", "code-invalid", "not-in-list", "Task.statusReason", REJECTS,
         with_("statusReason", concept(f"{BASE}/CodeSystem/referral-reason-code", "zzqx"))),
    _row("completed without an outcome", "outcome-required", "output", "Task.output", COMPLETES,
         without("output")),
    _row("remove", "patch-invalid", "operation", "", ACCEPTS,
         in_body(lambda patch: patch.append({"op": "remove", "path": "/status"}))),
    _row("test", "patch-invalid", "operation", "", ACCEPTS,
         in_body(lambda patch: patch.insert(0, {"op": "test", "path": "/status", "value": 1}))),
    _row("patch that is an object", "patch-invalid", "operation", "", ACCEPTS,
         lambda world, request: setattr(request, "body", {"op": "add"})),
    _row("patch cut short", "malformed", "json", "", ACCEPTS, in_bytes(lambda raw: raw[:-1])),
    _row("patch as FHIR", "media-type", "media-type", "Content-Type", ACCEPTS,
         header("Content-Type", "application/fhir+json")),
    _row("whole Task of another id", "value-invalid", "fixed-value", "Task.id", whole,
         in_task(lambda task: task.update(id=str(uuid4())))),
    _row("whole Task with more", "structure", "unknown-element", "Task", whole,
         in_task(lambda task: task.update(zzqx="zzqx"))),
    _row("POST to a Task", "not-supported-method", "method", "", reads("Task"), method("POST")),
    _row("Task of others", "not-found", "resource", "", reads("Task"), by("casa-otra")),
    _row("Task nobody has", "not-found", "resource", "", reads("Task"), other_id(str(uuid4()))),
    _row("Task with no id of ours", "not-found", "resource", "", reads("Task"), other_id("zzqx")),
    _row("history", "not-found", "path", "", reads("Task"), path("/_history")),
    _row("read with a parameter", "not-supported", "parameter", "", reads("Task"),
         path("?_zzqx=zzqx")),
    _row("search by a name", "not-supported", "parameter", "", searches("?_count=1"),
         path("&patient.name=zzqx")),
    _row("search for a status in no list", "not-supported", "parameter", "",
         searches("?_count=1"), path("&status=zzqx")),
    _row("search since a moment without zone", "not-supported", "parameter", "",
         searches("?_count=1"), path("&_lastUpdated=ge2026-01-01T00:00:00")),
    _row("cursor of nobody", "not-supported", "parameter", "", searches("?_count=1"),
         path("&_cursor=zzqx")),
    _row("content after it was taken back", "suppressed", "consent", "", reads("ServiceRequest"),
         of_gone("service_request", "recipient")),
    _row("taken back twice", "already-inactive", "consent", "Consent.status", takes_back,
         of_gone("consent", "sender")),
    _row("Consent by its recipient", "forbidden", "scope", "Authorization", takes_back,
         _by_recipient),
    _row("widened on the old date", "consent-widening", "new-consent", "Consent.provision",
         renews, given_before),
    _row("stale Consent", "conflict", "version", "If-Match", renews,
         header("If-Match", 'W/"9"')),
    _row("new Consent without If-Match", "precondition-required", "if-match", "If-Match", renews,
         no_header("If-Match")),
)  # fmt: skip
