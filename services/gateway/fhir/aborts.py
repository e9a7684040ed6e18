"""Abort Tasks: a sender asks that a referral under way be ended, and reads what became of that.

It guards that the command and the Task that stands for it are made once under the sender's own
identifier, and that nobody but the sender finds it. Deciding is the state machine's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from starlette.responses import Response

from connectors.fhir_r4.abort import Abort, read_abort, status_after, step_for
from connectors.fhir_r4.outbound.content import TASK_CODE
from connectors.sdk.steps import Step
from connectors.sdk.strict import parse_strict
from services.gateway.answers import Once
from services.gateway.fhir import answering, render, store
from services.gateway.fhir.render import View
from services.gateway.http import Call, Handler
from services.gateway.intake.keys import Keys, content_digest, header_key, identifier_mac
from services.gateway.views import Views, lang_of
from services.kit.crypto import hmac_sha256
from services.kit.errors import Refused
from services.kit.ports.referral import Applied, ReferralState

_INSERT: Final = """
insert into gateway.abort (abort_id, org, referral_ref, key_mac, digest, reason_code)
values ($1, $2, $3, $4, $5, $6) on conflict (org, key_mac) do nothing
"""

_COLUMNS: Final = """
select a.abort_id, a.referral_ref, a.digest, a.reason_code, a.at, not exists (
    select from gateway.abort b where b.referral_ref = a.referral_ref and b.number > a.number
  ) as last from gateway.abort a
"""
_BY_KEY: Final = f"{_COLUMNS} where a.org = $1 and a.key_mac = $2"
_BY_ID: Final = f"{_COLUMNS} where a.org = $1 and a.abort_id = $2"


class Give(Protocol):
    """Gives the commands of a party (`services.gateway.answers`)."""

    async def give(
        self,
        *,
        org: str,
        role: str,
        state: ReferralState,
        steps: Sequence[Step],
        once: Once | None,
        expected: int | None,
    ) -> Applied:
        """The state after them; Refused by the rule that forbids one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """An abort Task as it is remembered."""

    abort_id: UUID
    referral_ref: UUID
    digest: bytes
    reason_code: str
    at: datetime
    last: bool
    """Whether no other came after it for the same referral."""


async def _find(conn: Any, statement: str, org: str, key: object) -> Made | None:
    row = await conn.fetchrow(statement, org, key)
    return Made(**dict(row)) if row is not None else None


class Aborts:
    """Handlers of `POST /fhir/Task` and of reading what it made."""

    def __init__(self, views: Views, answers: Give, keys: Keys, public_url: str) -> None:
        self._views = views
        self._answers = answers
        self._keys = keys
        self._url = f"{public_url}/fhir"

    async def create(self, call: Call) -> Response:
        """`POST /fhir/Task`."""
        answering.refuse_conditional_create(call)
        document = parse_strict(await call.body())
        frame = await self._views.frame()
        asked = read_abort(document, call.org, frame.base)
        mac = self._mac(call, asked)
        target = await self._target(call, asked)
        digest = content_digest(self._keys, call.org, document)
        async with self._views.pool.acquire() as conn:
            made = await _find(conn, _BY_KEY, call.org, mac)
        if made is not None and made.digest != digest:
            raise Refused.of("duplicate", "other-content")
        if made is None:
            await self._ask(call, target, asked, Once(f"abort {mac.hex()}", digest))
            made = await self._remember(call.org, target.referral_ref, asked, mac, digest)
        view = await self._views.view(call, target)
        return answering.resource(call, self._shown(call, view, made), 201, url=self._url)

    def _mac(self, call: Call, asked: Abort) -> bytes:
        """The key under which it is made once: header, else the Task's own identifier."""
        text = header_key(call.request.headers.get("idempotency-key"))
        if text is None:
            if asked.identifier is None:
                raise Refused.of("required", "idempotency-key", "Task.identifier")
            return identifier_mac(self._keys, call.org, *asked.identifier)
        return hmac_sha256(self._keys.index, b"abort", call.org.encode(), text.encode())

    async def _target(self, call: Call, asked: Abort) -> store.Target:
        """The referral; 404 when its Task is not the caller's, 422 when it is not its to end."""
        try:
            name = UUID(asked.task)
        except ValueError:
            raise Refused.of("not-found", "resource") from None
        async with self._views.pool.acquire() as conn:
            target = (await store.find(conn, [(call.org, "task", name)]))[0]
        if target is None:
            raise Refused.of("not-found", "resource")
        if target.from_org != call.org:
            raise Refused.of("illegal-transition", "not-yours", "Task.focus")
        if asked.owner not in (None, target.to_org):
            raise Refused.of("value-invalid", "fixed-value", "Task.owner")
        return target

    async def _ask(self, call: Call, target: store.Target, asked: Abort, once: Once) -> None:
        view = await self._views.view(call, target)
        if view.state.version == 0:
            raise Refused.of("transient", "unavailable", retry_after=1)
        await self._answers.give(
            org=call.org,
            role="sender",
            state=view.state,
            steps=[step_for(asked, view.state.status)],
            once=once,
            expected=None,
        )

    async def _remember(
        self, org: str, referral_ref: UUID, asked: Abort, mac: bytes, digest: bytes
    ) -> Made:
        async with self._views.pool.acquire() as conn:
            await conn.execute(_INSERT, uuid4(), org, referral_ref, mac, digest, asked.reason_code)
            made = await _find(conn, _BY_KEY, org, mac)
        if made is None or made.digest != digest:
            raise Refused.of("duplicate", "other-content")
        return made

    def reading(self, otherwise: Handler) -> Handler:
        """`GET /fhir/Task/{id}`: an abort Task where `otherwise` knows nothing."""

        async def read(call: Call) -> Response:
            try:
                return await otherwise(call)
            except Refused as error:
                if error.http != 404 or (found := await self._read(call)) is None:
                    raise
                return found

        return read

    async def _read(self, call: Call) -> Response | None:
        try:
            name = UUID(call.request.path_params["id"])
        except ValueError:
            return None
        async with self._views.pool.acquire() as conn:
            made = await _find(conn, _BY_ID, call.org, name)
            if made is None:
                return None
            target = await store.of_referral(conn, made.referral_ref)
        view = await self._views.view(call, target)
        return answering.resource(call, self._shown(call, view, made))

    def _shown(self, call: Call, view: View, made: Made) -> render.Resource:
        state, base = view.state, view.frame.base
        return {
            "resourceType": "Task",
            "id": str(made.abort_id),
            "meta": {
                "versionId": str(state.version),
                "lastUpdated": render.instant(max(made.at, state.updated_at)),
            },
            "status": status_after(state.status, last=made.last),
            "intent": "order",
            "code": {"coding": [{"system": TASK_CODE, "code": "abort"}]},
            "focus": {"reference": f"Task/{view.id('task')}"},
            "authoredOn": render.instant(made.at),
            "requester": {"reference": f"Organization/{state.from_org}"},
            "owner": {"reference": f"Organization/{state.to_org}"},
            "reasonCode": render.coded(
                base, "referral_reason_code", made.reason_code, lang_of(call)
            ),
        }
