"""`/v1/cases/{id}`: where a case stands, and its commands, for its own organisation.

It guards that a body holds known names and codes alone. A closed case takes no further referral
that names no case number: the next one opens a new case. Referrals under way go on.
"""

import orjson
from starlette.responses import Response

from services.gateway.cases import store
from services.gateway.cases.domain import COMMANDS, Case, Command, after
from services.gateway.cases.models import CaseCommandBody
from services.gateway.fhir.store import Target
from services.gateway.http import Call, native
from services.gateway.intake.keys import MAX_KEY, normal
from services.gateway.native import reading
from services.gateway.views import Views
from services.kit.crypto import hmac_sha256
from services.kit.errors import Refused


class Cases:
    """Handlers of `/v1/cases`."""

    def __init__(self, views: Views) -> None:
        self._views = views

    async def read(self, call: Call) -> Response:
        """`GET /v1/cases/{id}`."""
        target = await self._own(call)
        async with self._views.pool.acquire() as conn:
            return _shown(call, await store.read(conn, target.case_ref, call.org))

    async def command(self, call: Call) -> Response:
        """`POST /v1/cases/{id}/commands`."""
        target = await self._own(call)
        command = await _read(call)
        mac = self._mac(call, target, command)
        async with self._views.pool.acquire() as conn:
            done = await store.change(
                conn, target.case_ref, call.org, mac, lambda case: after(case, command)
            )
        return _shown(call, done)

    async def _own(self, call: Call) -> Target:
        target = await self._views.target(call, "case")
        if target.from_org != call.org:
            raise Refused.of("not-found", "resource")
        return target

    def _mac(self, call: Call, target: Target, command: Command) -> bytes | None:
        """What a repeat of this very command under its key is known by."""
        given = call.request.headers.get("idempotency-key")
        if given is None:
            return None
        key = normal(given)
        if not key or len(key) > MAX_KEY:
            raise Refused.of("value-invalid", "idempotency-key")
        said = orjson.dumps([command.name, command.expected_version, command.closure_reason])
        parts = (b"case command", call.org.encode(), target.case_ref.bytes, key.encode(), said)
        return hmac_sha256(self._views.keys.index, *parts)


async def _read(call: Call) -> Command:
    document = await reading.members(call, CaseCommandBody.model_fields)
    name = reading.text(document, "command")
    if name not in COMMANDS:
        raise Refused.of("code-invalid", "not-in-list", "command")
    return Command(
        name=name,
        expected_version=reading.number(document, "expected_version"),
        closure_reason=reading.code(document, "closure_reason", "case_closure_reason"),
    )


def _shown(call: Call, case: Case) -> Response:
    body = {"id": call.request.path_params["id"], "status": case.status, "version": case.version}
    if case.closure_reason is not None:
        body["closure_reason"] = case.closure_reason
    return native(body)
