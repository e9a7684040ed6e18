"""Wiring of cases on the native surface: their operations and routes."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from starlette.routing import Route

from services.gateway.cases import models
from services.gateway.cases.api import Cases
from services.gateway.cases.changing import Changes
from services.gateway.cases.rectifying import Rectifier
from services.gateway.http import Surface
from services.gateway.intake.keys import Keys
from services.gateway.operation import BODY_FAULTS, IDEMPOTENCY_KEY, NOT_FOUND, Operation
from services.gateway.views import Views
from services.kit.ports.consent import Consent
from services.kit.ports.vault import Vault

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
    summary="Put right what is known, close a case, open it again, or say that it was an error",
    tag=TAG,
    scopes=("ServiceRequest.u",),
    headers=(IDEMPOTENCY_KEY,),
    request=models.CaseCommandBody,
    response=models.CaseView,
    refusals=(
        NOT_FOUND,
        *BODY_FAULTS,
        ("conflict", "expected-version"),
        ("consent-assent", "assent"),
        ("consent-minor-giver", "minor-giver"),
        ("consent-narrative", "narrative"),
        ("duplicate", "identifiers-disagree"),
        ("duplicate", "other-content"),
        ("duplicate", "several-cases"),
        ("illegal-transition", "from-state"),
        ("in-progress", "running"),
        ("invariant", "contact-system"),
        ("structure", "bad-format"),
        ("structure", "empty-value"),
        ("suppressed", "consent"),
        ("unsupported", "element"),
        ("value-invalid", "birth-date-future"),
        ("value-invalid", "contradiction"),
        ("value-invalid", "idempotency-key"),
    ),
)


def routes(
    surface: Surface,
    views: Views,
    keys: Keys,
    vault: Vault,
    consent: Consent,
    *,
    time_zone: str,
    clock: Callable[[], datetime],
) -> list[Route]:
    """The routes of this part."""
    zone = ZoneInfo(time_zone)

    def today() -> date:
        return clock().astimezone(zone).date()

    rectifier = Rectifier(views.pool, vault, consent, today=today, clock=clock)
    changes = Changes(views.pool, rectifier, clock)
    cases = Cases(views, changes, keys, time_zone=time_zone, clock=clock)
    return [surface.route(READ, cases.read), surface.route(COMMAND, cases.command)]
