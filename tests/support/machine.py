"""Drives referrals by every surface, and tells what came of it in one shape for all of them.

The services run in one process on a real database, without a broker: what the state machine is to
hear of is handed to it, so that nothing moves but what the test moves.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import orjson

from connectors.fhir_r4.outbound.content import TASK_CODE
from connectors.sandbox.people import person
from connectors.sandbox.samples import BASE
from connectors.webhook import signing
from connectors.webhook.signing import signed_headers
from schemas import decode, frame
from services.kit.crypto import new_ed25519, sign_ed25519
from services.kit.db import transaction
from services.kit.ports.referral import Command, Referral
from services.kit.records import received
from tests.support.bundles import concept
from tests.support.gateway_world import World
from tests.support.refusals_world import exceptions

T = TypeVar("T")
ORGS = {"sender": "ong-norte", "recipient": "refugio-sur", "hub": "cell-demo", "consent": "hub"}
REASON, OUTCOME, MISSED = "other", "service_provided", "no_show"
PATHS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "sent": (),
    "delivered": (("hub", "confirm_delivery"),),
    "delivery_failed": (("hub", "report_delivery_failure"),),
    "under_review": (("recipient", "start_review"),),
    "returned": (("recipient", "start_review"), ("recipient", "request_information")),
    "accepted": (("recipient", "accept"),),
    "scheduled": (("recipient", "accept"), ("recipient", "schedule")),
    "in_progress": (("recipient", "accept"), ("recipient", "start_service")),
    "on_hold": (
        ("recipient", "accept"),
        ("recipient", "start_service"),
        ("recipient", "pause"),
    ),
    "cancel_requested": (
        ("recipient", "accept"),
        ("recipient", "schedule"),
        ("sender", "request_cancel"),
    ),
    "rejected": (("recipient", "reject"),),
    "completed": (("recipient", "accept"), ("recipient", "complete")),
    "not_completed": (("recipient", "accept"), ("recipient", "close_without_service")),
    "cancelled": (("sender", "cancel"),),
    "revoked": (("consent", "revoke"),),
    "expired": (("hub", "expire"),),
    "entered_in_error": (("sender", "mark_error"),),
}
"""How each state is reached from `sent`, by the port."""


@dataclass(frozen=True)
class Ref:
    """A referral, with the id that each party knows it by."""

    ref: UUID
    case: UUID
    ids: Mapping[str, str]
    version: int = 1
    seq: int = 0
    """Last event of its case before what is driven."""


@dataclass(frozen=True)
class Said:
    """What a surface answered: HTTP status, and the refusal."""

    http: int
    code: str = ""
    rule: str = ""
    body: Any = field(default=None, compare=False, repr=False)


@dataclass
class Driver:
    """Gives commands by every surface."""

    world: World
    seeds: Mapping[str, bytes] = field(repr=False)
    made: int = 0
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(16))
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def all(self, work: Iterable[Awaitable[T]]) -> list[T]:
        """Sixteen at a time."""

        async def one(item: Awaitable[T]) -> T:
            async with self.gate:
                return await item

        return list(await asyncio.gather(*(one(item) for item in work)))

    # --- making ---

    async def make(self, states: Sequence[str]) -> list[Ref]:
        """A referral in each of these states."""
        numbers = range(self.made, self.made + len(states))
        self.made += len(states)
        sent = await self.all(self.world.refer(person=person(20_000 + n)) for n in numbers)
        await self._send()
        rows = await self.world.admin.fetch(
            "select m.alias::text as mine, a.org, a.alias::text, a.referral_ref, r.case_ref"
            " from gateway.alias m join gateway.alias a using (referral_ref, kind)"
            " join referral.referral r using (referral_ref)"
            " where m.kind = 'task' and m.alias::text = any($1::text[])",
            [ids["Task"] for ids in sent],
        )
        roles = {org: role for role, org in ORGS.items()}
        known: dict[str, dict[str, Any]] = {}
        for row in rows:
            one = known.setdefault(row["mine"], {"ids": {}})
            one |= {"ref": row["referral_ref"], "case": row["case_ref"]}
            one["ids"][roles[row["org"]]] = row["alias"]
        made = [Ref(**known[ids["Task"]]) for ids in sent]
        await self._bring(list(zip(made, states, strict=True)))
        return await self.standing(made)

    async def _send(self) -> None:
        """Hand the state machine what was accepted since."""
        service = next(s for s in self.world.host.services if s.name == "referral")
        rows = await self.world.admin.fetch(
            "select e.* from bus.event e where e.type = 'referral.requested' and not exists ("
            " select from referral.referral r where r.case_ref = e.key) order by e.id"
        )
        items = [
            received(frame(r["schema_id"], r["seq"], r["body"], r["facts"], r["stats_facts"]))
            for r in rows
        ]
        pool = await self.world.host.pool("referral", self.world.host.settings.database_name)
        for start in range(0, len(items), 64):
            async with transaction(pool) as conn:
                await service.subscriptions[0].handle(conn, items[start : start + 64])

    async def _bring(self, wanted: Sequence[tuple[Ref, str]]) -> None:
        port: Any = self.world.host.implementation("gateway", Referral)
        items = [[order(one.ref, *step) for step in PATHS[s]] for one, s in wanted if PATHS[s]]
        for start in range(0, len(items), 64):
            done = await port.apply(items[start : start + 64])
            assert all(a.rule is None for a in done), done

    async def standing(self, refs: Sequence[Ref]) -> list[Ref]:
        """The same referrals with version and last event of now."""
        rows = await self.world.admin.fetch(
            "select r.referral_ref, r.version, c.last from referral.referral r"
            " join lateral (select max(seq) as last from bus.event"
            "   where key = r.case_ref) c on true"
            " where r.referral_ref = any($1::uuid[])",
            [one.ref for one in refs],
        )
        now = {r["referral_ref"]: (r["version"], r["last"]) for r in rows}
        return [Ref(one.ref, one.case, one.ids, *now[one.ref]) for one in refs]

    # --- surfaces ---

    async def native(self, one: Ref, role: str, command: str, codes: Mapping[str, str]) -> Said:
        """`POST /v1/referrals/{id}/commands`."""
        body = {"command": command, "expected_version": one.version, **codes}
        path = f"/v1/referrals/{one.ids[role]}/commands"
        status, answer, _ = await self.world.call(
            "POST", path, ORGS[role], body, Content_Type="application/json"
        )
        return _native(status, answer)

    async def hook(self, one: Ref, role: str, command: str, codes: Mapping[str, str]) -> Said:
        """`POST /hooks/{org}`."""
        data = {"referral": one.ids[role], "command": command, "expected_version": one.version}
        mark, source = f"msg_{uuid4()}", "https://clinic.example"
        body = {"specversion": "1.0", "id": mark, "source": source, "data": {**data, **codes}}
        raw = orjson.dumps(body | {"type": "cauce.referral.command"})
        signer = signing.own_signer(self.seeds[role], sign_ed25519)
        headers = signed_headers([signer], mark, datetime.now(UTC), raw)
        sent = {name.replace("-", "_"): value for name, value in headers.items()}
        sent["Content_Type"] = "application/cloudevents+json"
        status, answer, _ = await self.world.call("POST", f"/hooks/{ORGS[role]}", None, raw, **sent)
        return _native(status, answer)

    async def patch(self, one: Ref, role: str, elements: Mapping[str, Any]) -> Said:
        """`PATCH /fhir/Task/{id}`."""
        operations = [{"op": "add", "path": f"/{k}", "value": v} for k, v in elements.items()]
        return await self._fhir("PATCH", one, role, operations, "application/json-patch+json")

    async def put(
        self, one: Ref, role: str, elements: Mapping[str, Any], shown: Mapping[str, Any]
    ) -> Said:
        """`PUT /fhir/Task/{id}` of the Task as it was read, changed in these elements."""
        answering = ("status", "businessStatus", "statusReason", "output")
        kept = {name: value for name, value in shown.items() if name not in answering}
        return await self._fhir("PUT", one, role, {**kept, **elements}, "application/fhir+json")

    async def _fhir(self, method: str, one: Ref, role: str, body: Any, kind: str) -> Said:
        tag, path = f'W/"{one.version}"', f"/fhir/Task/{one.ids[role]}"
        status, answer, _ = await self.world.call(
            method, path, ORGS[role], body, If_Match=tag, Content_Type=kind
        )
        return _outcome(status, answer)

    async def abort(self, one: Ref, role: str = "sender") -> Said:
        """`POST /fhir/Task` of an abort."""
        body = {
            "resourceType": "Task",
            "identifier": [{"system": "https://norte.example/aborts", "value": str(uuid4())}],
            "status": "requested",
            "intent": "order",
            "code": {"coding": [{"system": TASK_CODE, "code": "abort"}]},
            "focus": {"reference": f"Task/{one.ids[role]}"},
            "reasonCode": concept(f"{BASE}/CodeSystem/referral-reason-code", REASON),
        }
        status, answer, _ = await self.world.call("POST", "/fhir/Task", ORGS[role], body)
        return _outcome(status, answer)

    async def take_back(self, one: Ref) -> None:
        """Withdraw its consent; the state machine is not told of it."""
        view = await self._read(f"/v1/referrals/{one.ids['sender']}", "sender")
        status, body, _ = await self.world.call(
            "POST",
            f"/v1/consents/{view['consent']}/withdrawals",
            ORGS["sender"],
            {},
            Content_Type="application/json",
        )
        assert status in (200, 201), body

    # --- looking ---

    async def task(self, one: Ref, role: str) -> dict[str, Any]:
        """The Task as a party reads it."""
        return await self._read(f"/fhir/Task/{one.ids[role]}", role)

    async def _read(self, path: str, role: str) -> dict[str, Any]:
        status, body, _ = await self.world.call("GET", path, ORGS[role])
        assert status == 200, body
        return dict(body)

    async def seen(self, one: Ref) -> dict[str, Any]:
        """All that can be known of it since: events, and what each party reads on each surface."""
        found: dict[str, Any] = {"events": await self.events(one)}
        for role in ("sender", "recipient"):
            task, path = await self.task(one, role), f"/v1/referrals/{one.ids[role]}"
            view = await self._read(path, role)
            steps = (await self._read(f"{path}/timeline", role))["steps"]
            found[role] = {
                "task": {k: task.get(k) for k in ("status", "businessStatus", "statusReason")},
                "output": task.get("output"),
                "view": {k: view.get(k) for k in VIEWED},
                "steps": [
                    {k: v for k, v in step.items() if k not in ("at", "date")} for step in steps
                ],
            }
        return found

    async def events(self, one: Ref) -> list[dict[str, Any]]:
        """Events of its case since, without ids and times."""
        query = "select * from bus.event where key = $1 and seq > $2 order by seq"
        async with self.asking:
            rows = await self.world.admin.fetch(query, one.case, one.seq)
        return [
            {
                "type": row["type"],
                "has_facts": row["facts"] is not None,
                **_said(decode(frame(row["schema_id"], row["seq"], row["body"], None, None))),
            }
            for row in rows
        ]

    async def digest(self) -> dict[str, tuple[int, str]]:
        """Each table of the hub, but for what may change when a command is refused."""
        skipped = exceptions("table") | {"gateway.refusal"}
        names = await self.world.admin.fetch(_TABLES)
        query = " union all ".join(
            f"select '{name}', count(*), coalesce(md5(string_agg(h, '' order by h)), '')"
            f" from (select md5(x::text) as h from {name} x) t"
            for (name,) in names
            if name not in skipped
        )
        return {r[0]: (r[1], r[2]) for r in await self.world.admin.fetch(query)}


VIEWED = ("status", "version", "reason_code", "outcome", "appointment_outcome")
_TABLES = (
    "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n"
    " on n.oid = c.relnamespace where c.relkind in ('r', 'p') and not c.relispartition"
    " and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1"
)


def order(ref: UUID, role: str, command: str) -> Command:
    """A command to the port, with every code it might need."""
    return Command(
        command_id=uuid4(),
        referral_ref=ref,
        command=command,
        actor_org=ORGS[role],
        actor_role=role,
        reason_code=REASON,
        outcome=OUTCOME if command == "complete" else None,
        error_class="unknown" if command == "report_delivery_failure" else None,
    )


def _said(event: Any) -> dict[str, Any]:
    fields = {name: getattr(event, name) for name in type(event).__dataclass_fields__}
    return {k: v for k, v in fields.items() if not isinstance(v, UUID | datetime | date | bytes)}


def _native(status: int, answer: Any) -> Said:
    if status < 300:
        return Said(status, body=answer)
    (one,) = answer["faults"]
    return Said(status, one["code"], one["rule"], answer)


def _outcome(status: int, answer: Any) -> Said:
    if status < 300:
        return Said(status, body=answer)
    (one,) = answer["issue"]
    code, rule = (c["code"] for c in one["details"]["coding"][:2])
    return Said(status, code, rule, answer)


async def driver(world: World) -> Driver:
    """A driver, both of whose parties may post to their hooks."""
    seeds = {}
    for role in ("sender", "recipient"):
        seeds[role], public = new_ed25519()
        hook = {
            "url": "https://clinic.example/in",
            "scheme": "v1a",
            "public_keys": [signing.written("whpk_", public)],
        }
        await world.admin.execute(
            "update gateway.partner set version = version + 1, record = record || $2"
            " where org = $1",
            ORGS[role],
            orjson.dumps({"webhook": hook}).decode(),
        )
    await asyncio.sleep(1.2)  # the registry is a second old at most
    return Driver(world, seeds)
