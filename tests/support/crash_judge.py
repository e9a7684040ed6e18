"""The judge of a run with faults: what the world outside the hub must show afterwards.

Pure. It reads only what the partner stored, what the client wrote down, a dump of the topic and the
leaves of the custody log; nothing that the hub says of itself. The ids by which the parties know a
referral are derived from the topic's references (`Evidence.alias`), so all four can be joined.
"""

from collections import Counter, defaultdict
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

RULES = (
    "topic-order",
    "acceptance-lost",
    "refused",
    "withdrawal-lost",
    "phantom",
    "lost",
    "unreported",
    "no-outcome",
    "twice",
    "no-key",
    "case-order",
    "no-intent",
    "early-outcome",
    "late-intent",
    "late-effect",
    "late-facts",
    "not-erased",
    "erasure-open",
    "answer-lost",
)
AGAIN = frozenset({0, 401, 409, 429, 500, 502, 503, 504})
"""Answers after which the client does not know whether its request was taken."""
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
    to_org: str = "refugio-sur"
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
        return list(_effects(self.partner, self.at_partner))

    @cached_property
    def erased(self) -> dict[UUID, datetime]:
        """When the partner removed what it had of a referral."""
        found: dict[UUID, datetime] = {}
        for record in self.partner:
            if record["kind"] == "erasure":
                value = record["task"].get("focus", {}).get("identifier", {}).get("value", "")
                if value in self.at_partner:
                    found[self.at_partner[value]] = _at(record)
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


def judge(evidence: Evidence) -> list[Violation]:
    """Every broken promise; empty is what we want."""
    found: list[Violation] = []
    for check in CHECKS:
        found += check(evidence)
    return found


def _at(record: Record) -> datetime:
    return datetime.fromisoformat(record["at"])


def _effects(partner: Sequence[Record], known: dict[str, UUID]) -> Iterator[Effect]:
    places: dict[str, UUID] = {}
    for record in partner:
        if record["kind"] != "effect" or _is_erasure(record):
            continue
        names = [
            (f"{r['resourceType']}/{r['id']}", i.get("value", ""))
            for r in record["resources"]
            for i in _identifiers(r)
        ]
        places |= {place: known[value] for place, value in names if value in known}
        located = [_location(entry) for entry in record["response"].get("entry", [])]
        touched = [place for place, _ in names] + located
        referral = next((places[place] for place in touched if place in places), None)
        yield Effect(
            at=_at(record),
            key=record["key"],
            referral=referral,
            first=any(place.startswith("Task/") for place in touched),
        )


def _identifiers(resource: Record) -> list[Record]:
    found = resource.get("identifier", [])
    return found if isinstance(found, list) else [found]


def _location(entry: Record) -> str:
    return "/".join(str(entry["response"].get("location", "")).split("/")[:2])


def _is_erasure(record: Record) -> bool:
    codings = [c for r in record["resources"] for c in r.get("code", {}).get("coding", [])]
    return any(c.get("code") == "erase" for c in codings)


def _topic(evidence: Evidence) -> Iterator[Violation]:
    """First appearances of a case's events come in order and without gaps."""
    last: Counter[UUID] = Counter()
    ids: dict[tuple[UUID, int], UUID] = {}
    for one in sorted(evidence.topic, key=lambda p: (p.partition, p.offset)):
        case, seq = one.event.case_ref, one.event.case_seq
        if seq <= last[case]:
            if ids[case, seq] != one.event.event_id:
                yield Violation("topic-order", str(case))
            continue
        if seq != last[case] + 1:
            yield Violation("topic-order", str(case))
        last[case], ids[case, seq] = seq, one.event.event_id
        for missing in range(1, seq):
            ids.setdefault((case, missing), one.event.event_id)


