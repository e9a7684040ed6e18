"""`/v1/cases/{id}`: where a case stands, and its commands, for its own organisation.

It guards that a body holds known names and codes alone. A closed case takes no further referral
that names no case number: the next one opens a new case. Referrals under way go on.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from starlette.responses import Response

from connectors.native.mapping import to_changes
from connectors.sdk.amending import Changes
from connectors.sdk.inbound import Context
from services.gateway.cases import store
from services.gateway.cases.changing import Changes as CaseChanges
from services.gateway.cases.changing import Given, shown
from services.gateway.cases.domain import COMMANDS, UPDATE, Command, check
from services.gateway.cases.models import CaseCommandBody
from services.gateway.fhir.store import Target
from services.gateway.http import Call, native
from services.gateway.intake.keys import MAX_KEY, Keys, content_digest, normal
from services.gateway.native import reading
from services.gateway.views import Views
from services.kit.crypto import hmac_sha256
from services.kit.errors import Refused

CONTENT: Final = ("person", "facts", "remove")
"""Members of an update alone."""


class Cases:
    """Handlers of `/v1/cases`."""

    def __init__(
        self,
        views: Views,
        changes: CaseChanges,
        keys: Keys,
        *,
        time_zone: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._views = views
        self._changes = changes
        self._keys = keys
        self._zone = time_zone
        self._clock = clock

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
        fields = await self._fields(call, command, document)
        given = Given(
            org=call.org,
            case_ref=target.case_ref,
            case_id=call.request.path_params["id"],
            command=command,
            key_mac=self._mac(call, target),
            digest=content_digest(self._keys, call.org, document),
            fields=fields,
        )
        return native(await self._changes.give(given))

    async def _fields(
        self, call: Call, command: Command, document: Mapping[str, Any]
    ) -> Changes | None:
        """What an update puts right; no other command says anything of the person."""
        if command.name == UPDATE:
            frame = await self._views.frame()
            return to_changes(document, Context(call.org, self._clock(), self._zone, frame.base))
        for name in CONTENT:
            if name in document:
                raise Refused.of("structure", "unknown-element", name)
        return None

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
