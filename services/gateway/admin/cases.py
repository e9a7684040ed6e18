"""Referrals, consents and requests to erase on the admin port: routing data only.

It guards that people who operate the hub see what happened and never to whom: no fact, no
identifier of a person, no content is read here.
"""

from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson
from starlette.requests import Request
from starlette.routing import Route

from schemas.codec import DecodeError, decode, frame
from services.gateway.admin.faults import FieldFault
from services.gateway.admin.http import AdminRefused, Desk
from services.gateway.admin.timeline import CaseEvent, CaseLeaf, timeline
from services.kit.ports.consent import Consent
from services.kit.ports.referral import OverdueQuery, Referral, ReferralState
from services.kit.runtime import Runtime
from services.kit.staff import StaffMember

PAGE: Final = 50
MOST: Final = 64
OVERDUE_STAGES: Final = ("overdue", "escalated")
_NEWEST: Final = """
select referral_ref, case_ref, from_org, to_org, accepted_at from gateway.referral
 where ($1::timestamptz is null or accepted_at < $1)
   and ($2::text is null or from_org = $2 or to_org = $2)
   and ($3::uuid is null or case_ref = $3)
 order by accepted_at desc limit $4"""
_ERASURES: Final = """
select * from delivery.erasures($1) where state <> 'acknowledged' or $2"""


