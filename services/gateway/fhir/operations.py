"""The operations of the FHIR surface (`wire.md` §7), as the router and the documents know them."""

from typing import Final

from services.gateway.operation import Operation, Parameter

TAG: Final = "fhir"
COUNT: Final = Parameter("_count", "Most entries of one page", {"type": "integer", "minimum": 1})
CURSOR: Final = Parameter("_cursor", "From the link `next` of the page before")

METADATA: Final = Operation(
    method="GET",
    path="/fhir/metadata",
    summary="What this server does",
    tag=TAG,
    response="CapabilityStatement",
    for_anyone=True,
)
SMART: Final = Operation(
    method="GET",
    path="/fhir/.well-known/smart-configuration",
    summary="Where and how to get a token (SMART Backend Services)",
    tag=TAG,
    for_anyone=True,
)
TOKEN: Final = Operation(
    method="POST",
    path="/oauth/token",
    summary="An access token for a signed client assertion",
    tag="access",
    form=(
        Parameter("grant_type", "`client_credentials`", required=True),
        Parameter("client_assertion_type", "The URN of a JWT bearer", required=True),
        Parameter("client_assertion", "A JWT signed with the partner's key", required=True),
        Parameter("scope", "Scopes, space between them; every one of the roles when absent"),
    ),
    for_anyone=True,
)


def submit(path: str) -> Operation:
    """A transaction with one referral."""
    return Operation(
        method="POST",
        path=path,
        summary="One referral: a transaction of Patient, ServiceRequest, Consent and Task",
        tag=TAG,
        scopes=("Patient.c", "ServiceRequest.c", "Consent.c", "Task.c"),
        request="Bundle",
        response="Bundle",
    )


TASK_PARAMETERS: Final = (
    Parameter("_lastUpdated", "When it last changed, with a prefix; twice for a range"),
    Parameter("status", "One or several Task statuses"),
    Parameter("owner", "The recipient's Organization"),
    Parameter("requester", "The sender's Organization"),
    COUNT,
    CURSOR,
)
TASK_SEARCH: Final = Operation(
    method="GET",
    path="/fhir/Task",
    summary="The caller's own referrals, oldest change first",
    tag=TAG,
    scopes=("Task.s",),
    query=TASK_PARAMETERS,
    response="Bundle",
)
TASK_SEARCH_BY_FORM: Final = Operation(
    method="POST",
    path="/fhir/Task/_search",
    summary="The same search with its parameters in a form",
    tag=TAG,
    scopes=("Task.s",),
    form=TASK_PARAMETERS,
    response="Bundle",
    refusals=(("invalid_request", "form"),),
)


def read(resource: str) -> Operation:
    """A read by id."""
    return Operation(
        method="GET",
        path=f"/fhir/{resource}/{{id}}",
        summary=f"One {resource} as the caller may see it now",
        tag=TAG,
        scopes=(f"{resource}.r",),
        response=resource,
    )


def write(method: str, resource: str, summary: str) -> Operation:
    """A change by id, with If-Match where the resource has versions."""
    return Operation(
        method=method,
        path=f"/fhir/{resource}/{{id}}",
        summary=summary,
        tag=TAG,
        scopes=(f"{resource}.u",),
        request=resource if method == "PUT" else None,
        response=resource,
    )


def directory(resource: str, *more: Parameter) -> Operation:
    """A list of the directory."""
    return Operation(
        method="GET",
        path=f"/fhir/{resource}",
        summary=f"Every {resource} of the directory",
        tag=TAG,
        scopes=(f"{resource}.s",),
        query=(COUNT, CURSOR, *more),
        response="Bundle",
    )


ANSWER: Final = "Answer a referral, or change one's own: status, businessStatus, reason, output"
CONSENT: Final = "Withdraw a consent, or give its next version"
ORGANIZATION: Final = Parameter("organization", "Only the services of this Organization")

AUDIT_SEARCH: Final = Operation(
    method="GET",
    path="/fhir/AuditEvent",
    summary="What left about the caller's own referrals, in the order of the custody log",
    tag=TAG,
    scopes=("AuditEvent.s",),
    query=(
        Parameter("date", "When it left, with a prefix; twice for a range"),
        Parameter("entity", "The caller's own Task"),
        COUNT,
        CURSOR,
    ),
    response="Bundle",
)
PATIENT_SEARCH: Final = Operation(
    method="POST",
    path="/fhir/Patient/_search",
    summary="The caller's own id of a person, by an identifier of its own (form, never in a URL)",
    tag=TAG,
    scopes=("Patient.s",),
    form=(
        Parameter("identifier", "`system|value`, as the caller knows the person", required=True),
    ),
    response="Bundle",
    refusals=(("invalid_request", "form"), ("media-type", "media-type")),
)
PATIENT_BY_URL: Final = Operation(
    method="GET",
    path="/fhir/Patient",
    summary="Always refused: an identifier never stands in a URL",
    tag=TAG,
    scopes=("Patient.s",),
    query=tuple(
        Parameter(name, "Refused: use POST _search")
        for name in ("identifier", "name", "family", "given", "birthdate", "telecom", "_id")
    ),
    status=400,
    refusals=(("not-supported", "identifier-in-url"),),
)
TASK_CREATE: Final = Operation(
    method="POST",
    path="/fhir/Task",
    summary="Ask that one's own referral be ended (Task with code abort and the reason)",
    tag=TAG,
    scopes=("Task.c",),
    request="Task",
    response="Task",
    status=201,
    refusals=(
        ("required", "idempotency-key"),
        ("reason-required", "status-reason"),
        ("illegal-transition", "from-state"),
        ("illegal-transition", "not-yours"),
        ("duplicate", "other-content"),
        ("not-found", "resource"),
    ),
)
