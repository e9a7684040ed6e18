"""The register of people on the admin port: list, add, disable, enable.

It guards that only an operator changes it, that the very first person comes in by the bootstrap
secret while the register is empty and never again, and that one active operator always remains.
"""

from typing import Any

import asyncpg
from starlette.requests import Request
from starlette.routing import Route

from services.gateway.admin.faults import FieldFault
from services.gateway.admin.http import AdminRefused, Desk, Handler, json_body
from services.gateway.staff import store
from services.gateway.staff.domain import Registration, registration
from services.gateway.staff.session import Sessions
from services.kit.crypto import constant_equal
from services.kit.db import transaction
from services.kit.runtime import Runtime
from services.kit.staff import StaffMember


class Register:
    """Who operates the hub."""

    def __init__(self, rt: Runtime, pool: asyncpg.Pool, sessions: Sessions) -> None:
        self._rt = rt
        self._pool = pool
        self._sessions = sessions

    async def every(self, _: Request, __: StaffMember) -> dict[str, Any]:
        """Everybody."""
        return {"staff": [one.shown() for one in await store.everybody(self._pool)]}

    async def who(self, _: Request, member: StaffMember) -> dict[str, Any]:
        """The person of this session."""
        found = await store.find(self._pool, member.staff_id)
        return found.shown() if found else {}

    async def add(self, request: Request) -> dict[str, Any]:
        """Register a person: by an operator, or the first operator by the bootstrap secret."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bootstrap":
            return await self._add_first(secret, await json_body(request))
        member = await self._sessions.member(request.headers.get("authorization"))
        if not member.may("staff.change"):
            raise AdminRefused(403, "role-missing")
        person = _person(await json_body(request))
        async with transaction(self._pool) as conn:
            if not await store.add(conn, person, member.staff_id, self._rt.clock()):
                raise AdminRefused(409, "staff-exists")
        return _added(person)

    async def _add_first(self, secret: str, body: dict[str, Any]) -> dict[str, Any]:
        wanted = self._rt.settings.secret("staff-bootstrap").strip()
        if not constant_equal(secret.strip().encode(), wanted):
            raise AdminRefused(401, "bootstrap-refused")
        person = _person(body)
        if "operator" not in person.roles:
            raise AdminRefused(422, "request-faulty", [FieldFault("roles", "first-is-operator")])
        async with transaction(self._pool) as conn:
            if not await store.lock_register(conn):
                raise AdminRefused(409, "bootstrap-over")
            await store.add(conn, person, None, self._rt.clock())
        return _added(person)

    def setting(self, status: str) -> Handler:
        """A handler that disables or enables the person named in the path."""

        async def handle(request: Request, member: StaffMember) -> dict[str, Any]:
            staff_id = request.path_params["staff_id"]
            async with transaction(self._pool) as conn:
                await store.lock_register(conn)
                if await store.find(conn, staff_id) is None:
                    raise AdminRefused(404, "staff-unknown")
                if status == "disabled" and not await store.other_operators(conn, staff_id):
                    raise AdminRefused(409, "last-operator")
                now = self._rt.clock()
                changed = await store.set_status(conn, staff_id, status, member.staff_id, now)
            return {"staff_id": staff_id, "status": status, "changed": changed}

        return handle


def _person(body: dict[str, Any]) -> Registration:
    person, faults = registration(body)
    if person is None:
        found = [FieldFault(name, rule) for name, rule in faults]
        raise AdminRefused(422, "request-faulty", found)
    return person


def _added(person: Registration) -> dict[str, Any]:
    return {
        "staff_id": person.staff_id,
        "organisation": person.organisation,
        "roles": sorted(person.roles),
        "status": "active",
    }


def staff_routes(desk: Desk, register: Register) -> list[Route]:
    """Routes under /admin/staff."""
    one = "/admin/staff/{staff_id}"
    return [
        desk.route("GET", "/admin/staff", "staff.read", register.every),
        desk.route("GET", "/admin/whoami", "staff.read", register.who),
        desk.open_route("POST", "/admin/staff", register.add),
        desk.route("POST", f"{one}/disable", "staff.change", register.setting("disabled")),
        desk.route("POST", f"{one}/enable", "staff.change", register.setting("active")),
    ]
