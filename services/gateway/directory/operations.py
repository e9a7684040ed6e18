"""The operations of the directory (`/v1/directory`), as the router and the documents know them."""

from dataclasses import replace
from typing import Final

from services.gateway.directory.models import (
    CapacityBody,
    EntryBody,
    EntryList,
    EntryView,
    NeedsBody,
    ProposalList,
)
from services.gateway.operation import (
    ETAG,
    IF_MATCH,
    MODEL_FAULTS,
    NOT_FOUND,
    VERSIONED,
    Operation,
    Parameter,
)

TAG: Final = "directory"
ONE: Final = "/v1/directory/services/{id}"
_BOOLEAN: Final = {"type": "boolean"}
_CHANGE: Final = (
    *MODEL_FAULTS,
    NOT_FOUND,
    ("conflict", "version"),
    ("forbidden", "owner"),
    ("value-invalid", "contradiction"),
)

LIST: Final = Operation(
    method="GET",
    path="/v1/directory/services",
    summary="Services of the directory, by id; stale ones say so",
    tag=TAG,
    scopes=("HealthcareService.s",),
    query=(
        Parameter("service_type", "Only services that offer this"),
        Parameter("country", "Only services of this country (ISO 3166-1, three letters)"),
        Parameter("admin1", "Only services of this part of the country (ISO 3166-2)"),
        Parameter("age", "Only services that take this age", {"type": "integer", "minimum": 0}),
        Parameter("population_type", "Only services that take this population"),
        Parameter("language", "Only services that speak this language"),
        Parameter("open_now", "Only services that are open now, or only others", _BOOLEAN),
        Parameter("capacity", "Only services of this capacity_status"),
        Parameter("stale", "Only services whose capacity is stale, or only others", _BOOLEAN),
        Parameter("org", "Only services of this organisation"),
        Parameter("limit", "Most services of one page", {"type": "integer", "minimum": 1}),
        Parameter("cursor", "From `next` of the page before"),
    ),
    response=EntryList,
)
READ: Final = Operation(
    method="GET",
    path=ONE,
    summary="One service of the directory",
    tag=TAG,
    scopes=("HealthcareService.r",),
    sends=(ETAG,),
    response=EntryView,
    refusals=(NOT_FOUND,),
)
WRITE: Final = Operation(
    method="PUT",
    path=ONE,
    summary="The whole entry of one's own service, with If-Match",
    tag=TAG,
    scopes=("HealthcareService.u",),
    headers=(IF_MATCH,),
    sends=(ETAG,),
    request=EntryBody,
    response=EntryView,
    refusals=(
        *_CHANGE,
        *VERSIONED,
        ("value-invalid", "secret-address"),
        ("value-invalid", "secret-place"),
        ("value-invalid", "admin1-of-country"),
        ("value-invalid", "age-order"),
        ("value-invalid", "hours-order"),
        ("value-invalid", "hours-overlap"),
        ("value-invalid", "time-zone"),
    ),
)
CAPACITY: Final = Operation(
    method="PUT",
    path=f"{ONE}/capacity",
    summary="The capacity alone of one's own service, as of now; If-Match where it matters",
    tag=TAG,
    scopes=("HealthcareService.u",),
    headers=(replace(IF_MATCH, required=False),),
    sends=(ETAG,),
    request=CapacityBody,
    response=EntryView,
    refusals=_CHANGE,
)
PROPOSE: Final = Operation(
    method="POST",
    path="/v1/directory/proposals",
    summary="Services that could take a need, with reasons; nothing of it is kept",
    tag=TAG,
    scopes=("HealthcareService.s",),
    request=NeedsBody,
    response=ProposalList,
    refusals=(
        ("not-permitted", "source-role"),
        ("not-permitted", "source-service-type"),
        ("use-packet", "service-type-not-referred"),
        *MODEL_FAULTS,
        ("value-invalid", "admin1-of-country"),
    ),
)
