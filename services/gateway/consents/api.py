"""`/v1/consents`: read, renew, withdraw, by the organisation that collected them.

It guards that a body holds known names alone and that the same rules hold as by FHIR
(`consents.writing`). Nothing submitted is told back.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from starlette.responses import Response

from connectors.native.mapping import to_consent
from connectors.sdk.inbound import Context
from services.gateway.consents import models
from services.gateway.consents.writing import ConsentWriter
from services.gateway.fhir import store
from services.gateway.http import Call, native
from services.gateway.views import Views
from services.kit.aliases import alias
from services.kit.errors import Refused
from services.kit.ports.consent import ConsentRecord, Withdrawn


class NativeConsents:
    """Handlers of `/v1/consents`."""

    def __init__(
        self,
        views: Views,
        writer: ConsentWriter,
        *,
        time_zone: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._views = views
        self._writer = writer
        self._zone = time_zone
        self._clock = clock

    async def read(self, call: Call) -> Response:
        """`GET /v1/consents/{id}`."""
        target = await self._own(call, call.request.path_params["id"])
        return await self._shown(call, target, await self._writer.held(target.consent_ref))

    async def renew(self, call: Call) -> Response:
        """`POST /v1/consents`."""
        body = await call.read(models.Renewal)
        target = await self._own(call, str(body.renews))
        frame = await self._views.frame()
        context = Context(call.org, self._clock(), self._zone, frame.base)
        given = to_consent(body.consent, context)
        old = await self._writer.live(target.consent_ref, body.expected_version, "expected-version")
        done = await self._writer.replace(old, given, org=call.org, key=_key(call))
        return await self._shown(call, target, await self._writer.held(target.consent_ref), done)

    async def withdraw(self, call: Call) -> Response:
        """`POST /v1/consents/{id}/withdrawals`."""
        target = await self._own(call, call.request.path_params["id"])
        body = await call.read(models.WithdrawalBody)
        items = tuple(
            (item.to_org, item.purpose, tuple(sorted(set(item.data_categories))))
            for item in body.items or ()
        )
        done = await self._writer.withdraw(
            target.consent_ref, by_org=call.org, key=_key(call), status=body.status, items=items
        )
        answer = {"effective_at": done.effective_at, "version": done.version}
        return native(answer, 201)

    async def _own(self, call: Call, name: str) -> store.Target:
        target = await self._views.named(call.org, "consent", name)
        if target.from_org != call.org:
            raise Refused.of("not-found", "resource")
        return target

    async def _shown(
        self,
        call: Call,
        target: store.Target,
        record: ConsentRecord,
        done: Withdrawn | None = None,
    ) -> Response:
        view = await self._views.view(call, target)
        case_id = alias(view.frame.alias_key, "case", record.case_ref, call.org)
        body = _view(record, view.id("consent"), str(case_id))
        if done is not None:
            body["effective_at"] = done.effective_at
        tag = f'W/"{record.version}"'
        if call.request.method == "GET" and call.request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return native(body, headers={"etag": tag})


def _view(record: ConsentRecord, consent_id: str, case_id: str) -> dict[str, Any]:
    names = set(models.ConsentView.model_fields) - {"id", "case", "items", "effective_at"}
    told = {name: getattr(record, name) for name in sorted(names)}
    items = [
        {name: getattr(rule, name) for name in models.ConsentItemView.model_fields}
        for rule in record.rules
    ]
    body = {"id": consent_id, "case": case_id, **told, "items": [_present(i) for i in items]}
    return _present(body)


def _present(body: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is absent; a consent with no items left says so."""
    return {name: value for name, value in body.items() if value is not None}


def _key(call: Call) -> str | None:
    given = call.request.headers.get("idempotency-key")
    return None if given is None else f"native {given}"
