"""What a delivery is, and what follows from an attempt.

Pure. It guards that retries back off and end, that what may have reached a partner is never
counted as not sent, and that nothing is rendered beyond the need of the service. Consent is the
consent service's to decide.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from connectors.sdk.errors import ConnectorError, Reject, Retry
from connectors.sdk.types import Release
from services.kit.crypto import sha256, uuid4_from
from services.kit.needs import EMERGENCY, Need, NoNeed, need_for
from services.kit.ports.referral import ReferralState

Kind = Literal["content", "update", "erasure"]
Result = Literal["disclosed", "not_sent", "unknown", "rejected", "held", "suppressed", "no_news"]
"""`rejected`: the partner saw and refused it; `held`: our mapping refused before anything left;
`no_news`: the partner has all of it already."""

ACCEPTED: Final = frozenset(
    {"accepted", "scheduled", "in_progress", "on_hold", "cancel_requested", "completed"}
)
"""States in which the recipient may have contact data."""
CLOSED: Final = frozenset(
    {"cancelled", "revoked", "rejected", "expired", "entered_in_error", "not_completed"}
)
"""States in which nothing more is sent."""
MAX_ATTEMPTS: Final = 30
FIRST_WAIT: Final = timedelta(milliseconds=250)
LONGEST_WAIT: Final = timedelta(seconds=60)
NARROWED: Final = 1_000_000
"""Added to a consent's version: the version of an update that no referral version stands for.
Below it, an update is what the recipient's acceptance lets through."""
AMENDED: Final = 3_000_000
"""Added to a case's version: the version of an update that takes what was put right."""
LEASE: Final = timedelta(seconds=10)
"""How long a claim lasts: a call of 2 s and what surrounds it, with room."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One row of the queue; `task_id` is the idempotency key at the partner."""

    task_id: UUID
    kind: str
    case_ref: UUID
    referral_ref: UUID
    to_org: str
    purpose: str
    source_org: str
    confidentiality: str
    version: int
    again: bool
    doubtful: bool
    attempts: int
    claim: UUID | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A wish to disclose: by a push (`task`) or by a recipient's read (`task` None)."""

    case_ref: UUID
    referral_ref: UUID
    to_org: str
    purpose: str
    source_org: str
    confidentiality: str
    categories: tuple[str, ...]
    vault_version: int
    task: Task | None = None
    announced: bool = False
    """Only told that there is something: nothing of the vault leaves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a task, an intent or both."""

    result: Result
    rule: str
    task: Task | None = None
    grant_ref: UUID | None = None
    field_path: str | None = None
    wait: timedelta | None = None
    policy_version: str = "none"


def wait_after(attempts: int, asked: float | None = None) -> timedelta:
    """How long until the next attempt; `asked` is the partner's Retry-After in seconds."""
    doubled = FIRST_WAIT * (1 << min(max(attempts - 1, 0), 12))
    wished = timedelta(seconds=asked) if asked is not None else timedelta()
    return min(max(doubled, wished), LONGEST_WAIT)


def spent(attempts: int) -> bool:
    """Whether no further attempt is made without a person's wish."""
    return attempts >= MAX_ATTEMPTS


def after_failure(task: Task, error: ConnectorError, grant_ref: UUID | None) -> Outcome:
    """The outcome of a failed call."""
    if isinstance(error, Retry):
        return Outcome(
            result="unknown" if error.unknown else "not_sent",
            rule=error.rule,
            task=task,
            grant_ref=grant_ref,
            wait=wait_after(task.attempts, error.retry_after),
        )
    return Outcome(
        result="rejected" if isinstance(error, Reject) else "held",
        rule=error.rule,
        field_path=error.field_path or None,
        task=task,
        grant_ref=grant_ref,
    )


def need_of(state: ReferralState, org_type: str) -> Need | None:
    """What the service needs to know; None when it is not carried to this kind of recipient."""
    if state.service_type is None:
        return None
    emergency = state.purpose == EMERGENCY
    found = need_for(state.service_type, org_type, emergency=emergency)
    return None if isinstance(found, NoNeed) else found


def categories_now(state: ReferralState, need: Need) -> tuple[str, ...]:
    """Categories that may leave in the referral's present status."""
    return need.releasable(state.data_categories, accepted=state.status in ACCEPTED)


def over(task: Task, state: ReferralState) -> bool:
    """Whether nothing more is sent for a referral; what was put right goes on to its holders."""
    if _is_amended(task):
        return state.status == "revoked"
    return state.status in CLOSED


def categories_for(
    task: Task, state: ReferralState, need: Need, held: frozenset[str]
) -> tuple[str, ...]:
    """Categories that a task may take; `held` is what its recipient has by this referral."""
    now = categories_now(state, need)
    if not _is_amended(task):
        return now
    wanted = held if state.status in CLOSED else held | set(now)
    return need.releasable(wanted & set(state.data_categories), accepted=True)


def _is_amended(task: Task) -> bool:
    return task.kind == "update" and task.version >= AMENDED


def no_news(task: Task, state: ReferralState, need: Need) -> bool:
    """Whether an acceptance lets nothing through that was not sent before it."""
    if task.kind != "update" or task.version >= NARROWED:
        return False
    before = need.releasable(state.data_categories, accepted=False)
    return before == need.releasable(state.data_categories, accepted=True)


def deadline_of(start: datetime, seconds: float, *ends: datetime | None) -> datetime:
    """When a grant that starts now stops: at most `seconds` later, never after consent's end."""
    return min([start + timedelta(seconds=seconds), *(end for end in ends if end is not None)])


def trimmed(release: Release, withheld: frozenset[str]) -> Release:
    """The release without fields that this kind of recipient may not see."""
    parts = []
    for part in (release.person, release.case):
        hidden = {
            name: field.default
            for name, field in type(part).model_fields.items()
            if name in withheld
        }
        parts.append(part.model_copy(update=hidden))
    return release.model_copy(update={"person": parts[0], "case": parts[1]})


def command_id(task_id: UUID, what: str) -> UUID:
    """The id of a command that follows from a task, the same at each repeat."""
    return uuid4_from(sha256(task_id.bytes + what.encode()))