class Cases:
    """What operators may see of cases."""

    def __init__(self, rt: Runtime, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._referral = rt.port(Referral)
        self._consent = rt.port(Consent)

    async def referrals(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """The newest referrals: `?org=&case=&before=&limit=`."""
        asked = _known(request, "org", "case", "before", "limit")
        limit = _number(asked.get("limit"), PAGE)
        rows = await self._pool.fetch(
            _NEWEST, _time(asked.get("before")), asked.get("org"), _uuid(asked.get("case")), limit
        )
        states = await self._referral.read([row["referral_ref"] for row in rows]) if rows else []
        return {
            "referrals": [_line(row, state) for row, state in zip(rows, states, strict=True)],
            "next": rows[-1]["accepted_at"].isoformat() if len(rows) == limit else None,
        }

    async def referral(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """One referral with its timeline."""
        ref = request.path_params["referral_ref"]
        row = await self._pool.fetchrow(
            "select * from gateway.referral where referral_ref = $1", ref
        )
        if row is None:
            raise AdminRefused(404, "referral-unknown")
        (state,) = await self._referral.read([ref])
        events, leaves = await self._happened(row["case_ref"])
        shown = _line(row, state)
        shown["consent_ref"] = str(row["consent_ref"])
        if state is not None:
            shown |= _codes(state)
        shown["timeline"] = timeline(events, leaves, ref)
        return shown

    async def overdue(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """Referrals past their time: `?from=&to=&stage=overdue|escalated&limit=`."""
        asked = _known(request, "from", "to", "stage", "limit")
        stage = asked.get("stage")
        if stage is not None and stage not in OVERDUE_STAGES:
            raise AdminRefused(422, "request-faulty", [FieldFault("stage", "code")])
        query = OverdueQuery(
            from_org=asked.get("from"),
            to_org=asked.get("to"),
            stages=(stage,) if stage else OVERDUE_STAGES,
            limit=_number(asked.get("limit"), PAGE),
        )
        (found,) = await self._referral.overdue([query])
        return {"referrals": plain(found)}

    async def consent(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """A consent by its reference, or the newest of a case or referral named by theirs."""
        ref = request.path_params["consent_ref"]
        named = await self._pool.fetchval(
            "select consent_ref from gateway.referral where referral_ref = $1 or case_ref = $1"
            " order by accepted_at desc limit 1",
            ref,
        )
        (record,) = await self._consent.read([named or ref])
        if record is None:
            raise AdminRefused(404, "consent-unknown")
        shown: dict[str, Any] = plain(record)
        return shown

    async def erasures(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """Requests to erase that are not done; `?all=true` for the done ones too."""
        asked = _known(request, "all")
        rows = await self._pool.fetch(_ERASURES, 200, asked.get("all") == "true")
        return {"erasures": [plain(dict(row)) for row in rows]}

    async def _happened(self, case_ref: UUID) -> tuple[list[CaseEvent], list[CaseLeaf]]:
        async with self._pool.acquire() as conn:
            told = await conn.fetch("select * from bus.timeline($1)", case_ref)
            read = await self._bodies(conn, case_ref)
            leaves = await conn.fetch("select * from custody.of_case($1)", case_ref)
        return [_event(row, read.get(row["seq"], {})) for row in told], [_leaf(r) for r in leaves]

    async def _bodies(self, conn: Any, case_ref: UUID) -> dict[int, dict[str, Any]]:
        """Routing fields of each event by its position, read without facts."""
        found: dict[int, dict[str, Any]] = {}
        after = 0
        while rows := await conn.fetch("select * from bus.read($1, $2)", [case_ref], [after]):
            for row in rows:
                found[row["seq"]] = _routing(row)
            after = rows[-1]["seq"]
        return found


def _routing(row: asyncpg.Record) -> dict[str, Any]:
    try:
        event = decode(frame(row["schema_id"], row["seq"], row["body"], None, None))
    except DecodeError:
        return {}
    return {f.name: getattr(event, f.name) for f in fields(event)}


def _event(row: asyncpg.Record, body: dict[str, Any]) -> CaseEvent:
    return CaseEvent(
        seq=row["seq"],
        event_id=row["event_id"],
        type=row["type"],
        at=row["at"],
        referral_ref=body.get("referral_ref"),
        published=row["published"],
        has_facts=row["has_facts"],
        about=body,
    )


def _leaf(row: asyncpg.Record) -> CaseLeaf:
    return CaseLeaf(
        leaf_ref=row["leaf_ref"],
        kind=row["kind"],
        at=row["at"],
        body=orjson.loads(row["body"]) if row["body"] else {},
        position=row["position"],
        signed=row["signed"],
    )


def _line(row: asyncpg.Record, state: ReferralState | None) -> dict[str, Any]:
    return {
        "referral_ref": str(row["referral_ref"]),
        "case_ref": str(row["case_ref"]),
        "from_org": row["from_org"],
        "to_org": row["to_org"],
        "accepted_at": row["accepted_at"].isoformat(),
        "status": state.status if state else "accepted-by-hub",
        "version": state.version if state else 0,
    }


def _codes(state: ReferralState) -> dict[str, Any]:
    """Codes of routing; what says something of the person (priority, reason) stays out."""
    return {
        "purpose": state.purpose,
        "data_categories": list(state.data_categories),
        "response_due": state.response_due.isoformat() if state.response_due else None,
        "updated_at": state.updated_at.isoformat(),
    }


def plain(value: Any) -> Any:
    """As JSON shows it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _known(request: Request, *names: str) -> dict[str, str]:
    unknown = set(request.query_params) - set(names)
    if unknown:
        raise AdminRefused(400, "parameter-unknown")
    return dict(request.query_params)


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST):
        raise AdminRefused(422, "request-faulty", [FieldFault("limit", "range")])
    return int(text)


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        found = None
    if text and (found is None or found.tzinfo is None):
        raise AdminRefused(422, "request-faulty", [FieldFault("before", "time")])
    return found


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise AdminRefused(422, "request-faulty", [FieldFault("case", "uuid")]) from None


def case_routes(desk: Desk, cases: Cases) -> list[Route]:
    """Routes that read cases."""
    return [
        desk.route("GET", "/admin/referrals", "case.read", cases.referrals),
        desk.route("GET", "/admin/referrals/{referral_ref:uuid}", "case.read", cases.referral),
        desk.route("GET", "/admin/referrals/overdue", "case.read", cases.overdue),
        desk.route("GET", "/admin/consents/{consent_ref:uuid}", "case.read", cases.consent),
        desk.route("GET", "/admin/erasures", "case.read", cases.erasures),
    ]
