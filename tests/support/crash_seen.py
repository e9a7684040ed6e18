"""What the world outside the hub has seen of a run with faults, as values the judge compares."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from schemas import models

Record = dict[str, Any]
AliasOf = Callable[[str, UUID, str], UUID]
"""(kind, reference, organisation) → the id by which that organisation knows the thing."""

AGAIN = frozenset({0, 401, 409, 429, 500, 502, 503, 504})
"""Answers after which the client does not know whether its request was taken."""
RIGHT = "pt"
"""The language of a person once it was put right; nobody speaks it before."""
OVER = frozenset({"cancelled", "revoked", "expired", "rejected", "entered_in_error"})


@dataclass(frozen=True)
class Violation:
    """A promise that was not kept: its rule, and the referral, case or key it is about."""

    rule: str
    about: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """One record of the topic: when the producer sent it, where it stands, what it says."""

    at: datetime
    partition: int
    offset: int
    event: Any


@dataclass(frozen=True, kw_only=True)
class LeafSeen:
    """One leaf: when it was written, its kind and its fields."""

    at: datetime
    kind: str
    body: Record


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Content that took effect at the partner; `first` when its Task is part of it."""

    at: datetime
    key: str
    referral: UUID | None
    first: bool


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """The end of all consent of a case: when it was committed, and from when it binds."""

    at: datetime
    effective: datetime


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that is judged."""

    partner: Sequence[Record]
    ledger: Sequence[Record]
    topic: Sequence[Published]
    leaves: Sequence[LeafSeen]
    alias: AliasOf = field(repr=False)
    told: Sequence[Record] = ()
    """What the partner with a webhook was told, read and answered, and what its sender was."""
    to_org: str = "refugio-sur"
    hook_org: str = "clinica-sur"
    from_org: str = "ong-norte"

    @cached_property
    def events(self) -> list[Published]:
        """The topic without repeats, case by case in order."""
        seen: dict[tuple[UUID, int], Published] = {}
        for one in self.topic:
            seen.setdefault((one.event.case_ref, one.event.case_seq), one)
        return [seen[key] for key in sorted(seen, key=lambda k: (k[0].bytes, k[1]))]

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one type."""
        return [one.event for one in self.events if isinstance(one.event, kind)]

    @cached_property
    def requested(self) -> dict[UUID, models.ReferralRequested]:
        """Every referral that exists, by its reference."""
        return {e.referral_ref: e for e in self.of(models.ReferralRequested)}

    @cached_property
    def at_partner(self) -> dict[str, UUID]:
        """The partner's ids of Task and ServiceRequest → referral."""
        return {
            str(self.alias(kind, ref, self.to_org)): ref
            for ref in self.requested
            for kind in ("task", "service_request")
        }

    @cached_property
    def effects(self) -> list[Effect]:
        """Content that took effect at the partner, in the order of its commits."""
        return list(effects(self.partner, self.at_partner))

    @cached_property
    def languages(self) -> dict[UUID, set[str]]:
        """What the partner last took to be the languages of a referral's person."""
        taken = (r for r in self.partner if r["kind"] == "effect" and not is_erasure(r))
        pairs = zip(taken, self.effects, strict=True)
        return {one.referral: spoken(record) for record, one in pairs if one.referral}

    @cached_property
    def erased(self) -> dict[UUID, datetime]:
        """When the partner removed what it had of a referral."""
        found: dict[UUID, datetime] = {}
        for record in self.partner:
            if record["kind"] == "erasure":
                value = record["task"].get("focus", {}).get("identifier", {}).get("value", "")
                if value in self.at_partner:
                    found[self.at_partner[value]] = moment(record)
        return found

    @cached_property
    def withdrawn(self) -> dict[UUID, Withdrawn]:
        """Cases of which every consent was taken back."""
        given: dict[UUID, set[UUID]] = defaultdict(set)
        ends: dict[UUID, list[models.ConsentWithdrawn]] = defaultdict(list)
        for event in self.of(models.ConsentGiven):
            given[event.case_ref].add(event.consent_ref)
        for event in self.of(models.ConsentWithdrawn):
            given[event.case_ref].discard(event.consent_ref)
            ends[event.case_ref].append(event)
        return {
            case: Withdrawn(
                at=max(e.occurred_at for e in events),
                effective=max(e.effective_at for e in events),
            )
            for case, events in ends.items()
            if not given[case]
        }

    @cached_property
    def leaves_of(self) -> dict[str, list[LeafSeen]]:
        """Leaves by delivery (the idempotency key at the partner)."""
        found: dict[str, list[LeafSeen]] = defaultdict(list)
        for one in self.leaves:
            found[one.body.get("delivery_ref", "")].append(one)
        return found

    @cached_property
    def ended(self) -> set[UUID]:
        """Referrals that were ended instead of delivered, by leaf or by event."""
        refs = {
            UUID(one.body["referral_ref"])
            for one in self.leaves
            if one.kind in {"suppressed", "given_up"} and "referral_ref" in one.body
        }
        refs |= {e.referral_ref for e in self.of(models.ReferralRevoked)}
        moved = self.of(models.ReferralStatusChanged)
        return refs | {e.referral_ref for e in moved if e.to_status in OVER}


def moment(record: Record) -> datetime:
    return datetime.fromisoformat(record["at"])


def effects(partner: Sequence[Record], known: dict[str, UUID]) -> Iterator[Effect]:
    places: dict[str, UUID] = {}
    for record in partner:
        if record["kind"] != "effect" or is_erasure(record):
            continue
        names = [
            (f"{r['resourceType']}/{r['id']}", i.get("value", ""))
            for r in record["resources"]
            for i in identifiers(r)
        ]
        places |= {place: known[value] for place, value in names if value in known}
        located = [location(entry) for entry in record["response"].get("entry", [])]
        touched = [place for place, _ in names] + located
        referral = next((places[place] for place in touched if place in places), None)
        yield Effect(
            at=moment(record),
            key=record["key"],
            referral=referral,
            first=any(place.startswith("Task/") for place in touched),
        )


def spoken(record: Record) -> set[str]:
    return {
        coding["code"]
        for resource in record["resources"]
        for one in resource.get("communication", [])
        for coding in one["language"]["coding"]
    }


def identifiers(resource: Record) -> list[Record]:
    found = resource.get("identifier", [])
    return found if isinstance(found, list) else [found]


def location(entry: Record) -> str:
    return "/".join(str(entry["response"].get("location", "")).split("/")[:2])


def is_erasure(record: Record) -> bool:
    codings = [c for r in record["resources"] for c in r.get("code", {}).get("coding", [])]
    return any(c.get("code") == "erase" for c in codings)
