"""`GET /v1/referrals/{id}/data`: what the recipient may know of the person, decided at this read.

It guards that content comes from delivery alone (decided now, leaf first, exactly the grant), and
that the sender, who has it, gets none here.
"""

from uuid import UUID

import orjson
from starlette.responses import Response

from services.gateway.http import Call, native
from services.gateway.views import Views
from services.kit.errors import Refused
from services.kit.ports.delivery import Delivery, ReadRequest


class Data:
    """Handler of released content."""

    def __init__(self, views: Views, delivery: Delivery) -> None:
        self._views = views
        self._delivery = delivery

    async def read(self, call: Call) -> Response:
        """`GET /v1/referrals/{id}/data`."""
        target = await self._views.target(call, "task")
        if call.org != target.to_org:
            raise Refused.of("not-found", "resource")
        asked = ReadRequest(referral_ref=target.referral_ref, org=call.org, resource="Native")
        (result,) = await self._delivery.read([asked])
        if result.resource is None:
            refuse(result.rule)
            raise AssertionError
        patient = UUID(orjson.loads(result.resource)["person"]["id"])
        await self._views.learn(call.org, patient, target.referral_ref)
        return native(result.resource)


def refuse(rule: str) -> None:
    """Say why nothing was released."""
    if rule == "not-found":
        raise Refused.of("not-found", "resource")
    if rule == "withdrawn":
        raise Refused.of("gone", "withdrawn")
    if rule == "unavailable":
        raise Refused.of("transient", "unavailable", retry_after=1)
    raise Refused.of("suppressed", "consent")
