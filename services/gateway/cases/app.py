"""Wiring of cases on the native surface: their operations and routes."""

from typing import Final

from starlette.routing import Route

from services.gateway.cases import models
from services.gateway.cases.api import Cases
from services.gateway.http import Surface
from services.gateway.operation import Operation
from services.gateway.views import Views

TAG: Final = "cases"
NOT_FOUND: Final = ("not-found", "resource")
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
    summary="Close a case for a reason, or open it again",
    tag=TAG,
    scopes=("ServiceRequest.u",),
    request=models.CaseCommandBody,
    response=models.CaseView,
    refusals=(
        NOT_FOUND,
        ("code-invalid", "not-in-list"),
        ("conflict", "expected-version"),
        ("duplicate", "several-cases"),
        ("illegal-transition", "from-state"),
        ("required", "element"),
        ("structure", "null-value"),
        ("structure", "unknown-element"),
        ("structure", "wrong-type"),
        ("value-invalid", "idempotency-key"),
    ),
)


def routes(surface: Surface, views: Views) -> list[Route]:
    """The routes of this part."""
    cases = Cases(views)
    return [surface.route(READ, cases.read), surface.route(COMMAND, cases.command)]
