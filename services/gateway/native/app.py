"""Wiring of native referrals for both parties: their operations and routes."""

from typing import Final
from zoneinfo import ZoneInfo

from starlette.routing import Route

from services.gateway.answers import Answers
from services.gateway.http import Surface
from services.gateway.intake.keys import Keys
from services.gateway.native import models
from services.gateway.native.changes import Changes
from services.gateway.native.commands import Commands
from services.gateway.native.data import Data
from services.gateway.native.erasures import STATES, Erasures
from services.gateway.native.referrals import SIDES, Referrals
from services.gateway.native.timeline import History
from services.gateway.operation import (
    BODY_FAULTS,
    ETAG,
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    NOT_FOUND,
    Operation,
    Parameter,
)
from services.gateway.refusals import ANSWER
from services.gateway.views import Views
from services.kit.ports.delivery import Delivery
from services.kit.ports.referral import Referral

CURSOR: Final = Parameter("cursor", "`next` of the page before")
LIMIT: Final = Parameter(
    "limit", "Entries of a page", {"type": "integer", "minimum": 1, "maximum": 50}
)
LIST: Final = Operation(
    method="GET",
    path="/v1/referrals",
    summary="Own referrals, oldest change first",
    tag="referrals",
    scopes=("Task.s",),
    query=(
        Parameter("side", "Only those sent or received", {"type": "string", "enum": [*SIDES]}),
        Parameter("status", "Only these statuses, comma between them"),
        Parameter(
            "updated_since",
            "Only those changed at or after this instant",
            {"type": "string", "format": "date-time"},
        ),
        CURSOR,
        LIMIT,
    ),
    response=models.ReferralPage,
)
READ: Final = Operation(
    method="GET",
    path="/v1/referrals/{id}",
    summary="One referral as this party may see it; entity tag and If-None-Match",
    tag="referrals",
    scopes=("Task.r",),
    headers=(IF_NONE_MATCH,),
    sends=(ETAG,),
    response=models.ReferralView,
    refusals=(NOT_FOUND,),
)
TIMELINE: Final = Operation(
    method="GET",
    path="/v1/referrals/{id}/timeline",
    summary="What happened to a referral, as this party may know it",
    tag="referrals",
    scopes=("Task.r",),
    response=models.Timeline,
    refusals=(NOT_FOUND,),
)
COMMAND: Final = Operation(
    method="POST",
    path="/v1/referrals/{id}/commands",
    summary="One command of a party; a repeat under one Idempotency-Key changes nothing",
    tag="referrals",
    scopes=("Task.u",),
    headers=(IDEMPOTENCY_KEY,),
    sends=(ETAG,),
    request=models.CommandBody,
    response=models.ReferralView,
    refusals=(
        NOT_FOUND,
        *BODY_FAULTS,
        *ANSWER,
        ("conflict", "expected-version"),
        ("value-invalid", "idempotency-key"),
    ),
)
DATA: Final = Operation(
    method="GET",
    path="/v1/referrals/{id}/data",
    summary="What the recipient may know of the person and the case, decided at this read",
    tag="referrals",
    scopes=("ServiceRequest.r", "Patient.r"),
    response=models.ReferralData,
    refusals=(NOT_FOUND, ("gone", "withdrawn"), ("suppressed", "consent")),
)
CHANGES: Final = Operation(
    method="GET",
    path="/v1/data-changes",
    summary="What this recipient read and was put right since, and has yet to read anew",
    tag="referrals",
    scopes=("Task.s",),
    query=(CURSOR, LIMIT),
    response=models.DataChangePage,
)
ERASURES: Final = Operation(
    method="GET",
    path="/v1/erasure-requests",
    summary="What this recipient is asked to delete and has not answered, oldest first",
    tag="erasure-requests",
    scopes=("Task.s",),
    query=(
        Parameter("status", f"Only these, comma between them: {', '.join(STATES)}"),
        CURSOR,
        LIMIT,
    ),
    response=models.ErasurePage,
)
EFFECT: Final = Operation(
    method="POST",
    path="/v1/erasure-requests/{id}/effect",
    summary="What the recipient did about a request; a repeat changes nothing",
    tag="erasure-requests",
    scopes=("Task.u",),
    request=models.EffectBody,
    response=models.ErasureRequest,
    refusals=(NOT_FOUND, *BODY_FAULTS, ("conflict", "other-effect")),
)


def routes(
    surface: Surface,
    views: Views,
    referral: Referral,
    delivery: Delivery,
    answers: Answers,
    keys: Keys,
    zone: ZoneInfo,
) -> list[Route]:
    """The routes of this part."""
    referrals, erasures = Referrals(views, referral, delivery), Erasures(views, delivery, zone)
    return [
        surface.route(LIST, referrals.list),
        surface.route(READ, referrals.one),
        surface.route(TIMELINE, History(views).read),
        surface.route(COMMAND, Commands(views, answers, referrals, keys).give),
        surface.route(DATA, Data(views, delivery).read),
        surface.route(CHANGES, Changes(views, delivery).list),
        surface.route(ERASURES, erasures.list),
        surface.route(EFFECT, erasures.report),
    ]
