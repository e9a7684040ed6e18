"""Later notices on the admin port: what a person must yet be told, and that they were.

It guards that only a protection officer closes a notice, once, with a leaf. How the person is told
is that officer's work: nothing here says anything to anybody.
"""

from typing import Any, Final, get_args

import asyncpg
from starlette.requests import Request
from starlette.routing import Route

from services.gateway.admin.faults import FieldFault
from services.gateway.admin.http import AdminRefused, Desk, json_body, text_of
from services.gateway.notices import OUTCOMES, Cause, Notice, closed_leaf
from services.kit.db import transaction
from services.kit.leaf import append_leaves
from services.kit.metrics import Metrics
from services.kit.runtime import Runtime
from services.kit.staff import StaffMember

MOST: Final = 200

_LIST: Final = """
select * from gateway.notice where closed_at is null or $1
 order by closed_at is not null, due_since limit $2"""
_COUNT: Final = """
select cause, count(*) as n from gateway.notice where closed_at is null group by cause"""
_LOCK: Final = "select * from gateway.notice where notice_ref = $1 for update"
_CLOSE: Final = """
update gateway.notice set closed_by = $2, outcome = $3, closed_at = $4 where notice_ref = $1"""


class Notices:
    """Notices as people see and close them."""

    def __init__(self, rt: Runtime, pool: asyncpg.Pool) -> None:
        self._rt = rt
        self._pool = pool

    async def every(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """Those that are due, longest first; `?all=true` for closed ones too."""
        if set(request.query_params) - {"all"}:
            raise AdminRefused(400, "parameter-unknown")
        every = request.query_params.get("all") == "true"
        return {"notices": [_shown(r) for r in await self._pool.fetch(_LIST, every, MOST)]}

    async def close(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """Close one: `{outcome}`."""
        ref = request.path_params["notice_ref"]
        outcome = text_of(await json_body(request), "outcome")
        if outcome not in OUTCOMES:
            raise AdminRefused(422, "request-faulty", [FieldFault("outcome", "code")])
        async with transaction(self._pool) as conn:
            row = await conn.fetchrow(_LOCK, ref)
            if row is None:
                raise AdminRefused(404, "notice-unknown")
            if row["closed_at"] is not None:
                raise AdminRefused(409, "notice-closed")
            now = self._rt.clock()
            await conn.execute(_CLOSE, ref, member.staff_id, outcome, now)
            made = closed_leaf(_notice(row), now, member.staff_id, outcome)
            await append_leaves(conn, [made])
        return {"notice_ref": str(ref), "status": outcome, "leaf_ref": str(made.ref)}


async def measure(pool: asyncpg.Pool, metrics: Metrics) -> None:
    """Count what is due."""
    rows = {row["cause"]: row["n"] for row in await pool.fetch(_COUNT)}
    for cause in get_args(Cause):
        metrics.set("cauce_notices", rows.get(cause, 0), cause=cause)


def _notice(row: asyncpg.Record) -> Notice:
    return Notice(**{name: row[name] for name in Notice.__dataclass_fields__})


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    closed = row["closed_at"]
    return {
        "notice_ref": str(row["notice_ref"]),
        "cause": row["cause"],
        "case_ref": str(row["case_ref"]),
        "about_ref": str(row["about_ref"]),
        "due_since": row["due_since"].isoformat(),
        "status": row["outcome"] or "due",
        "closed_by": row["closed_by"],
        "closed_at": closed.isoformat() if closed else None,
    }


def notice_routes(desk: Desk, notices: Notices) -> list[Route]:
    """Routes under /admin/notices."""
    one = "/admin/notices/{notice_ref:uuid}"
    return [
        desk.route("GET", "/admin/notices", "case.read", notices.every),
        desk.route("POST", f"{one}/closing", "notice.close", notices.close),
    ]
