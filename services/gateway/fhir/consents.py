"""Consent by FHIR: taking it back, wholly or in part, and giving more (`wire.md` §7).

It guards that taking back never fails for a formality (no If-Match is asked for), that a new one
passes the same table as the first, and that only the sender changes it. What is done is
`consents.writing`'s, for every surface.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from connectors.fhir_r4.mapping import Context
from connectors.sdk.strict import parse_strict
from services.gateway.consents.writing import ConsentWriter
from services.gateway.fhir import render, store, writing
from services.gateway.fhir.reads import own_consent
from services.gateway.http import PATCH_TYPES, Call
from services.gateway.intake.renewal import to_renewed_consent
from services.gateway.views import Views
from services.kit.errors import Refused
from services.kit.ports.consent import Consent, Withdrawn

EFFECTIVE: Final = "cauce-effective-at"


class Consents:
    """Handlers of writes to `/fhir/Consent/{id}`."""

    def __init__(
        self,
        views: Views,
        consent: Consent,
        writer: ConsentWriter,
        *,
        time_zone: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._views = views
        self._consent = consent
        self._writer = writer
        self._zone = time_zone
        self._clock = clock

    async def patch(self, call: Call) -> Response:
        """`PATCH`: set to inactive, and nothing else."""
        target = await self._target(call)
        writing.patch_withdraws(await call.body(PATCH_TYPES))
        return await self._withdraw(call, target)

    async def put(self, call: Call) -> Response:
        """`PUT`: inactive, or a new version with less or with more."""
        target = await self._target(call)
        document = parse_strict(await call.body())
        shown = {"resourceType": "Consent", "id": call.request.path_params["id"]}
        for element, value in shown.items():
            if document.get(element) != value:
                raise Refused.of("value-invalid", "fixed-value", f"Consent.{element}")
        if document.get("status") == "inactive":
            return await self._withdraw(call, target)
        return await self._new_version(call, target, document)

    async def _target(self, call: Call) -> store.Target:
        target = await self._views.target(call, "consent")
        if target.from_org != call.org:
            raise Refused.of("forbidden", "field", "Consent")
        return target

    async def _withdraw(self, call: Call, target: store.Target) -> Response:
        done = await self._writer.withdraw(target.consent_ref, by_org=call.org, key=_key(call))
        return await self._shown(call, target, done)

    async def _shown(
        self, call: Call, target: store.Target, done: Withdrawn | None = None
    ) -> Response:
        view = await self._views.view(call, target)
        answer = await own_consent(call, self._consent, view, target.consent_ref)
        if done is not None and done.effective_at is not None:
            answer.headers[EFFECTIVE] = render.instant(done.effective_at)
        return answer

    async def _new_version(
        self, call: Call, target: store.Target, document: dict[str, Any]
    ) -> Response:
        version = writing.expected_version(call.request.headers.get("if-match"))
        old = await self._writer.live(target.consent_ref, version, "version")
        frame = await self._views.frame()
        view = await self._views.view(call, target)
        context = Context(call.org, self._clock(), self._zone, frame.base)
        given = to_renewed_consent(document, context, view.id("patient"))
        done = await self._writer.replace(old, given, org=call.org, key=_key(call))
        return await self._shown(call, target, done)


def _key(call: Call) -> str | None:
    return call.request.headers.get("idempotency-key")
