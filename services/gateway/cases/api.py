"""`/v1/cases/{id}`: where a case stands, and its commands, for its own organisation.

It guards that a body holds known names and codes alone. A closed case takes no further referral
that names no case number: the next one opens a new case. Referrals under way go on.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from services.gateway.cases import store
from services.gateway.cases.changing import Changes, Given, shown
from services.gateway.cases.domain import COMMANDS, Command, check
from services.gateway.cases.models import CaseCommandBody
from services.gateway.fhir.store import Target
from services.gateway.http import Call, native
from services.gateway.intake.keys import MAX_KEY, Keys, content_digest, normal
from services.gateway.native import reading
from services.gateway.views import Views
from services.kit.crypto import hmac_sha256
from services.kit.errors import Refused


class Cases:
    """Handlers of `/v1/cases`."""

    def __init__(self, views: Views, changes: Changes, keys: Keys) -> None:
        self._views = views
        self._changes = changes
        self._keys = keys

    async def read(self, call: Call) -> Response:
        """`GET /v1/cases/{id}`."""
        target = await self._own(call)
        async with self._views.pool.acquire() as conn:
            case = await store.read(conn, target.case_ref, call.org)
        return native(shown(call.request.path_params["id"], case))

    async def command(self, call: Call) -> Response:
        """`POST /v1/cases/{id}/commands`."""
        target = await self._own(call)
        document = await reading.members(call, CaseCommandBody.model_fields)
        command = _read(document)
        check(command)
        given = Given(
            org=call.org,
            case_ref=target.case_ref,
            case_id=call.request.path_params["id"],
            command=command,
            key_mac=self._mac(call, target),
            digest=content_digest(self._keys, call.org, document),
        )
        return native(await self._changes.give(given))

    async def _own(self, call: Call) -> Target:
        target = await self._views.target(call, "case")
        if target.from_org != call.org:
            raise Refused.of("not-found", "resource")
        return target

    def _mac(self, call: Call, target: Target) -> bytes:
        """What a command is known by: its key for this case, else nothing that comes again."""
        given = call.request.headers.get("idempotency-key")
        key = str(uuid4()) if given is None else normal(given)
        if not key or len(key) > MAX_KEY:
            raise Refused.of("value-invalid", "idempotency-key")
        parts = (b"case command", call.org.encode(), target.case_ref.bytes, key.encode())
        return hmac_sha256(self._keys.index, *parts)


def _read(document: Mapping[str, Any]) -> Command:
    name = reading.text(document, "command")
    if name not in COMMANDS:
        raise Refused.of("code-invalid", "not-in-list", "command")
    return Command(
        name=name,
        expected_version=reading.number(document, "expected_version"),
        closure_reason=reading.code(document, "closure_reason", "case_closure_reason"),
    )
