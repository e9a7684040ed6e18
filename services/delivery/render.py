"""From a grant's content to what a recipient's system gets.

Pure. It guards that the message is built from the released content, the recipient's own ids and
the need of the service alone: where the recipient may not know what happened, the sender appears
under its neutral alias and no label tells.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from connectors.fhir_r4.outbound import bundle
from connectors.fhir_r4.outbound.content import Ids, Outgoing
from connectors.fhir_r4.outbound.patient import CATEGORIES
from connectors.sdk.errors import Refuse
from connectors.sdk.types import Release
from schemas.codes import Lang
from services.delivery.authority import Authorised
from services.delivery.domain import Task, need_of, trimmed
from services.delivery.intents import Standing
from services.kit.aliases import alias, own_day
from services.kit.partners import Partner
from services.kit.ports.referral import ReferralState
from services.kit.ports.vault import ReleaseResult

HANDLING: Final = frozenset({"CPLYCD", "DELAU"})
"""Labels whose handling a recipient must have declared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What is the same for every message of this cell."""

    base: str
    zone: ZoneInfo
    alias_key: bytes = field(repr=False)


def outgoing(
    frame: Frame,
    state: ReferralState,
    granted: Authorised,
    released: ReleaseResult,
    source: Partner,
    now: datetime,
    *,
    literal: bool = False,
) -> Outgoing:
    """The message to one recipient; Refuse when it cannot be made from what was released."""
    need = need_of(state, granted.partner.org_type)
    if need is None or released.content is None or released.pseudonym is None:
        raise Refuse("service-type-not-referred", "ServiceRequest.code")
    if released.patient_id is None:
        raise Refuse("patient-id-missing", "Patient.id")
    try:
        content = Release.model_validate_json(released.content)
    except ValidationError:
        raise Refuse("release-malformed", "Patient") from None
    reveals = need.may_know_phenomenon
    due = state.response_due
    return Outgoing(
        base=frame.base,
        to_org=state.to_org,
        source=source.org if reveals else source.alias,
        language=_language(granted.partner.language),
        ids=Ids(
            task=alias(frame.alias_key, "task", state.referral_ref, state.to_org),
            service_request=alias(
                frame.alias_key, "service_request", state.referral_ref, state.to_org
            ),
            consent=alias(frame.alias_key, "consent", state.consent_ref, state.to_org),
            patient=released.patient_id,
        ),
        pseudonym=released.pseudonym,
        purpose=state.purpose,
        categories=granted.grant.categories,
        consent_until=granted.consent_until.astimezone(frame.zone).date(),
        response_due=due.astimezone(frame.zone).date() if due is not None else None,
        today=own_day(now, frame.zone),
        reveals=reveals,
        handles_labels=granted.partner.labels >= HANDLING,
        service_type=state.service_type,
        priority=state.priority,
        special_requirements=state.special_requirements,
        release=trimmed(content, need.withheld_fields),
        literal=literal,
    )


def transaction(out: Outgoing, task: Task, standing: Standing) -> bytes:
    """The Bundle of a task.

    A person is one Patient at a recipient, so it is written anew only where that takes nothing
    from what it shows by another referral.
    """
    others = [held for ref, held in standing.items() if ref != task.referral_ref]
    whole = frozenset[str]().union(*others) & CATEGORIES <= set(out.categories)
    if task.kind == "update":
        return bundle.update(out, renew_person=whole)
    if task.again:
        return bundle.again(out)
    return bundle.content(out, renew_person=whole and bool(others))


def _language(code: str) -> Lang:
    return cast("Lang", code) if code in {"es", "en", "pt"} else "es"
