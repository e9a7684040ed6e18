"""How the admin port answers people: guarded routes, JSON in and out, refusals with a code.

It guards that every route but the session's own asks who calls and whether their roles allow the
duty, with the register as it is now, and that no answer or log says more than a code.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.gateway.admin.faults import FieldFault
from services.kit.db import is_infrastructure_fault
from services.kit.logs import Log
from services.kit.staff import Duty, StaffMember

MOST_BYTES: Final = 256 * 1024


@dataclass
class AdminRefused(Exception):
    """An answer to a person that says no; `code` is stable, `faults` name fields."""

    status: int
    code: str
    faults: Sequence[FieldFault] = field(default=())

    def __str__(self) -> str:
        return self.code


Guard = Callable[[str | None], Awaitable[StaffMember]]
"""`Authorization` header → who calls; AdminRefused when nobody we know."""
Handler = Callable[[Request, StaffMember], Awaitable[Any]]
Open = Callable[[Request], Awaitable[Any]]


class Desk:
    """Makes the routes of the admin port."""

    def __init__(self, guard: Guard, log: Log) -> None:
        self._guard = guard
        self._log = log

    def route(self, method: str, path: str, duty: Duty, handler: Handler) -> Route:
        """A route for people whose roles allow the duty."""

        async def guarded(request: Request) -> Any:
            member = await self._guard(request.headers.get("authorization"))
            if not member.may(duty):
                raise AdminRefused(403, "role-missing")
            return await handler(request, member)

        return self.open_route(method, path, guarded)

    def open_route(self, method: str, path: str, handler: Open) -> Route:
        """A route that minds for itself who calls."""

        async def endpoint(request: Request) -> Response:
            try:
                return answer(await handler(request))
            except AdminRefused as refused:
                return answer(_said(refused), refused.status)
            except Exception as error:  # noqa: BLE001 -- its type is logged, its text goes nowhere
                if is_infrastructure_fault(error):
                    self._log.warning("admin-unavailable", error)
                    return answer({"code": "unavailable"}, 503)
                self._log.error("admin-failed", error)
                return answer({"code": "internal"}, 500)

        return Route(path, endpoint, methods=[method])


def _said(refused: AdminRefused) -> dict[str, Any]:
    said: dict[str, Any] = {"code": refused.code}
    if refused.faults:
        said["faults"] = [{"field": f.field, "rule": f.rule} for f in refused.faults]
    return said


def answer(body: Any, status: int = 200) -> Response:
    """A JSON answer that nobody keeps."""
    return Response(
        orjson.dumps(body),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object of a request; AdminRefused for anything else."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MOST_BYTES:
            raise AdminRefused(413, "too-large")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise AdminRefused(400, "not-json")
    return body


def text_of(body: dict[str, Any], name: str) -> str:
    """A text of the request; AdminRefused when it is missing or none."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise AdminRefused(422, "request-faulty", [FieldFault(name, "required")])
    return value


def uuid_of(body: dict[str, Any], name: str) -> UUID:
    """An id of the request."""
    try:
        return UUID(text_of(body, name))
    except ValueError:
        raise AdminRefused(422, "request-faulty", [FieldFault(name, "uuid")]) from None
