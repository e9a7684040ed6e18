"""One case as it happened: events and custody leaves in one list. Pure.

It guards that a leaf stands beside the event of its effect, that nothing but routing data is shown,
and that steps of other referrals of the case are told apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from schemas import DeadKey

EVENT_OF_LEAF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accepted": "referral.requested",
        "disclosed": "disclosure.made",
        "withdrawn": "consent.withdrawn",
        "expired": "consent.expired",
        "erasure_reported": "consent.effect_reported",
        "suppressed": "disclosure.refused",
        "case_updated": "case.updated",
        "case_closed": "case.closed",
    }
)
"""Kind of leaf → the event that the same transaction put."""

SHOWN_OF_LEAF: Final = (
    "to_org",
    "categories",
    "purpose",
    "rule",
    "legal_basis",
    "reason_code",
    "status",
    "actor",
)
SHOWN_OF_EVENT: Final = (
    "from_org",
    "to_org",
    "to_status",
    "purpose",
    "data_categories",
    "reason_code",
    "transmission_channel",
    "attempt_count",
    "error_class",
    "withdrawal_effect",
    "dead_keys",
    "answer_stage",
    "owed_by",
    "case_status",
    "changed",
)


@dataclass(frozen=True, kw_only=True)
class CaseEvent:
    """An event of the case; `about` holds routing fields only."""

    seq: int
    event_id: UUID
    type: str
    at: datetime
    referral_ref: UUID | None
    published: bool
    has_facts: bool
    about: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CaseLeaf:
    """A leaf of the case."""

    leaf_ref: UUID
    kind: str
    at: datetime
    body: Mapping[str, Any]
    position: int | None
    signed: bool

    @property
    def referral_ref(self) -> UUID | None:
        """The referral it speaks of."""
        named = self.body.get("referral_ref")
        return UUID(named) if isinstance(named, str) else None


def timeline(
    events: Sequence[CaseEvent], leaves: Sequence[CaseLeaf], referral_ref: UUID | None = None
) -> list[dict[str, Any]]:
    """Steps in order; of one referral, and of the case as a whole, when `referral_ref` is given."""
    mine = [e for e in events if referral_ref in (None, e.referral_ref) or e.referral_ref is None]
    own = [x for x in leaves if referral_ref in (None, x.referral_ref) or x.referral_ref is None]
    left = list(mine)
    rows: list[tuple[datetime, int, dict[str, Any]]] = []
    for one in own:
        event = _event_of(one, left)
        if event is not None:
            left.remove(event)
            rows.append((event.at, event.seq, {**_of_event(event), "leaf": _of_leaf(one)}))
        else:
            rows.append((one.at, 0, {"at": one.at.isoformat(), "leaf": _of_leaf(one)}))
    rows += [(event.at, event.seq, _of_event(event)) for event in left]
    return [row for _, _, row in sorted(rows, key=lambda row: (row[0], row[1]))]


def _event_of(one: CaseLeaf, events: Sequence[CaseEvent]) -> CaseEvent | None:
    wanted = EVENT_OF_LEAF.get(one.kind)
    for event in events:
        if event.type == wanted and one.referral_ref in (None, event.referral_ref):
            return event
    return None


def _of_event(event: CaseEvent) -> dict[str, Any]:
    about = {n: _plain(event.about[n]) for n in SHOWN_OF_EVENT if event.about.get(n) is not None}
    return {
        "at": event.at.isoformat(),
        "event": event.type,
        "seq": event.seq,
        "event_id": str(event.event_id),
        "published": event.published,
        "facts": event.has_facts,
        **({"about": about} if about else {}),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | bool):
        return value
    if isinstance(value, Sequence):
        return [_plain(one) for one in value]
    if isinstance(value, DeadKey):
        return f"{value.purpose} v{value.key_version}"
    return str(value)


def _of_leaf(one: CaseLeaf) -> dict[str, Any]:
    about = {n: one.body[n] for n in SHOWN_OF_LEAF if one.body.get(n) is not None}
    return {
        "kind": one.kind,
        "leaf_ref": str(one.leaf_ref),
        "position": one.position,
        "signed": one.signed,
        **({"about": about} if about else {}),
    }
