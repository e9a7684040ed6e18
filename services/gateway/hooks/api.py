"""`POST /hooks/{org}`: a partner's answers as signed messages, for systems that keep no token.

It guards that a message counts only by a key in the partner's own record, in time and once, and
that it then goes the one path of all commands. A message is remembered after it was dealt with and
not before: one whose answer was lost can come again and changes nothing, since a command's id
follows from the message's.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from connectors.sdk.faults import Fault, Faults
from connectors.sdk.strict import parse_strict
from connectors.webhook.signing import REMEMBER, SigningError, verify
from services.gateway.answers import Answers, Once
from services.gateway.auth.service import Access, Caller
from services.gateway.hooks.models import COMMAND, MEMBERS, HookKeysView, Message, Taken
from services.gateway.http import BODY_TYPES, Call, native, read_body
from services.gateway.intake.keys import Keys, content_digest
from services.gateway.native import reading
from services.gateway.native.commands import step_of
from services.gateway.native.erasures import Erasures
from services.gateway.views import Views
from services.kit.errors import Refused
from services.kit.hookkeys import HookKeys
from services.kit.partners import Partner
from services.kit.steps import step

CLOUD_EVENT: Final = "application/cloudevents+json"
SCOPE: Final = "system/Task.u"


class Hooks:
    """Handlers of this part."""

    def __init__(
        self,
        access: Access,
        views: Views,
        answers: Answers,
        erasures: Erasures,
        keys: HookKeys,
        content: Keys,
        clock: Callable[[], datetime],
    ) -> None:
        self._access = access
        self._views = views
        self._answers = answers
        self._erasures = erasures
        self._keys = keys
        self._content = content
        self._clock = clock

    async def show_keys(self, _: Call) -> Response:
        """`GET /v1/webhook-keys`."""
        shown = HookKeysView(keys=tuple(self._keys.public()))
        return native(shown.model_dump_json().encode())

    async def take(self, request: Request) -> Response:
        """`POST /hooks/{org}`."""
        call = Call(request, await self._caller(request))
        body = await call.body(BODY_TYPES | {CLOUD_EVENT})
        mark = self._verified(call, body)
        await self._access.take(call.caller.partner)
        if await self._access.message_seen(call.org, mark):
            raise Refused.of("conflict", "webhook-repeated")
        try:
            taken = await self._act(call, body, mark)
        except (Refused, Faults) as error:
            if _for_good(error):
                await self._access.remember_message(call.org, mark, REMEMBER)
            raise
        step("hook.taken")
        await self._access.remember_message(call.org, mark, REMEMBER)
        step("hook.remembered")
        return native(taken.model_dump_json(exclude_none=True).encode())

    async def _caller(self, request: Request) -> Caller:
        """Whom the address names; that there is no such partner looks like a wrong signature."""
        partner = await self._access.active(request.path_params["org"])
        if partner is None or partner.webhook is None:
            await read_body(request)
            raise Refused.of("login", "webhook-signature")
        return Caller(partner, SCOPE)

    def _verified(self, call: Call, body: bytes) -> str:
        """The id of a message that one of the partner's keys signed."""
        try:
            keys = _keys_of(self._keys, call.caller.partner)
            return verify(call.request.headers, body, keys, self._clock())
        except SigningError as error:
            if error.rule == "headers":
                raise Refused.of("login", "webhook-headers") from None
            if error.rule == "timestamp":
                raise Refused.of("login", "webhook-timestamp") from None
            raise Refused.of("login", "webhook-signature") from None

    async def _act(self, call: Call, body: bytes, mark: str) -> Taken:
        kind, data = _read(body)
        try:
            if kind == COMMAND:
                return await self._command(call, data, mark)
            shown = await self._erasures.effect(
                call.org, reading.text(data, "request"), reading.text(data, "effect")
            )
            return Taken(id=shown.request_id, status=shown.state)
        except Refused as error:
            raise _within(error) from None

    async def _command(self, call: Call, data: Mapping[str, Any], mark: str) -> Taken:
        name = reading.text(data, "referral")
        expected = reading.number(data, "expected_version") if "expected_version" in data else None
        step = step_of(data)
        view = await self._views.view(call, await self._views.named(call.org, "task", name))
        if view.state.version == 0:
            raise Refused.of("transient", "unavailable", retry_after=1)
        applied = await self._answers.give(
            org=call.org,
            role="sender" if view.is_source else "recipient",
            state=view.state,
            steps=[step],
            once=Once(f"hook {mark}", content_digest(self._content, call.org, data)),
            expected=expected,
        )
        return Taken.model_validate(
            {"id": view.id("task"), "status": applied.status, "version": applied.version}
        )


def _keys_of(keys: HookKeys, partner: Partner) -> list[Any]:
    return keys.keys(partner.org, partner.webhook) if partner.webhook is not None else []


def _read(body: bytes) -> tuple[str, Mapping[str, Any]]:
    """Type and data of a message."""
    document = reading.checked(parse_strict(body), Message.model_fields)
    for name in ("id", "source"):
        reading.text(document, name)
    if reading.text(document, "specversion") != "1.0":
        raise Refused.of("code-invalid", "not-in-list", "specversion")
    kind = reading.text(document, "type")
    if kind not in MEMBERS:
        raise Refused.of("code-invalid", "not-in-list", "type")
    if "data" not in document:
        raise Refused.of("required", "element", "data")
    data = document["data"]
    if not isinstance(data, dict):
        raise Refused.of("structure", "wrong-type", "data")
    try:
        return kind, reading.checked(data, MEMBERS[kind].model_fields)
    except Refused as error:
        raise _within(error) from None


def _within(error: Refused) -> Refused:
    """The same faults, where they stand in the message."""
    members = {name for model in MEMBERS.values() for name in model.model_fields}
    faults = [
        Fault(f.code, f"data.{f.field}" if f.field in members else f.field or "data", f.rule)
        for f in error.faults
    ]
    return Refused(faults, retry_after=error.retry_after)


def _for_good(error: Refused | Faults) -> bool:
    """Whether the same message would be refused again."""
    return not isinstance(error, Refused) or error.http not in (429, 503)
