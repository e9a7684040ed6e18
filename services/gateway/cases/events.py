"""What the two logs are told of a change to a case. Pure but for fresh random ids."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from schemas.codec import Encoded, encode
from schemas.codes import CODELIST_VERSION
from schemas.models import CaseClosed, CaseUpdated
from services.gateway.cases.domain import MARK_ERROR, Case, Command
from services.gateway.intake.records import CONFIDENTIALITY
from services.kit.leaf import Leaf, leaf

ENDS: Final = frozenset({"close", MARK_ERROR})


def told(org: str, case_ref: UUID, command: Command, case: Case, now: datetime) -> Encoded:
    """The event of a command that changed where the case stands."""
    head = head_of(org, case_ref, case, now)
    if command.name in ENDS:
        return encode(CaseClosed(**head))
    return encode(CaseUpdated(**head, changed=(), data_categories=(), amended=()))


def head_of(org: str, case_ref: UUID, case: Case, now: datetime) -> dict[str, Any]:
    """What every event of a case's change says."""
    return {
        "event_id": uuid4(),
        "occurred_at": now,
        "case_ref": case_ref,
        "source_org": org,
        "correlation_id": uuid4(),
        "codelist_version": CODELIST_VERSION,
        "confidentiality": CONFIDENTIALITY,
        "version": case.version,
        "case_status": case.status,
    }


def changed_leaf(
    org: str,
    case_ref: UUID,
    command: Command,
    case: Case,
    now: datetime,
    categories: tuple[str, ...] = (),
) -> Leaf:
    """The leaf of a command; `categories` in which something changed."""
    return leaf(
        "case_closed" if command.name in ENDS else "case_updated",
        now,
        actor=org,
        case_ref=case_ref,
        rule=command.name,
        version=case.version,
        status=case.status,
        reason_code=command.closure_reason,
        categories=categories or None,
    )
