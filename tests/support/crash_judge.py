"""The judge of a run with faults: what the world outside the hub must show afterwards.

Pure. It reads only what the partner stored, what the client wrote down, a dump of the topic and the
leaves of the custody log; nothing that the hub says of itself. The ids by which the parties know a
referral are derived from the topic's references (`Evidence.alias`), so all four can be joined.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from schemas import models
from tests.support.crash_seen import (
    AGAIN,
    RIGHT,
    Evidence,
    Violation,
    identifiers,
    location,
    moment,
)
from tests.support.crash_told import TOLD_CHECKS, TOLD_RULES

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
    "change-lost",
    "not-put-right",
    *TOLD_RULES,
)


def judge(evidence: Evidence) -> list[Violation]:
    """Every broken promise; empty is what we want."""
    found: list[Violation] = []
    for check in CHECKS:
        found += check(evidence)
    return found


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
        if record["status"] not in {200, 201}:
            yield Violation("refused", record["key"])
        elif record["what"] == "refer" and record["status"] == 201:
            answers[record["key"]].add(record["body"]["referral"]["id"])
        elif record["what"] == "refer":
            located = [location(entry) for entry in record["body"]["entry"]]
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
        if record["kind"] != "answer" or record["what"] != "withdraw":
            continue
        if record["status"] in {200, 201}:
            name = paths[record["key"]].removesuffix("/withdrawals").rpartition("/")[2]
            if name not in ended:
                yield Violation("withdrawal-lost", name)


def _complete(evidence: Evidence) -> Iterator[Violation]:
    """Every referral that exists was delivered and reported so, or ended for a reason."""
    delivered = {e.referral for e in evidence.effects if e.first}
    reported = {e.referral_ref for e in evidence.of(models.ReferralDelivered)}
    reported |= {e.referral_ref for e in evidence.of(models.ReferralStatusChanged)}
    for ref, event in evidence.requested.items():
        if ref not in delivered:
            if ref not in evidence.ended and event.to_org == evidence.to_org:
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
            if one.kind == "disclosure_intent" and one.at <= moment(record)
        ]
        if not record["key"] or len(before) < calls[record["key"]]:
            yield Violation("no-intent", record["key"])


def _outcomes(evidence: Evidence) -> Iterator[Violation]:
    """`disclosed` is written after the effect, never before or without; every effect has one."""
    first: dict[str, datetime] = {}
    for effect in evidence.effects:
        first.setdefault(effect.key, effect.at)
    told = {record["mark"] for record in evidence.told if record["kind"] == "told"}
    for key, leaves in evidence.leaves_of.items():
        if not key or key in told:
            continue
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
            values = [i.get("value", "") for i in identifiers(task)]
            ref = next((evidence.at_partner[v] for v in values if v in evidence.at_partner), None)
            if task["status"] == "accepted" and (ref, "accepted") not in moved:
                yield Violation("answer-lost", str(ref))


def _put_right(evidence: Evidence) -> Iterator[Violation]:
    """A change that was answered stands on the topic once, and whoever has the old gets the new."""
    changes = [e for e in evidence.of(models.CaseUpdated) if e.amended]
    for (case, _), count in Counter((e.case_ref, e.version) for e in changes).items():
        if count > 1:
            yield Violation("twice", str(case))
    changed = {e.case_ref for e in changes}
    known = {str(evidence.alias("case", case, evidence.from_org)) for case in changed}
    paths = {r["key"]: r["path"] for r in evidence.ledger if r["kind"] == "intent"}
    for record in evidence.ledger:
        if record["kind"] == "answer" and record["what"] == "put right":
            name = paths[record["key"]].split("/")[3]
            if record["status"] == 200 and name not in known:
                yield Violation("change-lost", name)
    for ref, languages in evidence.languages.items():
        if evidence.requested[ref].case_ref in changed and RIGHT not in languages:
            yield Violation("not-put-right", str(ref))


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
    _put_right,
    *TOLD_CHECKS,
)
