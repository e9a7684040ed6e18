"""`POST /v1/validate`: what would become of a submission, told without keeping anything of it.

It guards that a dry run goes through the same reading, rules and consent decision as a submission
and that its report names fields and codes, never values.
"""

from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict
from starlette.responses import Response

from services.gateway.http import BODY_TYPES, FHIR_JSON, Call, Handler, native
from services.gateway.intake.formats import FHIR, FORMATS, NATIVE, Format
from services.gateway.intake.service import Examined, Intake
from services.gateway.operation import Operation, Parameter
from services.kit.errors import Language, Refused, language, native_fault, told


class Told(BaseModel):
    """One fault: a row of the refusal catalogue, the place in the submission, the text."""

    model_config = ConfigDict(frozen=True)

    code: str
    rule: str
    field: str
    text: str


class Would(BaseModel):
    """What the recipient would be asked, under which purpose and with which categories."""

    model_config = ConfigDict(frozen=True)

    purpose: str
    categories: tuple[str, ...]
    response_due: AwareDatetime


class Report(BaseModel):
    """The report of a dry run; `would` only where it is valid."""

    model_config = ConfigDict(frozen=True)

    valid: bool
    faults: tuple[Told, ...]
    dropped: tuple[str, ...]
    would: Would | None


VALIDATE: Final = Operation(
    method="POST",
    path="/v1/validate",
    summary="Dry run of a submission in any format: all its faults, or what it would do",
    tag="referrals",
    scopes=("Patient.c", "ServiceRequest.c", "Consent.c", "Task.c"),
    query=(
        Parameter(
            "format",
            "How the body is to be read; else by its content type",
            {"type": "string", "enum": sorted(FORMATS)},
        ),
    ),
    response=Report,
)


def validate_handler(intake: Intake) -> Handler:
    """The handler of the dry run."""

    async def post(call: Call) -> Response:
        form = _format(call)
        found = await intake.examine(call.caller.partner, await call.body(BODY_TYPES), form)
        lang = language(call.request.headers.get("accept-language"))
        report = _report(found, form, lang)
        return native(report.model_dump_json().encode(), 200, {"content-language": lang})

    return post


def _format(call: Call) -> Format:
    named = call.request.query_params.get("format")
    if named is not None:
        found = FORMATS.get(named)
        if found is None:
            raise Refused.of("not-supported", "parameter")
        return found
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return FHIR if kind == FHIR_JSON else NATIVE


def _report(found: Examined, form: Format, lang: Language) -> Report:
    faults = found.faults if form is FHIR else [native_fault(one) for one in found.faults]
    would = None
    if found.plan is not None:
        would = Would(
            purpose=found.plan.need.purpose,
            categories=found.categories,
            response_due=found.plan.response_due,
        )
    return Report(
        valid=not faults,
        faults=tuple(Told(**one) for one in told(faults, lang)),
        dropped=found.dropped,
        would=would,
    )
