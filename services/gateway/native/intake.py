"""`POST /v1/referrals`, the dry run of any format, and the code lists.

It guards that the native surface is another door to the same intake: nothing is judged here.
"""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response
from starlette.routing import Route

from connectors.sdk.types import Submission
from services.gateway.http import JSON, Call, Handler, Surface, native
from services.gateway.intake.formats import NATIVE
from services.gateway.intake.service import Intake
from services.gateway.native.codelists import codelist_routes
from services.gateway.native.validate import VALIDATE, validate_handler
from services.gateway.operation import IDEMPOTENCY_KEY, Operation
from services.gateway.refusals import submission

SUBMIT_SCOPES: Final = ("Patient.c", "ServiceRequest.c", "Consent.c", "Task.c")


class Own(BaseModel):
    """Something under the caller's own id."""

    model_config = ConfigDict(frozen=True)

    id: str


class OwnReferral(Own):
    """A referral under the caller's own id, and where it is read."""

    href: str
    status: str


class Accepted(BaseModel):
    """Ids of what was accepted; `dropped` names what was not kept."""

    model_config = ConfigDict(frozen=True)

    referral: OwnReferral
    case: Own
    consent: Own
    dropped: tuple[str, ...] = ()


SUBMIT: Final = Operation(
    method="POST",
    path="/v1/referrals",
    summary="One referral: case, person, consent and request",
    tag="referrals",
    scopes=SUBMIT_SCOPES,
    request=Submission,
    response=Accepted,
    status=201,
    headers=(IDEMPOTENCY_KEY,),
    refusals=submission("native"),
)


def submit_handler(intake: Intake) -> Handler:
    """The handler of the native submission; a repeat gets the stored answer."""

    async def post(call: Call) -> Response:
        raw = await call.body(frozenset({JSON}))
        key = call.request.headers.get("idempotency-key")
        answer: Any = await intake.submit(call.caller.partner, raw, key, NATIVE)
        return native(answer, 201)

    return post


def intake_routes(surface: Surface, intake: Intake) -> list[Route]:
    """The routes of this part."""
    return [
        surface.route(SUBMIT, submit_handler(intake)),
        surface.route(VALIDATE, validate_handler(intake)),
        *codelist_routes(surface),
    ]
