"""`POST /fhir`: a transaction Bundle with one referral."""

from starlette.responses import Response

from services.gateway.fhir import answering
from services.gateway.http import Call, Handler, fhir
from services.gateway.intake.formats import FHIR
from services.gateway.intake.service import Intake

WRITTEN = ("Patient", "ServiceRequest", "Consent", "Task")


def intake_handler(intake: Intake) -> Handler:
    """The handler of the route."""

    async def post(call: Call) -> Response:
        answering.refuse_conditional_create(call)
        raw = await call.body()
        key = call.request.headers.get("idempotency-key")
        return fhir(await intake.submit(call.caller.partner, raw, key, FHIR))

    return post