def _ledger(evidence: Evidence) -> Iterator[Violation]:
    """What the client was told is so; what it sent once is there at most once."""
    tasks = {str(evidence.alias("task", ref, evidence.from_org)) for ref in evidence.requested}
    answers: dict[str, set[str]] = defaultdict(set)
    for record in evidence.ledger:
        if record["kind"] != "answer" or record["status"] in AGAIN:
            continue
        if record["status"] != 200:
            yield Violation("refused", record["key"])
        elif record["what"] == "refer":
            located = [_location(entry) for entry in record["body"]["entry"]]
            answers[record["key"]] |= {p.removeprefix("Task/") for p in located if "Task/" in p}
    for key, names in answers.items():
        if not names <= tasks:
            yield Violation("acceptance-lost", key)
        if len(names) > 1:
            yield Violation("twice", key)
    for name, count in Counter(n for names in answers.values() for n in names).items():
        if count > 1:
            yield Violation("twice", name)
    sent = {r["key"] for r in evidence.ledger if r["kind"] == "intent" and r["what"] == "refer"}
    if len(evidence.requested) > len(sent):
        yield Violation("twice", f"{len(evidence.requested)} referrals of {len(sent)} keys")


def _withdrawals(evidence: Evidence) -> Iterator[Violation]:
    """A withdrawal that was answered stands on the topic."""
    ended = {
        str(evidence.alias("consent", e.consent_ref, evidence.from_org))
        for e in evidence.of(models.ConsentWithdrawn)
    }
    paths = {r["key"]: r["path"] for r in evidence.ledger if r["kind"] == "intent"}
    for record in evidence.ledger:
        if record["kind"] == "answer" and record["what"] == "withdraw" and record["status"] == 200:
            name = paths[record["key"]].rpartition("/")[2]
            if name not in ended:
                yield Violation("withdrawal-lost", name)


def _complete(evidence: Evidence) -> Iterator[Violation]:
    """Every referral that exists was delivered and reported so, or ended for a reason."""
    delivered = {e.referral for e in evidence.effects if e.first}
    reported = {e.referral_ref for e in evidence.of(models.ReferralDelivered)}
    reported |= {e.referral_ref for e in evidence.of(models.ReferralStatusChanged)}
    for ref, event in evidence.requested.items():
        if ref not in delivered:
            if ref not in evidence.ended:
                yield Violation("lost", str(ref))
        elif ref not in reported and event.case_ref not in evidence.withdrawn:
            yield Violation("unreported", str(ref))
    for effect in evidence.effects:
        if effect.referral is None:
            yield Violation("phantom", effect.key)


def _once(evidence: Evidence) -> Iterator[Violation]:
    """No delivery takes effect twice, and none without its key; no event of a referral repeats."""
    keys = Counter(effect.key for effect in evidence.effects)
    for key, count in keys.items():
        if not key:
            yield Violation("no-key", f"{count} effects")
        elif count > 1:
            yield Violation("twice", key)
    happened = Counter(effect.referral for effect in evidence.effects)
    meant: dict[UUID, set[str]] = defaultdict(set)
    for one in evidence.leaves:
        if one.kind == "disclosure_intent" and "delivery_ref" in one.body:
            meant[UUID(one.body["referral_ref"])].add(one.body["delivery_ref"])
    for ref, count in happened.items():
        if ref is not None and count > len(meant[ref]):
            yield Violation("twice", str(ref))
    versions = Counter(
        (e.referral_ref, e.version)
        for e in (one.event for one in evidence.events)
        if hasattr(e, "referral_ref") and hasattr(e, "version")
    )
    grants = Counter((e.grant_ref, 0) for e in evidence.of(models.DisclosureMade))
    for (ref, _), count in (versions + grants).items():
        if count > 1:
            yield Violation("twice", str(ref))


def _order(evidence: Evidence) -> Iterator[Violation]:
    """First contents of a case took effect in the order in which they were sent on."""
    place = {e.referral_ref: (e.case_ref, e.case_seq) for e in evidence.of(models.ReferralSent)}
    last: Counter[UUID] = Counter()
    for effect in evidence.effects:
        if effect.first and effect.referral in place:
            case, seq = place[effect.referral]
            if seq < last[case]:
                yield Violation("case-order", str(case))
            last[case] = max(last[case], seq)


