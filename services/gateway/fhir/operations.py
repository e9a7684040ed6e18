"""The operations of the FHIR surface (`wire.md` §7), as the router and the documents know them."""

from dataclasses import replace
from typing import Final

from services.gateway.operation import (
    ETAG,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    NOT_FOUND,
    PREFER,
    VERSIONED,
    Operation,
    Parameter,
)
from services.gateway.refusals import ANSWER, of_codes, of_rules, renewal, submission

TAG: Final = "fhir"
COUNT: Final = Parameter(
    "_count",
    "Most entries of one page (50 at most are given)",
    {"type": "integer", "minimum": 1, "maximum": 10_000},
)
CURSOR: Final = Parameter("_cursor", "From the link `next` of the page before")
EFFECTIVE: Final = "Cauce-Effective-At"

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
        headers=(IDEMPOTENCY_KEY,),
        request="Bundle",
        response="Bundle",
        refusals=submission("fhir"),
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
        headers=(IF_NONE_MATCH,),
        sends=(ETAG,),
        response=resource,
        refusals=(NOT_FOUND, *((("suppressed", "consent"),) if resource in DECIDED else ())),
    )


DECIDED: Final = frozenset({"ServiceRequest", "Patient", "Consent"})
"""What a recipient reads by a decision of the moment."""
_PATCH: Final = (("patch-invalid", "operation"), ("forbidden", "field"), NOT_FOUND)
_WHOLE: Final = (("value-invalid", "fixed-value"), ("forbidden", "field"), NOT_FOUND)
_TASK: Final = (
    *VERSIONED,
    *ANSWER,
    ("code-invalid", "not-in-list"),
    ("required", "element"),
    ("unsupported", "element"),
    ("value-invalid", "idempotency-key"),
    *of_codes("fhir", "structure"),
)
_WITHDRAWN: Final = (("already-inactive", "consent"), ("transient", "unavailable"))
PATCH_TASK: Final = Operation(
    method="PATCH",
    path="/fhir/Task/{id}",
    summary="Answer a referral, or change one's own: status, businessStatus, reason, output",
    tag=TAG,
    scopes=("Task.u",),
    headers=(IF_MATCH, IDEMPOTENCY_KEY, PREFER),
    sends=(ETAG,),
    response="Task",
    refusals=(*_PATCH, *_TASK),
)
PUT_TASK: Final = Operation(
    method="PUT",
    path="/fhir/Task/{id}",
    summary="The same by the whole Task as it was read, changed in these elements alone",
    tag=TAG,
    scopes=("Task.u",),
    headers=(IF_MATCH, IDEMPOTENCY_KEY, PREFER),
    sends=(ETAG,),
    request="Task",
    response="Task",
    refusals=(*_WHOLE, *_TASK),
)
PATCH_CONSENT: Final = Operation(
    method="PATCH",
    path="/fhir/Consent/{id}",
    summary="Withdraw a consent: its status to `inactive`, and nothing else",
    tag=TAG,
    scopes=("Consent.u",),
    headers=(IDEMPOTENCY_KEY, PREFER),
    sends=(ETAG, EFFECTIVE),
    response="Consent",
    refusals=(*_PATCH, *_WITHDRAWN, ("code-invalid", "not-in-list")),
)
PUT_CONSENT: Final = Operation(
    method="PUT",
    path="/fhir/Consent/{id}",
    summary="Withdraw a consent, or give its next version (which asks for If-Match)",
    tag=TAG,
    scopes=("Consent.u",),
    headers=(replace(IF_MATCH, required=False), IDEMPOTENCY_KEY, PREFER),
    sends=(ETAG, EFFECTIVE),
    request="Consent",
    response="Consent",
    refusals=(*_WHOLE, *_WITHDRAWN, *VERSIONED, *renewal("fhir")),
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
    refusals=(("invalid_request", "form"),),
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
    headers=(IDEMPOTENCY_KEY, PREFER),
    sends=(ETAG, "Location"),
    refusals=(
        NOT_FOUND,
        *ANSWER,
        *of_codes("fhir", "structure", "reference-invalid"),
        *of_rules("fhir", "value-invalid", "fixed-value", "idempotency-key"),
        ("code-invalid", "not-in-list"),
        ("required", "element"),
        ("required", "idempotency-key"),
        ("unsupported", "element"),
    ),
)
