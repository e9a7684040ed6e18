"""`GET /v1/referrals/{id}/timeline`: what happened to a referral, as one party may know it.

It guards that a step shows what its table names for that side and nothing else: no id of the hub,
no other referral of the case, and for a recipient neither the hub's failures nor a finer time than
its own (decision 0009).
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC
from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from schemas import DecodeError, decode, frame
from services.gateway.fhir.render import View
from services.gateway.http import Call, native
from services.gateway.native.models import Timeline, TimelineStep
from services.gateway.views import Views
from services.kit.aliases import own_instant

_BOTH: Final[Mapping[str, tuple[str, ...]]] = {
    "referral.delivered": ("version",),
    "referral.status_changed": ("version", "status", "synthesised"),
    "referral.completed": ("version",),
    "referral.revoked": ("version", "cause"),
    "referral.answer_due": ("version", "answer_stage", "owed_by"),
    "disclosure.made": ("purpose", "data_categories", "legal_basis"),
    "consent.effect_reported": ("effect",),
}
SHOWN: Final[Mapping[bool, Mapping[str, tuple[str, ...]]]] = {
    True: {
        **_BOTH,
        "referral.requested": ("data_categories",),
        "referral.sent": ("version", "purpose", "data_categories"),
        "referral.delivery_failed": ("version", "error_class", "attempts"),
        "disclosure.refused": ("stage", "rule"),
    },
    False: {**_BOTH, "referral.sent": ("version",)},
}
"""By whether the reader is the sender: event type → what is shown of it."""
_NAMES: Final = {"to_status": "status", "withdrawal_effect": "effect"}


class History:
    """Handler of timelines."""

    def __init__(self, views: Views) -> None:
        self._views = views

    async def read(self, call: Call) -> Response:
        """`GET /v1/referrals/{id}/timeline`."""
        target = await self._views.target(call, "task")
        view = await self._views.view(call, target)
        events = await self._events(target.case_ref)
        steps = steps_of(events, view, target.referral_ref)
        shown = Timeline(referral=UUID(view.id("task")), steps=tuple(steps))
        return native(shown.model_dump_json(exclude_none=True).encode())

    async def _events(self, case_ref: UUID) -> list[tuple[str, Mapping[str, Any]]]:
        """Type and routing fields of each event of the case, read without facts."""
        found: list[tuple[str, Mapping[str, Any]]] = []
        after = 0
        async with self._views.pool.acquire() as conn:
            while rows := await conn.fetch("select * from bus.read($1, $2)", [case_ref], [after]):
                found += [(row["type"], _routing(row)) for row in rows]
                after = rows[-1]["seq"]
        return found


def _routing(row: Any) -> Mapping[str, Any]:
    try:
        event = decode(frame(row["schema_id"], row["seq"], row["body"], None, None))
    except DecodeError:
        return {}
    return {one.name: getattr(event, one.name) for one in fields(event)}


def steps_of(
    events: Iterable[tuple[str, Mapping[str, Any]]], view: View, referral_ref: UUID
) -> list[TimelineStep]:
    """The steps of one referral that its reader may know, in the order they happened."""
    table = SHOWN[view.is_source]
    mine = [
        (number, kind, body)
        for number, (kind, body) in enumerate(events)
        if kind in table and _about(kind, body) == referral_ref
    ]
    return [_step(kind, body, view, number, table[kind]) for number, kind, body in mine]


def _about(kind: str, body: Mapping[str, Any]) -> Any:
    return body.get("correlation_id" if kind == "consent.effect_reported" else "referral_ref")


def _step(
    kind: str, body: Mapping[str, Any], view: View, number: int, shown: tuple[str, ...]
) -> TimelineStep:
    at = body["occurred_at"]
    if not view.is_source:
        version = body.get("version", -number)
        at = own_instant(view.frame.alias_key, view.state.referral_ref, version, view.org, at)
    said = {_NAMES.get(name, name): value for name, value in body.items() if value is not None}
    about = {name: said[name] for name in shown if name in said}
    if "owed_by" in about:
        about["owed_by"] = "sender" if about["owed_by"] == view.state.from_org else "recipient"
    if about.get("synthesised") is False:
        del about["synthesised"]
    return TimelineStep(at=at.astimezone(UTC), type=kind, **about)
