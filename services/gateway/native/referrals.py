"""`GET /v1/referrals`: the list and one, as each of its parties may see it.

It guards that a recipient reads neither the sender's case nor what the referral is for before the
read of its data is decided, and that its times are its own (decision 0009).
"""

from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from starlette.responses import Response

from schemas.codes import code_lists
from services.gateway.fhir import store
from services.gateway.fhir.paging import singles
from services.gateway.fhir.render import View
from services.gateway.http import Call, native
from services.gateway.native import reading
from services.gateway.native.models import ErasureSummary, ReferralPage, ReferralView
from services.gateway.views import Views
from services.kit.aliases import alias
from services.kit.errors import Refused
from services.kit.ports.delivery import Delivery, ErasureQuery, ErasureState
from services.kit.ports.referral import Referral, ReferralQuery

SIDES: Final[Mapping[str, str]] = {"sent": "from", "received": "to"}
LIST: Final = "referrals"


class Referrals:
    """Handlers of reading referrals."""

    def __init__(self, views: Views, referral: Referral, delivery: Delivery) -> None:
        self._views = views
        self._referral = referral
        self._delivery = delivery

    async def list(self, call: Call) -> Response:
        """`GET /v1/referrals`."""
        query = read_query(singles(call.request.query_params.multi_items()), call, self._views)
        (states,) = await self._referral.find([query])
        async with self._views.pool.acquire() as conn:
            subjects = await store.subjects(conn, [s.referral_ref for s in states])
        frame = await self._views.frame()
        shown = tuple(
            show(View(frame=frame, org=call.org, state=s, subject_ref=subjects[s.referral_ref]))
            for s in states
            if s.referral_ref in subjects
        )
        following = None
        if len(states) == query.limit:
            last = (states[-1].updated_at, states[-1].referral_ref)
            following = reading.make_cursor(LIST, last, call.org, self._views.keys.cursor)
        return native(_json(ReferralPage(referrals=shown, next=following)))

    async def one(self, call: Call) -> Response:
        """`GET /v1/referrals/{id}`."""
        return await self.answer(call, await self._views.target(call, "task"))

    async def answer(self, call: Call, target: store.Target) -> Response:
        """The referral as it stands now."""
        view = await self._views.view(call, target)
        asked = ErasureQuery(referral_ref=target.referral_ref, to_org=target.to_org)
        (requests,) = await self._delivery.erasures([asked])
        body = _json(show(view, requests))
        tag = reading.tag_of(body)
        if call.request.method in ("GET", "HEAD") and reading.has_it(call, tag):
            headers = {"etag": tag, "cache-control": "no-store"}
            return Response(status_code=304, headers=headers)
        return native(body, 200, {"etag": tag})


def _json(answer: Any) -> bytes:
    return bytes(answer.model_dump_json(exclude_none=True).encode())


def read_query(given: Mapping[str, str], call: Call, views: Views) -> ReferralQuery:
    """The query in a list's parameters; Refused by `parameter` for a value not understood."""
    side = given.get("side")
    if side is not None and side not in SIDES:
        raise Refused.of("not-supported", "parameter")
    return ReferralQuery(
        org=call.org,
        side=SIDES[side] if side is not None else None,
        statuses=reading.codes(given.get("status"), code_lists()["referral_status"].by_code),
        updated_from=reading.instant(given.get("updated_since")),
        after=reading.open_cursor(LIST, given.get("cursor"), call.org, views.keys.cursor),
        limit=reading.limit(given.get("limit")),
    )


def show(view: View, requests: list[ErasureState] | None = None) -> ReferralView:
    """The referral for one of its parties."""
    state, zone = view.state, view.frame.zone
    href = f"/v1/referrals/{view.id('task')}"
    mine: dict[str, Any] = {"data": f"{href}/data", "created": _day(state.created_at, zone)}
    if view.is_source:
        mine = {
            "case": alias(view.frame.alias_key, "case", state.case_ref, view.org),
            "purpose": state.purpose or None,
            "service_type": state.service_type,
            "directory_entry": _entry(view),
            "special_requirements": state.special_requirements or None,
            "data_categories": state.data_categories or None,
            "created": state.created_at.astimezone(UTC),
        }
    due = state.response_due
    if due is not None:
        mine["response_due"] = due.astimezone(UTC) if view.is_source else _day(due, zone)
    return ReferralView(
        id=view.id("task"),
        side="sent" if view.is_source else "received",
        consent=view.id("consent"),
        status=state.status,
        version=state.version,
        from_org=view.source,
        to_org=state.to_org,
        priority=state.priority,
        reason_code=state.reason_code,
        outcome=state.outcome,
        appointment_outcome=state.appointment_outcome,
        updated_at=view.changed_at,
        erasure=_erasure(requests or []),
        timeline=f"{href}/timeline",
        **mine,
    )


def _entry(view: View) -> str | None:
    """The service that was chosen, by its name in the directory."""
    recipient = view.frame.partner(view.state.to_org)
    services = recipient.services if recipient is not None else ()
    chosen = view.state.directory_entry
    return next((one.id for one in services if str(one.entry_ref) == chosen), None)


def _day(at: Any, zone: Any) -> Any:
    return at.astimezone(zone).date()


def _erasure(requests: list[ErasureState]) -> ErasureSummary | None:
    """The request that is not answered yet, else the last one."""
    if not requests:
        return None
    waiting = [one for one in requests if one.state != "acknowledged"]
    shown = (waiting or requests)[-1]
    return ErasureSummary(state=shown.state, effect=shown.effect)
