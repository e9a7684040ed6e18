"""The directory on the admin port: for the people who look for a service, and after stale ones."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.routing import Route

from connectors.sdk.faults import Fault, Faults
from services.gateway.admin.faults import FieldFault
from services.gateway.admin.http import AdminRefused, Desk, json_body, text_of
from services.gateway.bodies import read
from services.gateway.directory.api import read_filter
from services.gateway.directory.domain import Filter, Scene, listed, matches, propose
from services.gateway.directory.models import NeedsBody
from services.gateway.directory.proposals import shown
from services.gateway.directory.render import native
from services.gateway.directory.rules import needs_faults
from services.kit.entry import Limits
from services.kit.errors import Refused, language
from services.kit.partners import Partners
from services.kit.staff import StaffMember


class DirectoryDesk:
    """Handlers of `/admin/directory`."""

    def __init__(
        self, partners: Partners, limits: Limits, zone: ZoneInfo, clock: Callable[[], datetime]
    ) -> None:
        self._partners = partners
        self._limits = limits
        self._zone = zone
        self._clock = clock

    async def every(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """Services, by the filters of the native list."""
        try:
            wanted = read_filter(dict(request.query_params))
        except (Refused, TypeError):
            raise AdminRefused(422, "request-faulty", [FieldFault("query", "parameter")]) from None
        return {"services": await self._listed(wanted)}

    async def _listed(self, wanted: Filter) -> list[dict[str, Any]]:
        now = self._clock()
        return [
            native(entry, now, self._limits)
            for entry in listed(await self._partners.all())
            if matches(entry, wanted, now, self._limits)
        ]

    async def show(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """One service."""
        entry = (await self._partners.entries()).get(request.path_params["id"])
        if entry is None:
            raise AdminRefused(404, "service-unknown")
        return native(entry, self._clock(), self._limits)

    async def propose(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """Proposals for `{from_org, needs}`, as that organisation would get them."""
        body = await json_body(request)
        source = await self._partners.get(text_of(body, "from_org"))
        if source is None:
            raise AdminRefused(404, "partner-unknown")
        scene = Scene(
            source=source,
            partners=await self._partners.all(),
            now=self._clock(),
            zone=self._zone,
            limits=self._limits,
        )
        lang = language(request.headers.get("accept-language"))
        try:
            needs = read(NeedsBody, body.get("needs") or {})
            _refuse(needs_faults(needs))
            return shown(propose(needs.needs(), scene), scene, lang)
        except Faults as faults:
            raise _said(faults.faults) from None
        except Refused as refused:
            raise _said(refused.faults) from None


def _refuse(faults: Iterable[Fault]) -> None:
    found = list(faults)
    if found:
        raise Faults(found)


def _said(faults: Iterable[Fault]) -> AdminRefused:
    return AdminRefused(422, "request-faulty", [FieldFault(f.field, f.rule) for f in faults])


def directory_admin(desk: Desk, of: DirectoryDesk) -> list[Route]:
    """Routes under /admin/directory."""
    return [
        desk.route("GET", "/admin/directory", "partner.read", of.every),
        desk.route("POST", "/admin/directory/proposals", "partner.read", of.propose),
        desk.route("GET", "/admin/directory/{id}", "partner.read", of.show),
    ]
