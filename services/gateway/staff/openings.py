"""Opening an identity outside a grant: asked for, approved elsewhere, read once by who asked.

It guards that the two people belong to two organisations, that the leaf and the notice due to the
person are committed before the vault shows anything, and that the identity is in the answer to the
asker alone: not in a table, a log or a URL.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import orjson
from starlette.requests import Request
from starlette.routing import Route

from services.gateway import notices
from services.gateway.admin.faults import FieldFault
from services.gateway.admin.http import AdminRefused, Desk, json_body, text_of, uuid_of
from services.gateway.staff.domain import (
    OPENING_LIFE,
    OPENING_REASONS,
    approval_fault,
    begin_fault,
)
from services.kit.db import transaction
from services.kit.leaf import append_leaves, leaf
from services.kit.ports.vault import OpeningRequest, Vault
from services.kit.runtime import Runtime
from services.kit.staff import StaffMember

_REQUEST: Final = """
insert into gateway.opening
    (opening_ref, case_ref, reason_code, requested_by, requested_org, requested_at)
select $1, $2, $3, $4, $5, $6
 where exists (select from gateway.case_file c where c.case_ref = $2) returning true"""
_APPROVE: Final = """
update gateway.opening set approved_by = $2, approved_org = $3, approved_at = $4
 where opening_ref = $1"""


class Openings:
    """Requests to open an identity."""

    def __init__(self, rt: Runtime, pool: asyncpg.Pool) -> None:
        self._rt = rt
        self._pool = pool
        self._vault = rt.port(Vault)

    async def request(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """Ask: `{case_ref, reason_code}`."""
        body = await json_body(request)
        case_ref, reason = uuid_of(body, "case_ref"), text_of(body, "reason_code")
        if reason not in OPENING_REASONS:
            raise AdminRefused(422, "request-faulty", [FieldFault("reason_code", "code")])
        ref = uuid4()
        who = (member.staff_id, member.organisation)
        made = await self._pool.fetchval(_REQUEST, ref, case_ref, reason, *who, self._rt.clock())
        if not made:
            raise AdminRefused(404, "case-unknown")
        return {"opening_ref": str(ref), "status": "requested"}

    async def every(self, _: Request, __: StaffMember) -> dict[str, Any]:
        """The newest hundred, without any identity."""
        rows = await self._pool.fetch(
            "select * from gateway.opening order by requested_at desc limit 100"
        )
        return {"openings": [_shown(row, self._rt.clock()) for row in rows]}

    async def approve(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """Approve another organisation's request."""
        async with transaction(self._pool) as conn:
            row = await self._locked(conn, request.path_params["opening_ref"])
            now = self._rt.clock()
            rule = approval_fault(
                requested_by=row["requested_by"],
                requested_org=row["requested_org"],
                requested_at=row["requested_at"],
                by=member,
                now=now,
            )
            if row["approved_by"] is not None:
                rule = "opening-approved"
            if rule is not None:
                raise AdminRefused(409, rule)
            ref = row["opening_ref"]
            await conn.execute(_APPROVE, ref, member.staff_id, member.organisation, now)
        return {"opening_ref": str(ref), "status": "approved"}

    async def read(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """The identity, to who asked, once: leaf first, then the vault."""
        opening = await self.begin(request.path_params["opening_ref"], member, "identity")
        (result,) = await self._vault.open([opening])
        if result.content is None:
            raise AdminRefused(409, result.rule)
        return {
            "opening_ref": str(opening.opening_ref),
            "leaf_ref": str(opening.leaf_ref),
            "identity": orjson.loads(result.content),
        }

    async def begin(self, ref: UUID, member: StaffMember, wanted: str) -> OpeningRequest:
        """Commit the leaf; a repeat after a fault finds it written and asks the vault again.

        `wanted` is `identity` or `report`: an opening serves what it was approved for.
        """
        async with transaction(self._pool) as conn:
            row = await self._locked(conn, ref)
            if row["requested_by"] != member.staff_id:
                raise AdminRefused(404, "opening-unknown")
            now = self._rt.clock()
            about = {n: row[n] for n in ("approved_by", "requested_at", "reason_code")}
            rule = begin_fault(**about, wanted=wanted, now=now)
            if rule is not None:
                raise AdminRefused(409, rule)
            leaf_ref = row["leaf_ref"] or await self._note(conn, row, now)
        return _request(row, leaf_ref)

    async def _note(self, conn: Any, row: asyncpg.Record, now: datetime) -> UUID:
        made = leaf(
            "identity_opened",
            now,
            actor=row["requested_by"],
            case_ref=row["case_ref"],
            opening_ref=row["opening_ref"],
            approvers=[row["requested_by"], row["approved_by"]],
            reason_code=row["reason_code"],
        )
        await conn.execute(
            "update gateway.opening set leaf_ref = $2 where opening_ref = $1",
            row["opening_ref"],
            made.ref,
        )
        told = notices.due("identity_opened", row["case_ref"], row["opening_ref"], now)
        await notices.store(conn, [told])
        await append_leaves(conn, [made, notices.due_leaf(told, row["requested_by"])])
        return made.ref

    async def _locked(self, conn: Any, ref: UUID) -> asyncpg.Record:
        row = await conn.fetchrow(
            "select * from gateway.opening where opening_ref = $1 for update", ref
        )
        if row is None:
            raise AdminRefused(404, "opening-unknown")
        found: asyncpg.Record = row
        return found


def _request(row: asyncpg.Record, leaf_ref: UUID) -> OpeningRequest:
    approvers = (
        (row["requested_by"], row["requested_org"]),
        (row["approved_by"], row["approved_org"]),
    )
    return OpeningRequest(
        opening_ref=row["opening_ref"],
        case_ref=row["case_ref"],
        reason_code=row["reason_code"],
        approvers=approvers,
        leaf_ref=leaf_ref,
    )


def _shown(row: asyncpg.Record, now: datetime) -> dict[str, Any]:
    status = "approved" if row["approved_by"] else "requested"
    if row["leaf_ref"] is not None:
        status = "opened"
    elif now - row["requested_at"] > OPENING_LIFE:
        status = "expired"
    return {
        "opening_ref": str(row["opening_ref"]),
        "case_ref": str(row["case_ref"]),
        "reason_code": row["reason_code"],
        "requested_by": row["requested_by"],
        "requested_at": row["requested_at"].isoformat(),
        "approved_by": row["approved_by"],
        "status": status,
    }


def opening_routes(desk: Desk, openings: Openings) -> list[Route]:
    """Routes under /admin/openings."""
    one = "/admin/openings/{opening_ref:uuid}"
    return [
        desk.route("POST", "/admin/openings", "opening.request", openings.request),
        desk.route("GET", "/admin/openings", "case.read", openings.every),
        desk.route("POST", f"{one}/approval", "opening.approve", openings.approve),
        desk.route("POST", f"{one}/identity", "opening.request", openings.read),
    ]
