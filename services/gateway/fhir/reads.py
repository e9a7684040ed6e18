"""ServiceRequest, Patient and Consent by id, and the directory.

It guards that a recipient's content comes from delivery alone (decided now, leaf first) and that a
sender gets its own view only.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final
from uuid import UUID

import orjson
from starlette.responses import Response

from schemas.codes import Lang
from services.gateway.fhir import answering, paging, render, store
from services.gateway.http import Call, Handler, fhir
from services.gateway.views import Views, lang_of
from services.kit.errors import Refused
from services.kit.partners import Entry, Partner, Partners
from services.kit.ports.consent import Consent
from services.kit.ports.delivery import Delivery, ReadRequest

KINDS: Final = {
    "ServiceRequest": "service_request",
    "Patient": "patient",
    "Consent": "consent",
}


class Reads:
    """Handlers of content by id."""

    def __init__(self, views: Views, consent: Consent, delivery: Delivery) -> None:
        self._views = views
        self._consent = consent
        self._delivery = delivery

    def of(self, resource: str) -> Handler:
        """`GET /fhir/{resource}/{id}`."""

        async def read(call: Call) -> Response:
            target = await self._views.target(call, KINDS[resource])
            if call.org == target.from_org:
                return await self._own(call, resource, target)
            return await self._released(call, resource, target)

        return read

    async def _own(self, call: Call, resource: str, target: store.Target) -> Response:
        if resource == "Patient":
            return answering.resource(call, render.own_patient(call.request.path_params["id"]))
        view = await self._views.view(call, target)
        if resource == "ServiceRequest":
            return answering.resource(call, render.own_service_request(view, lang_of(call)))
        return await own_consent(call, self._consent, view, target.consent_ref)

    async def _released(self, call: Call, resource: str, target: store.Target) -> Response:
        asked = ReadRequest(referral_ref=target.referral_ref, org=call.org, resource=resource)
        result = (await self._delivery.read([asked]))[0]
        if result.resource is None:
            if result.rule == "not-found":
                raise Refused.of("not-found", "resource")
            if result.rule == "unavailable":
                raise Refused.of("transient", "unavailable", retry_after=1)
            raise Refused.of("suppressed", "consent")
        if resource == "ServiceRequest":
            await self._learn_patient(call.org, result.resource, target.referral_ref)
        return fhir(result.resource)

    async def _learn_patient(self, org: str, resource: bytes, referral_ref: UUID) -> None:
        """The recipient was shown the person's id."""
        subject = orjson.loads(resource).get("subject", {}).get("reference", "")
        kind, _, name = subject.partition("/")
        if kind == "Patient":
            await self._views.learn(org, UUID(name), referral_ref)


async def own_consent(
    call: Call, consent: Consent, view: render.View, consent_ref: UUID
) -> Response:
    """The sender's view of a consent with its version."""
    record = (await consent.read([consent_ref]))[0]
    if record is None:
        raise Refused.of("not-found", "resource")
    ids = {"consent": view.id("consent"), "patient": view.id("patient")}
    return answering.resource(call, render.own_consent(view.frame, record, ids))


class Directory:
    """Organizations and their services, for every partner."""

    def __init__(
        self,
        partners: Partners,
        canonical_base: str,
        public_url: str,
        service: Callable[[Entry, Lang], render.Resource],
        cursor_key: bytes,
    ) -> None:
        """`service` shows an entry as HealthcareService, as it stands now."""
        self._partners = partners
        self._base = canonical_base
        self._url = f"{public_url}/fhir"
        self._service = service
        self._cursor_key = cursor_key

    async def organization(self, call: Call) -> Response:
        """`GET /fhir/Organization/{id}`."""
        partner = (await self._listed()).get(call.request.path_params["id"])
        if partner is None:
            raise Refused.of("not-found", "resource")
        return answering.resource(call, render.organization(self._base, partner, lang_of(call)))

    async def organizations(self, call: Call) -> Response:
        """`GET /fhir/Organization`."""
        partners = (await self._listed()).values()
        found = [render.organization(self._base, p, lang_of(call)) for p in partners]
        return self._page(call, "Organization", found, ())

    async def service(self, call: Call) -> Response:
        """`GET /fhir/HealthcareService/{id}`."""
        for partner in (await self._listed()).values():
            entry = partner.entry(call.request.path_params["id"])
            if entry is not None:
                return answering.resource(call, self._service(entry, lang_of(call)))
        raise Refused.of("not-found", "resource")

    async def services(self, call: Call) -> Response:
        """`GET /fhir/HealthcareService`, by `organization` where wanted."""
        of = call.request.query_params.get("organization", "").removeprefix("Organization/")
        found = [
            self._service(entry, lang_of(call))
            for partner in (await self._listed()).values()
            if of in ("", partner.org)
            for entry in partner.services
        ]
        return self._page(call, "HealthcareService", found, await self._listed())

    def _page(
        self,
        call: Call,
        kind: str,
        found: Sequence[render.Resource],
        known: Collection[str],
    ) -> Response:
        """The resources of one page, by id; `known` are organisations that a link may name."""
        items = paging.without(
            call.request.query_params.multi_items(), ("organization",), known.__contains__
        )
        given = paging.singles(items)
        limit, last = paging.count(given.get("_count")), ""
        if "_cursor" in given:
            last = str(paging.unseal(given["_cursor"], call.org, self._cursor_key)[0])
        rest = sorted((one for one in found if one["id"] > last), key=lambda one: one["id"])
        page, url = rest[:limit], f"{self._url}/{kind}"
        cursor = None
        if len(rest) > limit:
            cursor = paging.seal([page[-1]["id"]], call.org, self._cursor_key)
        following = paging.next_link(url, items, cursor)
        return fhir(render.searchset(page, paging.link(url, items), following))

    async def _listed(self) -> dict[str, Partner]:
        """Active partners that send or receive referrals."""
        known = await self._partners.all()
        return {
            org: partner
            for org, partner in known.items()
            if partner.status == "active" and partner.roles & {"source", "recipient"}
        }
