"""Consent: taking it back, wholly or in part, and giving more (`wire.md` §7).

It guards that taking back never fails for a formality (no If-Match is asked for), that a new one
passes the same table as the first, and that only the sender changes it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from starlette.responses import Response

from connectors.fhir_r4.mapping import Context
from connectors.sdk.strict import parse_strict
from services.gateway.fhir import render, store, writing
from services.gateway.fhir.changes import Part, compare
from services.gateway.fhir.reads import own_consent
from services.gateway.http import PATCH_TYPES, Call
from services.gateway.intake.keys import Keys
from services.gateway.intake.records import CONFIDENTIALITY, consent_record
from services.gateway.intake.renewal import to_renewed_consent
from services.gateway.views import Views
from services.kit.bases import record_fault
from services.kit.crypto import hmac_sha256, uuid4_from
from services.kit.doors import (
    ConsentChangedError,
    ConsentNotStorableError,
    Given,
    consent_hold,
)
from services.kit.doors import (
    consent_record as put_consents,
)
from services.kit.errors import Refused
from services.kit.partners import Partners
from services.kit.ports.consent import Consent, ConsentRecord, Withdrawal, Withdrawn

EFFECTIVE: Final = "cauce-effective-at"
TRIES: Final = 3
LIVE: Final = frozenset({"given", "renewed"})


class Consents:
    """Handlers of writes to `/fhir/Consent/{id}`."""

    def __init__(
        self,
        views: Views,
        consent: Consent,
        partners: Partners,
        keys: Keys,
        *,
        cell: str,
        time_zone: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._views = views
        self._consent = consent
        self._partners = partners
        self._keys = keys
        self._cell = cell
        self._zone = time_zone
        self._clock = clock

    async def patch(self, call: Call) -> Response:
        """`PATCH`: set to inactive, and nothing else."""
        target = await self._target(call)
        writing.patch_withdraws(await call.body(PATCH_TYPES))
        return await self._withdraw(call, target, ())

    async def put(self, call: Call) -> Response:
        """`PUT`: inactive, or a new version with less or with more."""
        target = await self._target(call)
        document = parse_strict(await call.body())
        shown = {"resourceType": "Consent", "id": call.request.path_params["id"]}
        for element, value in shown.items():
            if document.get(element) != value:
                raise Refused.of("value-invalid", "fixed-value", f"Consent.{element}")
        if document.get("status") == "inactive":
            return await self._withdraw(call, target, ())
        return await self._new_version(call, target, document)

    async def _target(self, call: Call) -> store.Target:
        target = await self._views.target(call, "consent")
        if target.from_org != call.org:
            raise Refused.of("forbidden", "field", "Consent")
        return target

    async def _withdraw(
        self, call: Call, target: store.Target, items: tuple[Part, ...]
    ) -> Response:
        key = call.request.headers.get("idempotency-key") or str(uuid4())
        parts = (b"withdraw", call.org.encode(), target.consent_ref.bytes, key.encode())
        done = (
            await self._consent.withdraw(
                [
                    Withdrawal(
                        command_id=uuid4_from(hmac_sha256(self._keys.index, *parts)),
                        consent_ref=target.consent_ref,
                        by_org=call.org,
                        status="withdrawn",
                        items=items,
                    )
                ]
            )
        )[0]
        if done.already:
            raise Refused.of("already-inactive", "consent")
        if done.rule is not None:
            raise Refused.of("not-found", "resource")
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
        old = (await self._consent.read([target.consent_ref]))[0]
        if old is None:
            raise Refused.of("not-found", "resource")
        if old.status not in LIVE:
            raise Refused.of("already-inactive", "consent")
        if old.version != version:
            raise Refused.of("conflict", "version")
        new = await self._read_new(call, target, document, old)
        changes = compare(old.rules, new.rules)
        if changes.removed and not changes.widened and not changes.other:
            return await self._withdraw(call, target, changes.removed)
        if not changes.widened and not changes.other and not changes.removed:
            return await self._shown(call, target)
        if changes.removed or new.given_at <= old.given_at:
            raise Refused.of("consent-widening", "new-consent")
        await self._renew(new)
        return await self._shown(call, target)

    async def _read_new(
        self, call: Call, target: store.Target, document: dict[str, Any], old: ConsentRecord
    ) -> ConsentRecord:
        now = self._clock()
        frame = await self._views.frame()
        context = Context(call.org, now, self._zone, frame.base)
        view = await self._views.view(call, target)
        given = to_renewed_consent(document, context, view.id("patient"))
        known = await self._partners.all()
        if {item.to_org for item in given.items} - {None, self._cell} - known.keys():
            raise Refused.of("consent-actor", "unknown-organization")
        made = consent_record(
            given,
            keys=self._keys,
            org=call.org,
            consent_ref=old.consent_ref,
            case_ref=old.case_ref,
            now=now,
        )
        return _renewed(made, old)

    async def _renew(self, new: ConsentRecord) -> None:
        """Store it on the version the case has now; somebody faster means reading that again."""
        if record_fault(new) is not None:
            raise Refused.of("consent-basis", "basis")
        for _ in range(TRIES):
            expected = await self._case_version(new.case_ref)
            given = Given(
                record=new,
                expected=expected,
                correlation_id=uuid4(),
                confidentiality=CONFIDENTIALITY,
                now=self._clock(),
            )
            try:
                async with self._views.pool.acquire() as conn, conn.transaction():
                    await put_consents(conn, [given])
            except ConsentChangedError:
                continue
            except ConsentNotStorableError:
                raise Refused.of("consent-widening", "new-consent") from None
            return
        raise Refused.of("transient", "unavailable", retry_after=1)

    async def _case_version(self, case_ref: UUID) -> int:
        async with self._views.pool.acquire() as conn, conn.transaction():
            return (await consent_hold(conn, [case_ref]))[case_ref].version


def _renewed(made: ConsentRecord, old: ConsentRecord) -> ConsentRecord:
    """The new version: whoever gave it before gave it again."""
    fields = {name: getattr(made, name) for name in made.__dataclass_fields__}
    giver = old.giver if made.giver in ("self", "other") else made.giver
    return ConsentRecord(**{**fields, "status": "renewed", "giver": giver})
