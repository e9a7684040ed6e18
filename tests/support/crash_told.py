"""The judge's rules for what a partner is told by webhook, reads, and answers by hooks.

Pure, as `crash_judge`, whose rules these extend: it reads what the clinic and the sender's endpoint
kept (`tests.support.crash_clinic`), the topic and the leaves. A message takes effect at its first
arrival: the receiver knows it by its `webhook-id`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from schemas import models
from tests.support.crash_seen import Evidence, Record, Violation, moment

SENT = "cauce.referral.sent"
CHANGED = frozenset({"cauce.referral.status_changed", "cauce.referral.revoked"})
ERASE = "cauce.erasure.requested"
TAKEN = frozenset({200, 409})
"""What the hub says to a hook that it took: now, or when it came first."""
TOLD_RULES = (
    "announcement-lost",
    "note-lost",
    "note-order",
    "note-twice",
    "note-unmeant",
    "number-gap",
    "number-lost",
    "read-unlogged",
    "hook-lost",
)
Subject = tuple[str, str]


def _first(evidence: Evidence, kinds: frozenset[str]) -> dict[Subject, list[Record]]:
    """First arrivals of these types by (receiver, its own id), in order."""
    seen: set[str] = set()
    found: dict[Subject, list[Record]] = defaultdict(list)
    for record in evidence.told:
        if record["kind"] == "told" and record["type"] in kinds and record["mark"] not in seen:
            seen.add(record["mark"])
            found[record["org"], record["subject"]].append(record)
    return found


def _changes(evidence: Evidence) -> dict[UUID, list[tuple[int, str | None, str]]]:
    """Version, who did it and which side alone is told ('' for both), of each referral."""
    found: dict[UUID, list[tuple[int, str | None, str]]] = defaultdict(list)
    for one in (published.event for published in evidence.events):
        if isinstance(one, models.ReferralStatusChanged | models.ReferralCompleted):
            found[one.referral_ref].append((one.version, one.actor_org, ""))
        elif isinstance(one, models.ReferralRevoked):
            found[one.referral_ref].append((one.version, None, ""))
        elif isinstance(one, models.ReferralDelivered | models.ReferralDeliveryFailed):
            found[one.referral_ref].append((one.version, None, "from"))
    return found


def _announced(evidence: Evidence) -> Iterator[Violation]:
    """Every referral to the clinic was announced or ended, once, in the order of its case."""
    arrived = _first(evidence, frozenset({SENT}))
    place = {e.referral_ref: (e.case_ref, e.case_seq) for e in evidence.of(models.ReferralSent)}
    order: list[tuple[datetime, UUID]] = []
    for ref, event in evidence.requested.items():
        if event.to_org != evidence.hook_org:
            continue
        own = str(evidence.alias("task", ref, evidence.hook_org))
        messages = arrived.get((evidence.hook_org, own), [])
        if not messages and ref not in evidence.ended:
            yield Violation("announcement-lost", str(ref))
        if len(messages) > 1:
            yield Violation("note-twice", str(ref))
        order += [(moment(one), ref) for one in messages[:1]]
    last: Counter[UUID] = Counter()
    for _, ref in sorted(order):
        case, seq = place[ref]
        if seq < last[case]:
            yield Violation("case-order", str(case))
        last[case] = max(last[case], seq)


def _notes(evidence: Evidence) -> Iterator[Violation]:
    """Each party is told of every change that it did not make, once, in order; and of no other."""
    arrived, changes = _first(evidence, CHANGED), _changes(evidence)
    sent = _first(evidence, frozenset({SENT}))
    known = {(one.kind, one.body.get("referral_ref")) for one in evidence.leaves}
    for ref, event in evidence.requested.items():
        for org, side in ((evidence.from_org, "from"), (event.to_org, "to")):
            if side == "to" and org != evidence.hook_org:
                continue
            own = str(evidence.alias("task", ref, org))
            said = [r["version"] for r in arrived.get((org, own), [])]
            meant = {v for v, actor, only in changes[ref] if actor != org and only in ("", side)}
            heard = side == "from" or (org, own) in sent
            if heard and meant - set(said):
                yield Violation("note-lost", f"{org} {ref}")
            doubtful = ("disclosure_intent", str(ref)) in known  # it may have been called
            if set(said) - meant or (said and not heard and not doubtful):
                heard_how = "told" if heard else "not told"
                odd = sorted(set(said) - meant)
                yield Violation("note-unmeant", f"{org} {ref}: {odd or said}, {heard_how}")
            if len(said) != len(set(said)):
                yield Violation("note-twice", f"{org} {ref}")
            before = [r["version"] for r in sent.get((org, own), [])]
            if [*before, *said] != sorted([*before, *said]):
                yield Violation("note-order", f"{org} {ref}")


def _announcements_logged(evidence: Evidence) -> Iterator[Violation]:
    """Before the nth call with a mark there are n intents; its outcome is not written before it."""
    calls: Counter[str] = Counter()
    for record in evidence.told:
        if record["kind"] != "told" or record["type"] != SENT:
            continue
        mark, at = record["mark"], moment(record)
        calls[mark] += 1
        leaves = evidence.leaves_of[mark]
        before = [x for x in leaves if x.kind == "disclosure_intent" and x.at <= at]
        if len(before) < calls[mark]:
            yield Violation("no-intent", mark)
        if calls[mark] == 1 and any(x.kind == "disclosed" and x.at < at for x in leaves):
            yield Violation("early-outcome", mark)
        if not {x.kind for x in leaves} & {"disclosed", "unknown"}:
            yield Violation("no-outcome", mark)


def _after_withdrawal(evidence: Evidence) -> Iterator[Violation]:
    """After its time nothing is announced or read, and what was told is asked back and erased."""
    known = {
        str(evidence.alias("task", ref, evidence.hook_org)): ref
        for ref, event in evidence.requested.items()
        if event.to_org == evidence.hook_org
    }
    erased = {r["subject"] for r in evidence.told if r["kind"] == "erased"}
    for record in evidence.told:
        announced = record["kind"] == "told" and record["type"] == SENT
        if not announced and (record["kind"] != "read" or record["status"] != 200):
            continue
        ref = known.get(record["subject"])
        if ref is None:
            yield Violation("phantom", record["subject"])
            continue
        end = evidence.withdrawn.get(evidence.requested[ref].case_ref)
        if end is None:
            continue
        if moment(record) > end.effective:
            yield Violation("late-effect", str(ref))
        if record["subject"] not in erased:
            yield Violation("not-erased", str(ref))


def _numbers(evidence: Evidence) -> Iterator[Violation]:
    """The subscription tells every change of its Tasks under numbers without gaps.

    Of what was withdrawn before the recipient had it, numbers are told alone.
    """
    focus_of: dict[int, set[str]] = defaultdict(set)
    for record in evidence.told:
        if record["kind"] == "event":
            focus_of[record["number"]].add(record["focus"])
    if not focus_of:
        return
    for number in range(1, max(focus_of) + 1):
        if number not in focus_of or len(focus_of[number] - {""}) > 1:
            yield Violation("number-gap", str(number))
    told = Counter(name for names in focus_of.values() for name in names)
    sent = Counter(e.referral_ref for e in evidence.of(models.ReferralSent))
    meant = sent + Counter({ref: len(changes) for ref, changes in _changes(evidence).items()})
    wanted = 0
    for ref, event in evidence.requested.items():
        if event.to_org != evidence.hook_org:
            continue
        count = meant[ref] if ref in sent else 0  # what was never sent is its sender's alone
        wanted += count
        named = told[str(evidence.alias("task", ref, evidence.hook_org))]
        if named > count or (named < count and event.case_ref not in evidence.withdrawn):
            yield Violation("number-lost", str(ref))
    if wanted != max(focus_of):
        yield Violation("number-lost", f"{wanted} changes, numbered to {max(focus_of)}")


def _reads(evidence: Evidence) -> Iterator[Violation]:
    """Each read that was answered has an outcome in the log."""
    logged = Counter(
        one.body["referral_ref"]
        for one in evidence.leaves
        if one.kind in {"disclosed", "unknown"} and "delivery_ref" not in one.body
    )
    read = Counter(
        r["subject"] for r in evidence.told if r["kind"] == "read" and r["status"] == 200
    )
    for ref in evidence.requested:
        own = str(evidence.alias("task", ref, evidence.hook_org))
        if read[own] > logged[str(ref)]:
            yield Violation("read-unlogged", str(ref))


def _hooks(evidence: Evidence) -> Iterator[Violation]:
    """An answer that was taken by a hook stands on the topic."""
    moved = {
        str(evidence.alias("task", e.referral_ref, evidence.hook_org))
        for e in evidence.of(models.ReferralStatusChanged)
        if e.to_status == "accepted"
    }
    for record in evidence.told:
        if record["kind"] == "answer" and record["what"] == "accept":
            if record["status"] == 200 and record["subject"] not in moved:
                yield Violation("hook-lost", record["subject"])
            if record["status"] in {400, 401, 404}:  # 403: consent has ended
                yield Violation("refused", f"hook {record['status']} {record['subject']}")


TOLD_CHECKS = (
    _announced,
    _notes,
    _announcements_logged,
    _after_withdrawal,
    _numbers,
    _reads,
    _hooks,
)