def _intents(evidence: Evidence) -> Iterator[Violation]:
    """Before the nth call with a key there are n intents of that delivery."""
    calls: Counter[str] = Counter()
    for record in evidence.partner:
        if record["kind"] != "call" or record["path"].rstrip("/") != "/fhir":
            continue
        calls[record["key"]] += 1
        before = [
            one
            for one in evidence.leaves_of[record["key"]]
            if one.kind == "disclosure_intent" and one.at <= _at(record)
        ]
        if not record["key"] or len(before) < calls[record["key"]]:
            yield Violation("no-intent", record["key"])


def _outcomes(evidence: Evidence) -> Iterator[Violation]:
    """`disclosed` is written after the effect, never before or without; every effect has one."""
    first: dict[str, datetime] = {}
    for effect in evidence.effects:
        first.setdefault(effect.key, effect.at)
    for key, leaves in evidence.leaves_of.items():
        for one in leaves:
            if one.kind == "disclosed" and (key not in first or one.at < first[key]):
                yield Violation("early-outcome", key)
    for key in first:
        kinds = {one.kind for one in evidence.leaves_of[key]}
        if key and not kinds & {"disclosed", "unknown"}:
            yield Violation("no-outcome", key)


def _after_withdrawal(evidence: Evidence) -> Iterator[Violation]:
    """Nothing is authorised after the commit, nothing takes effect past its time, all is erased."""
    for one in evidence.leaves:
        if one.kind == "disclosure_intent":
            end = evidence.withdrawn.get(UUID(one.body["case_ref"]))
            if end is not None and one.at > end.at:
                yield Violation("late-intent", one.body.get("delivery_ref", ""))
    for effect in evidence.effects:
        if effect.referral is None:
            continue
        end = evidence.withdrawn.get(evidence.requested[effect.referral].case_ref)
        if end is None:
            continue
        if effect.at > end.effective:
            yield Violation("late-effect", effect.key)
        gone = evidence.erased.get(effect.referral)
        if gone is None or gone < effect.at:
            yield Violation("not-erased", str(effect.referral))


def _erasures(evidence: Evidence) -> Iterator[Violation]:
    """Every request to delete was answered after it was last made (this partner always answers)."""
    last: dict[tuple[str, str], datetime] = {}
    for one in evidence.leaves:
        if one.kind in {"erasure_requested", "erasure_reported"}:
            last[one.kind, one.body["erasure_ref"]] = one.at
    for (kind, ref), at in last.items():
        reported = last.get(("erasure_reported", ref))
        if kind == "erasure_requested" and (reported is None or reported < at):
            yield Violation("erasure-open", ref)


def _facts(evidence: Evidence) -> Iterator[Violation]:
    """No facts were published after the end of consent."""
    for one in evidence.topic:
        end = evidence.withdrawn.get(one.event.case_ref)
        sealed = getattr(one.event, "facts", None) or getattr(one.event, "stats_facts", None)
        if end is not None and sealed is not None and one.at > end.effective:
            yield Violation("late-facts", str(one.event.event_id))


def _answers(evidence: Evidence) -> Iterator[Violation]:
    """What the partner answered, and was told to be taken, stands on the topic."""
    moved = {(e.referral_ref, e.to_status) for e in evidence.of(models.ReferralStatusChanged)}
    for record in evidence.partner:
        if record["kind"] != "answer":
            continue
        for task in record["resources"]:
            values = [i.get("value", "") for i in _identifiers(task)]
            ref = next((evidence.at_partner[v] for v in values if v in evidence.at_partner), None)
            if task["status"] == "accepted" and (ref, "accepted") not in moved:
                yield Violation("answer-lost", str(ref))


CHECKS = (
    _topic,
    _ledger,
    _withdrawals,
    _complete,
    _once,
    _order,
    _intents,
    _outcomes,
    _after_withdrawal,
    _erasures,
    _facts,
    _answers,
)
