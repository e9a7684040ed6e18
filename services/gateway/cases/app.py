"""Wiring of cases on the native surface: their operations and routes."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from starlette.routing import Route

from services.gateway.cases import models
from services.gateway.cases.api import Cases
from services.gateway.cases.changing import Changes
from services.gateway.http import Surface
from services.gateway.intake.keys import Keys
from services.gateway.operation import BODY_FAULTS, IDEMPOTENCY_KEY, NOT_FOUND, Operation
from services.gateway.views import Views

TAG: Final = "cases"
READ: Final = Operation(
    method="GET",
    path="/v1/cases/{id}",
    summary="Where a case stands, for the organisation whose case it is",
    tag=TAG,
    scopes=("ServiceRequest.r",),
    response=models.CaseView,
    refusals=(NOT_FOUND,),
)
COMMAND: Final = Operation(
    method="POST",
    path="/v1/cases/{id}/commands",
    summary="Close a case for a reason, open it again, or say that it was entered in error",
    tag=TAG,
    scopes=("ServiceRequest.u",),
    headers=(IDEMPOTENCY_KEY,),
    request=models.CaseCommandBody,
    response=models.CaseView,
    refusals=(
        NOT_FOUND,
        *BODY_FAULTS,
        ("conflict", "expected-version"),
        ("duplicate", "other-content"),
        ("duplicate", "several-cases"),
        ("illegal-transition", "from-state"),
        ("in-progress", "running"),
        ("value-invalid", "idempotency-key"),
    ),
)


def routes(
    surface: Surface, views: Views, keys: Keys, *, clock: Callable[[], datetime]
) -> list[Route]:
    """The routes of this part."""
    cases = Cases(views, Changes(views.pool, clock), keys)
    return [surface.route(READ, cases.read), surface.route(COMMAND, cases.command)]
