"""What a message to one recipient is made of, before it becomes FHIR.

It guards that a mapping sees only what the grant released and the recipient's own ids: nothing
here names the sender's record, another recipient or an instant of the sender.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from connectors.sdk.types import Release
from schemas.codes import Lang, label

Resource = dict[str, Any]

CONFIDENTIALITY: Final = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
ACT_CODE: Final = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ACT_REASON: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
OBSERVATION_VALUE: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
CONSENT_SCOPE: Final = "http://terminology.hl7.org/CodeSystem/consentscope"
TASK_CODE: Final = "http://hl7.org/fhir/CodeSystem/task-code"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ids:
    """The ids this recipient knows the referral by; random, its own, and the same in a repeat."""

    task: UUID
    service_request: UUID
    consent: UUID
    patient: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """One message: released content, ids, and what the recipient needs to act."""

    base: str
    """Canonical base of the hub's own code systems and naming systems."""
    to_org: str
    source: str
    """Organisation code of the sender, or its neutral alias where the phenomenon must not show."""
    language: Lang
    ids: Ids
    pseudonym: str
    purpose: str
    categories: tuple[str, ...]
    consent_until: date
    response_due: date | None
    today: datetime
    """First instant of this message's day in the cell: its own would join two recipients."""
    reveals: bool
    """Whether labels that reveal the phenomenon may go to this kind of recipient."""
    handles_labels: bool
    """Whether the recipient declared that it honours handling labels."""
    service_type: str | None = field(repr=False)
    priority: str | None = field(repr=False)
    special_requirements: tuple[str, ...] = field(repr=False)
    release: Release = field(repr=False)
    literal: bool = False
    """Whether references name our own URLs (reads) and not entries of a Bundle (pushes)."""


def system(base: str, enum: str) -> str:
    """Canonical URL of one of our code lists."""
    return f"{base}/CodeSystem/{enum.replace('_', '-')}"


def concept(out: Outgoing, enum: str, code: str) -> Resource:
    """A code of ours with its label in the recipient's language."""
    return {
        "coding": [{"system": system(out.base, enum), "code": code}],
        "text": label(enum, code, out.language),
    }


def identifier(out: Outgoing, kind: str, value: UUID) -> Resource:
    """Our identifier of a resource at this recipient."""
    return {"system": naming(out.base, kind), "value": str(value)}


def naming(base: str, kind: str) -> str:
    """Canonical URL of one of our naming systems."""
    return f"{base}/NamingSystem/{kind}"


def pairwise(base: str, org: str) -> str:
    """The naming system of one organisation's own pseudonyms."""
    return naming(base, f"pairwise/{org}")


def meta(out: Outgoing) -> Resource:
    """Security labels; without `reveals` nothing in them tells what happened to the person."""
    codes = [(CONFIDENTIALITY, "R")]
    if out.reveals:
        codes += [(ACT_CODE, "SDV"), (ACT_CODE, "VIO")]
    if "identity" not in out.categories:
        codes.append((OBSERVATION_VALUE, "PSEUDED"))
    codes += [(ACT_CODE, "NORDSCLCD"), (ACT_CODE, "NORELINK")]
    if out.handles_labels:
        codes += [(ACT_CODE, "CPLYCD"), (ACT_CODE, "DELAU")]
    return {"security": [{"system": s, "code": c} for s, c in codes]}


def urn(value: UUID) -> str:
    """How entries of one Bundle name one another."""
    return f"urn:uuid:{value}"


def reference(out: Outgoing, kind: str, value: UUID) -> Resource:
    """A reference to another resource of the same referral."""
    return {"reference": f"{kind}/{value}" if out.literal else urn(value)}


def present(resource: Resource) -> Resource:
    """The resource without its empty elements: absent stays absent."""
    return {name: value for name, value in resource.items() if value not in (None, [], {}, "")}
