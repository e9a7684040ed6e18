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
from schemas.codes import is_code
from services.gateway.consents import models
from services.gateway.consents.domain import Part
from services.gateway.consents.writing import ENDS, ConsentWriter
from services.gateway.fhir import store
from services.gateway.http import Call, native
from services.gateway.native import reading
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
        document = await reading.members(call, models.RenewalBody.model_fields)
        target = await self._own(call, reading.text(document, "renews"))
        expected = reading.number(document, "expected_version")
        if "consent" not in document:
            raise Refused.of("required", "element", "consent")
        frame = await self._views.frame()
        context = Context(call.org, self._clock(), self._zone, frame.base)
        given = to_consent(document["consent"], context)
        old = await self._writer.live(target.consent_ref, expected, "expected-version")
        done = await self._writer.replace(old, given, org=call.org, key=_key(call))
        return await self._shown(call, target, await self._writer.held(target.consent_ref), done)

    async def withdraw(self, call: Call) -> Response:
        """`POST /v1/consents/{id}/withdrawals`."""
        target = await self._own(call, call.request.path_params["id"])
        document = await reading.members(call, models.WithdrawalBody.model_fields)
        status = document.get("status", "withdrawn")
        if status not in ENDS:
            raise Refused.of("code-invalid", "not-in-list", "status")
        items = read_items(document)
        done = await self._writer.withdraw(
            target.consent_ref, by_org=call.org, key=_key(call), status=status, items=items
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


def read_items(document: Mapping[str, Any]) -> tuple[Part, ...]:
    """The parts that are taken back; none: the whole."""
    if "items" not in document:
        return ()
    items = document["items"]
    if type(items) is not list:
        raise Refused.of("structure", "wrong-type", "items")
    if not items:
        raise Refused.of("structure", "empty-value", "items")
    return tuple(_item(one, f"items[{place}]") for place, one in enumerate(items))


def _item(item: Any, at: str) -> Part:
    if type(item) is not dict:
        raise Refused.of("structure", "wrong-type", at)
    if set(item) - set(models.WithdrawalItem.model_fields):
        raise Refused.of("structure", "unknown-element", at)
    for name in models.WithdrawalItem.model_fields:
        if name not in item:
            raise Refused.of("required", "element", f"{at}.{name}")
    org, purpose, categories = item["to_org"], item["purpose"], item["data_categories"]
    if type(org) is not str:
        raise Refused.of("structure", "wrong-type", f"{at}.to_org")
    if type(purpose) is not str or not is_code("purpose", purpose):
        raise Refused.of("code-invalid", "not-in-list", f"{at}.purpose")
    if type(categories) is not list or not categories:
        raise Refused.of("structure", "wrong-type", f"{at}.data_categories")
    for place, code in enumerate(categories):
        if type(code) is not str or not is_code("data_category", code):
            raise Refused.of("code-invalid", "not-in-list", f"{at}.data_categories[{place}]")
    return org, purpose, tuple(sorted(set(categories)))


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
