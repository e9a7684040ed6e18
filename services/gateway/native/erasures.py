"""`/v1/erasure-requests`: what a recipient is asked to delete, and what it says it did.

It guards that a recipient finds its own requests alone, under ids and times of its own, and that
an answer counts once.
"""

from datetime import UTC
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from starlette.responses import Response

from services.gateway.fhir.paging import singles
from services.gateway.http import Call, native
from services.gateway.native import reading
from services.gateway.native.models import EffectBody, ErasurePage, ErasureRequest
from services.gateway.views import Views
from services.kit.aliases import alias, own_instant
from services.kit.errors import Refused
from services.kit.ports.delivery import Delivery, EffectReport, ErasureQuery, ErasureState

LIST: Final = "erasures"
OPEN: Final = ("requested", "sent", "overdue")
STATES: Final = (*OPEN, "acknowledged")


class Erasures:
    """Handlers of requests to erase."""

    def __init__(self, views: Views, delivery: Delivery, zone: ZoneInfo) -> None:
        self._views = views
        self._delivery = delivery
        self._zone = zone

    async def list(self, call: Call) -> Response:
        """`GET /v1/erasure-requests`: those not answered yet, unless `status` says otherwise."""
        given = singles(call.request.query_params.multi_items())
        key = self._views.keys.cursor
        query = ErasureQuery(
            to_org=call.org,
            states=reading.codes(given.get("status"), STATES) or OPEN,
            after=reading.open_cursor(LIST, given.get("cursor"), call.org, key),
            limit=reading.limit(given.get("limit")),
        )
        (found,) = await self._delivery.erasures([query])
        following = None
        if len(found) == query.limit:
            last = (found[-1].requested_at, found[-1].place)
            following = reading.make_cursor(LIST, last, call.org, key)
        shown = tuple(self._show(one) for one in found)
        page = ErasurePage(erasure_requests=shown, next=following)
        return native(page.model_dump_json(exclude_none=True).encode())

    async def report(self, call: Call) -> Response:
        """`POST /v1/erasure-requests/{id}/effect`."""
        document = await reading.members(call, EffectBody.model_fields)
        effect = reading.text(document, "effect")
        shown = await self.effect(call.org, call.request.path_params["id"], effect)
        return native(self._show(shown).model_dump_json(exclude_none=True).encode())

    async def effect(self, org: str, name: str, effect: str) -> ErasureState:
        """The request after what its recipient says it did; Refused where it cannot be said."""
        try:
            request_id = UUID(name)
        except ValueError:
            raise Refused.of("not-found", "resource") from None
        said = EffectReport(request_id=request_id, to_org=org, effect=effect)
        (result,) = await self._delivery.report_effects([said])
        if result.rule == "effect":
            raise Refused.of("code-invalid", "not-in-list", "effect")
        if result.rule == "other-effect":
            raise Refused.of("conflict", "other-effect")
        if result.request is None:
            raise Refused.of("not-found", "resource")
        return result.request

    def _show(self, one: ErasureState) -> ErasureRequest:
        """A request at its recipient, its instant shifted as those of the referral are."""
        key = self._views.keys.alias
        at = own_instant(key, one.request_id, 0, one.to_org, one.requested_at)
        return ErasureRequest(
            id=one.request_id,
            referral=alias(key, "task", one.referral_ref, one.to_org),
            state=one.state,
            effect=one.effect,
            data_categories=one.data_categories,
            requested_at=at.astimezone(UTC),
            due=one.due_at.astimezone(self._zone).date(),
        )
