"""Wiring of consents on the native surface: their operations and routes."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from starlette.routing import Route

from services.gateway.consents import models
from services.gateway.consents.api import NativeConsents
from services.gateway.consents.writing import ConsentWriter
from services.gateway.http import Surface
from services.gateway.operation import (
    ETAG,
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    MODEL_FAULTS,
    NOT_FOUND,
    Operation,
)
from services.gateway.refusals import renewal
from services.gateway.views import Views

TAG: Final = "consents"
READ: Final = Operation(
    method="GET",
    path="/v1/consents/{id}",
    summary="One consent, for the organisation that collected it",
    tag=TAG,
    scopes=("Consent.r",),
    headers=(IF_NONE_MATCH,),
    sends=(ETAG,),
    response=models.ConsentView,
    refusals=(NOT_FOUND,),
)
RENEW: Final = Operation(
    method="POST",
    path="/v1/consents",
    summary="The next version of a consent; one with less than before withdraws what is missing",
    tag=TAG,
    scopes=("Consent.u",),
    headers=(IDEMPOTENCY_KEY,),
    sends=(ETAG,),
    request=models.RenewalBody,
    response=models.ConsentView,
    refusals=(
        NOT_FOUND,
        *MODEL_FAULTS,
        *renewal("native"),
        ("conflict", "expected-version"),
    ),
)
WITHDRAW: Final = Operation(
    method="POST",
    path="/v1/consents/{id}/withdrawals",
    summary="Take a consent back, the whole or parts of it; says when nothing more leaves",
    tag=TAG,
    scopes=("Consent.u",),
    headers=(IDEMPOTENCY_KEY,),
    request=models.WithdrawalBody,
    response=models.WithdrawalAnswer,
    status=201,
    refusals=(
        NOT_FOUND,
        *MODEL_FAULTS,
        ("already-inactive", "consent"),
        ("duplicate", "other-content"),
        ("not-found", "consent-item"),
        ("transient", "unavailable"),
    ),
)


def routes(
    surface: Surface,
    views: Views,
    writer: ConsentWriter,
    *,
    time_zone: str,
    clock: Callable[[], datetime],
) -> list[Route]:
    """The routes of this part."""
    consents = NativeConsents(views, writer, time_zone=time_zone, clock=clock)
    return [
        surface.route(READ, consents.read),
        surface.route(RENEW, consents.renew),
        surface.route(WITHDRAW, consents.withdraw),
    ]
