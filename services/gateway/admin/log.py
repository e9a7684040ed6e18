"""Topics, and what was set aside, on the admin port.

It guards that a replay or giving up leaves a leaf that names who did it and why, and that neither
shows content: a parked case is a pointer, a held delivery a rule and a field path.
"""

import asyncio
from typing import Any, Final
from uuid import UUID

import asyncpg
from kafka.errors import KafkaError
from starlette.requests import Request
from starlette.routing import Route

from schemas.codec import decode, frame
from schemas.codes import is_code
from schemas.topics import event_types, topics
from services.gateway.admin.cases import plain
from services.gateway.admin.faults import FieldFault
from services.gateway.admin.http import AdminRefused, Desk, json_body, text_of
from services.kit.db import transaction
from services.kit.leaf import LeafKind, append_leaves, leaf
from services.kit.offsets import TopicOffsets, read_offsets
from services.kit.ports.vault import Vault
from services.kit.records import Replayed
from services.kit.runtime import Runtime
from services.kit.staff import StaffMember

MOST: Final = 200


class LogDesk:
    """The log as operators see it."""

    def __init__(self, rt: Runtime, pool: asyncpg.Pool) -> None:
        self._rt = rt
        self._pool = pool

    async def topics(self, _: Request, __: StaffMember) -> dict[str, Any]:
        """Each topic: what was put, what waits, end offsets and lag."""
        return {"topics": await self._topics()}

    async def topic(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """One topic with its event types."""
        name = request.path_params["topic"]
        shown = next((t for t in await self._topics() if t["topic"] == name), None)
        if shown is None:
            raise AdminRefused(404, "topic-unknown")
        types = [e for e in event_types().values() if e.topic == name]
        shown["events"] = {
            e.type: {
                "schema_id": e.schema_id,
                "owners": list(e.owners),
                "consumers": list(e.consumers),
                "gate": e.gate,
            }
            for e in types
        }
        return shown

    async def _topics(self) -> list[dict[str, Any]]:
        rows = await self._pool.fetch("select * from bus.topics()")
        put = {row["topic"]: row for row in rows}
        offsets = await self._offsets()
        return [
            {
                "topic": topic.name,
                "partitions": topic.partitions,
                "put": int(put[topic.name]["events"]) if topic.name in put else 0,
                "keys": put[topic.name]["keys"] if topic.name in put else 0,
                "pending": put[topic.name]["pending"] if topic.name in put else 0,
                "ends": list(offsets[topic.name].ends) if topic.name in offsets else None,
                "lag": offsets[topic.name].lag if topic.name in offsets else None,
            }
            for topic in topics()
        ]

    async def _offsets(self) -> dict[str, TopicOffsets]:
        """Empty while Kafka does not answer: the rest is still worth seeing."""
        wanted = {topic.name: topic.partitions for topic in topics()}
        consumers = sorted({c for e in event_types().values() for c in e.consumers})
        try:
            found = await asyncio.to_thread(
                read_offsets, self._rt.settings, self._rt.name, wanted, consumers
            )
        except (KafkaError, OSError, KeyError) as error:
            self._rt.log.warning("offsets-unknown", error)
            return {}
        return {one.topic: one for one in found}

    async def dead(self, _: Request, __: StaffMember) -> dict[str, Any]:
        """Parked events (pointers on cauce.dead) and held deliveries."""
        letters = await self._pool.fetch("select * from bus.dead_letters($1)", MOST)
        held = await self._pool.fetch("select * from delivery.held_tasks($1)", MOST)
        return {
            "parked": [_letter(row) for row in letters],
            "held": [_held(row) for row in held],
        }

    async def show(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """One of them by its reference."""
        return await self._find(request.path_params["ref"])

    async def replay(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """Try again: a parked case at its consumer, a held delivery at its partner."""
        ref = request.path_params["ref"]
        found = await self._find(ref)
        if found["kind"] == "held":
            return await self._mend(found, member)
        case_ref = UUID(found["case_ref"]) if found["case_ref"] else None
        if case_ref is None:
            raise AdminRefused(409, "event-expired")
        done = await self._again(found["consumer"], case_ref)
        if done.rule is not None:
            raise AdminRefused(409, "still-failing", [FieldFault("", done.rule)])
        made = leaf(
            "replayed",
            self._rt.clock(),
            actor=member.staff_id,
            case_ref=case_ref,
            rule=found["rule"],
        )
        async with transaction(self._pool) as conn:
            await append_leaves(conn, [made])
        return {"ref": str(ref), "status": "replayed", "handled": done.handled}

    async def _again(self, consumer: str, case_ref: UUID) -> Replayed:
        """At the consumer of this process, or over its port at the vault's."""
        try:
            if consumer != "vault":
                return await self._rt.replay(consumer, case_ref)
            (done,) = await self._rt.port(Vault).replay([case_ref])
        except KeyError:
            raise AdminRefused(409, "consumer-elsewhere") from None
        except LookupError:
            raise AdminRefused(409, "not-parked") from None
        if done.rule == "not-parked":
            raise AdminRefused(409, "not-parked")
        return Replayed(handled=done.handled, rule=done.rule)

    async def _mend(self, found: dict[str, Any], member: StaffMember) -> dict[str, Any]:
        await self._act("delivery.mend", "replayed", found, member, None)
        return {"ref": found["ref"], "status": "queued"}

    async def give_up(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """End a held delivery for a reason; the source is told that it failed."""
        reason = text_of(await json_body(request), "reason_code")
        if not is_code("referral_reason_code", reason):
            raise AdminRefused(422, "request-faulty", [FieldFault("reason_code", "code")])
        found = await self._find(request.path_params["ref"])
        if found["kind"] != "held":
            raise AdminRefused(409, "parked-is-replayed")
        await self._act("delivery.give_up", "given_up", found, member, reason)
        return {"ref": found["ref"], "status": "given-up"}

    async def _act(
        self,
        door: str,
        kind: LeafKind,
        found: dict[str, Any],
        member: StaffMember,
        reason: str | None,
    ) -> None:
        made = leaf(
            kind,
            self._rt.clock(),
            actor=member.staff_id,
            case_ref=UUID(found["case_ref"]),
            referral_ref=UUID(found["referral_ref"]),
            to_org=found["to_org"],
            rule=found["rule"],
            reason_code=reason,
        )
        async with transaction(self._pool) as conn:
            if not await conn.fetchval(f"select {door}($1)", UUID(found["ref"])):
                raise AdminRefused(409, "not-held")
            await append_leaves(conn, [made])

    async def _find(self, ref: UUID) -> dict[str, Any]:
        for row in await self._pool.fetch("select * from delivery.held_tasks($1)", MOST):
            if row["task_id"] == ref:
                return _held(row)
        for row in await self._pool.fetch("select * from bus.dead_letters($1)", 5 * MOST):
            if row["event_id"] == ref:
                shown = _letter(row)
                case = await self._pool.fetchval("select bus.case_of($1)", row["source_event_id"])
                return {**shown, "case_ref": str(case) if case else None}
        raise AdminRefused(404, "dead-unknown")


def _letter(row: asyncpg.Record) -> dict[str, Any]:
    event: Any = decode(frame(row["schema_id"], row["seq"], row["body"]))
    return {
        "kind": "parked",
        "ref": str(row["event_id"]),
        "at": row["at"].isoformat(),
        "source_event_id": str(row["source_event_id"]),
        "topic": event.topic,
        "consumer": event.consumer,
        "error_class": event.error_class,
        "rule": event.rule,
        "field_path": event.field_path,
    }


def _held(row: asyncpg.Record) -> dict[str, Any]:
    shown: dict[str, Any] = plain(dict(row))
    shown["what"] = shown.pop("kind")
    return {"kind": "held", "ref": shown.pop("task_id"), **shown}


def log_routes(desk: Desk, log: LogDesk) -> list[Route]:
    """Routes of topics and of what was set aside."""
    one = "/admin/dead/{ref:uuid}"
    return [
        desk.route("GET", "/admin/topics", "log.read", log.topics),
        desk.route("GET", "/admin/topics/{topic}", "log.read", log.topic),
        desk.route("GET", "/admin/dead", "log.read", log.dead),
        desk.route("GET", one, "log.read", log.show),
        desk.route("POST", f"{one}/replay", "dead.change", log.replay),
        desk.route("POST", f"{one}/give-up", "dead.change", log.give_up),
    ]
