"""`/v1/data-changes`: what a recipient read and was put right since, so that it reads it anew.

It guards that a recipient finds its own referrals alone, under ids and times of its own. Whether it
may read them now is decided when it does.
"""

from datetime import UTC
from typing import Final

from starlette.responses import Response

from services.gateway.fhir.paging import singles
from services.gateway.http import Call, native
from services.gateway.native import reading
from services.gateway.native.models import DataChange, DataChangePage
from services.gateway.views import Views
from services.kit.aliases import alias, own_instant
from services.kit.ports.delivery import Changed, ChangedQuery, Delivery

LIST: Final = "data-changes"


class Changes:
    """Handler of what was put right."""

    def __init__(self, views: Views, delivery: Delivery) -> None:
        self._views = views
        self._delivery = delivery

    async def list(self, call: Call) -> Response:
        """`GET /v1/data-changes`."""
        given = singles(call.request.query_params.multi_items())
        key = self._views.keys.cursor
        query = ChangedQuery(
            to_org=call.org,
            after=reading.open_cursor(LIST, given.get("cursor"), call.org, key),
            limit=reading.limit(given.get("limit")),
        )
        (found,) = await self._delivery.changed([query])
        following = None
        if len(found) == query.limit:
            last = (found[-1].at, found[-1].referral_ref)
            following = reading.make_cursor(LIST, last, call.org, key)
        shown = tuple(self._show(one, call.org) for one in found)
        page = DataChangePage(data_changes=shown, next=following)
        return native(page.model_dump_json(exclude_none=True).encode())

    def _show(self, one: Changed, org: str) -> DataChange:
        key = self._views.keys.alias
        own = alias(key, "task", one.referral_ref, org)
        at = own_instant(key, one.referral_ref, one.mark, org, one.at)
        return DataChange(referral=own, at=at.astimezone(UTC), data=f"/v1/referrals/{own}/data")
