"""The consent decision and what a withdrawal or an end of validity does, as pure functions.

Default deny over the live records of one case: any matching deny wins, else one matching permit,
else deny; every answer names its rule. A permit counts for the categories it lists and no further,
and for nothing the other legal bases may not cover. Taking consent back ends permits and never
lifts a deny, so that no withdrawal can open what was closed. Which categories a kind of recipient
may be asked for is `services.kit.needs`; storing and locking is `store.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, get_args

from schemas.models import Affected, DeadKey
from services.kit.bases import covered
from services.kit.ports.consent import ConsentRecord, ConsentRule, Decision, Question, Withdrawal

POLICY_VERSION: Final = "1"
"""Version of the rules in this file; a change of any answer is a new version."""

Rule = Literal[
    "permit",
    "permit-part",
    "no-categories",
    "no-record",
    "no-permit",
    "deny-org",
    "deny-kind",
    "withdrawn",
    "expired",
    "not-yet-valid",
    "category-not-consented",
    "basis-not-allowed",
]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
"""Every reason a decision can give."""

LIVE: Final = frozenset({"given", "renewed"})
"""The statuses in which a consent permits anything."""

WITHDRAWALS: Final = frozenset({"withdrawn", "revoked", "invalidated"})

TRANSITIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "requested": frozenset({"given", "refused", "deferred"}),
        "deferred": frozenset({"given", "refused"}),
        "given": frozenset({"renewed", "expired"}) | WITHDRAWALS,
        "renewed": frozenset({"renewed", "expired"}) | WITHDRAWALS,
        "refused": frozenset(),
        "withdrawn": frozenset(),
        "revoked": frozenset(),
        "expired": WITHDRAWALS,
        "invalidated": frozenset(),
    }
)
"""Status of a consent record → statuses it may take next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What becomes of one record: `ended` indexes its rules; `kept` are their shorter remains."""

    status: str
    ended: tuple[int, ...]
    kept: tuple[ConsentRule, ...]
    affected: tuple[Affected, ...]
    dead_keys: tuple[DeadKey, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a command changes nothing; `already` when the consent was inactive before."""

    rule: str
    already: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A permit with what is left of it for one question."""

    categories: frozenset[str]
    deadline: datetime
    record: ConsentRecord


def evaluate(
    records: Sequence[ConsentRecord],
    question: Question,
    now: datetime,
    *,
    version: int,
    key_version: int,
) -> Decision:
    """Decide over the records of the case (live at `version`) plus the question's overlay."""
    held = with_overlay(records, question.overlay)
    asked = frozenset(question.categories)
    denied, deny_rule = _denied(held, question, now)
    best = _best(held, question, now, asked - denied)
    allowed = best.categories if best is not None else frozenset()
    rule = _rule(held, question, now, allowed=allowed, deny=deny_rule if asked & denied else None)
    return Decision(
        allowed=bool(allowed),
        rule=rule,
        categories=tuple(sorted(allowed)),
        refused_categories=tuple(sorted(asked - allowed)),
        consent_ref=best.record.consent_ref if best is not None and allowed else None,
        consent_version=version,
        key_version=key_version,
        deadline=best.deadline if best is not None and allowed else None,
        policy_version=POLICY_VERSION,
        legal_basis=best.record.legal_basis if best is not None and allowed else None,
    )


def with_overlay(
    records: Sequence[ConsentRecord], overlay: ConsentRecord | None
) -> tuple[ConsentRecord, ...]:
    """The records as they would be once the overlay was stored."""
    if overlay is None:
        return tuple(records)
    return (*(r for r in records if r.consent_ref != overlay.consent_ref), overlay)


def _denied(
    records: Iterable[ConsentRecord], question: Question, now: datetime
) -> tuple[frozenset[str], Rule]:
    """Categories some deny takes away, and whether it named the organisation or its kind.

    A deny stands until its end even when its record was withdrawn, and does not wait for its start.
    """
    denied: frozenset[str] = frozenset()
    rule: Rule = "deny-kind"
    for record in records:
        for deny in record.rules:
            if deny.decision != "deny" or not _denies(deny, question, now):
                continue
            denied |= frozenset(deny.data_categories or question.categories)
            rule = "deny-org" if deny.to_org is not None else rule
    return denied, rule


def _denies(deny: ConsentRule, question: Question, now: datetime) -> bool:
    named = question.to_org == deny.to_org or (
        deny.to_kind is not None and question.to_kind == deny.to_kind
    )
    return named and deny.purpose in {None, question.purpose} and now < deny.valid_to


def _best(
    records: Iterable[ConsentRecord], question: Question, now: datetime, wanted: frozenset[str]
) -> _Candidate | None:
    """The one permit that allows most, then longest; the smallest reference breaks a tie."""
    found = [
        _Candidate(covered(record, rule) & wanted, min(rule.valid_to, record.valid_to), record)
        for record, rule in _permits(records, question)
        if record.status in LIVE
        and max(rule.valid_from, record.valid_from) <= now < min(rule.valid_to, record.valid_to)
    ]
    return max(
        found,
        key=lambda c: (len(c.categories), c.deadline, -c.record.consent_ref.int),
        default=None,
    )


def _permits(
    records: Iterable[ConsentRecord], question: Question
) -> Iterable[tuple[ConsentRecord, ConsentRule]]:
    for record in records:
        for rule in record.rules:
            if (
                rule.decision == "permit"
                and rule.to_org == question.to_org
                and rule.purpose == question.purpose
            ):
                yield record, rule


def _rule(
    records: Sequence[ConsentRecord],
    question: Question,
    now: datetime,
    *,
    allowed: frozenset[str],
    deny: Rule | None,
) -> Rule:
    if allowed:
        return "permit" if len(allowed) == len(set(question.categories)) else "permit-part"
    if not question.categories:
        return "no-categories"
    if deny is not None:
        return deny
    return _why_no_permit(records, question, now)


def _why_no_permit(records: Sequence[ConsentRecord], question: Question, now: datetime) -> Rule:
    if not records:
        return "no-record"
    permits = list(_permits(records, question))
    if not permits:
        gone = any(r.status in WITHDRAWALS for r in records)
        ended = any(r.status == "expired" for r in records)
        return "withdrawn" if gone else "expired" if ended else "no-permit"
    reasons = {_why_not(record, rule, now) for record, rule in permits}
    order: tuple[Rule, ...] = (
        *("category-not-consented", "basis-not-allowed", "not-yet-valid", "expired", "withdrawn"),
    )
    return next(r for r in order if r in reasons)


def _why_not(record: ConsentRecord, rule: ConsentRule, now: datetime) -> Rule:
    if record.status in WITHDRAWALS:
        return "withdrawn"
    if record.status not in LIVE or now >= min(rule.valid_to, record.valid_to):
        return "expired"
    if now < max(rule.valid_from, record.valid_from):
        return "not-yet-valid"
    return "category-not-consented" if covered(record, rule) else "basis-not-allowed"


# --- taking back ------------------------------------------------------------------------------


def withdraw(
    records: Sequence[ConsentRecord],
    request: Withdrawal,
    now: datetime,
    keys: Mapping[str, int],
    *,
    cell: str,
    over: Sequence[ConsentRule] = (),
) -> Change | Refusal:
    """Plan a withdrawal of one of the case's records, all of it or the named parts.

    Only the source takes back, or the cell itself (its protection officer). `keys` are current key
    versions by purpose, 1 where absent. `over` are permits of the record that time has ended:
    whoever received something under them is reached by a withdrawal of the whole all the same.
    """
    record = next((r for r in records if r.consent_ref == request.consent_ref), None)
    if record is None:
        return Refusal(rule="unknown-consent")
    if request.by_org not in {record.source_org, cell}:
        return Refusal(rule="not-source")
    if request.status not in WITHDRAWALS:
        return Refusal(rule="withdrawal-status")
    if request.status not in TRANSITIONS[record.status]:
        return Refusal(rule="already-inactive", already=True)
    ended, kept = _taken(record, request)
    if not ended and request.items:
        return Refusal(rule="unknown-item")
    change = _change(records, record, (ended, kept), now, keys, done=request.status)
    if request.items:
        return change
    everything = replace(record, rules=(*record.rules, *over))
    reached = (*ended, *range(len(record.rules), len(everything.rules)))
    return replace(change, affected=_affected(everything, reached, kept))


def expire(
    records: Sequence[ConsentRecord],
    record: ConsentRecord,
    now: datetime,
    keys: Mapping[str, int],
) -> Change | None:
    """Plan the end of every rule whose validity is over; None when there is none."""
    ended = tuple(i for i, rule in enumerate(record.rules) if rule.valid_to <= now)
    if not ended:
        return None
    return _change(records, record, (ended, ()), now, keys, done="expired")


def _taken(
    record: ConsentRecord, request: Withdrawal
) -> tuple[tuple[int, ...], tuple[ConsentRule, ...]]:
    """Rules that end and their remains; nothing at all when one named part does not exist."""
    permits = {i: r for i, r in enumerate(record.rules) if r.decision == "permit"}
    if not request.items:
        everything = request.status == "invalidated"
        return tuple(range(len(record.rules)) if everything else permits), ()
    left = {i: frozenset(r.data_categories) for i, r in permits.items()}
    for to_org, purpose, categories in request.items:
        named = [
            i for i, r in permits.items() if (r.to_org, r.purpose) == (to_org, purpose) and left[i]
        ]
        if not named or not set(categories) <= set().union(*(left[i] for i in named)):
            return (), ()
        for i in named:
            left[i] = left[i] - frozenset(categories) if categories else frozenset()
    ended = tuple(i for i, r in permits.items() if left[i] != frozenset(r.data_categories))
    kept = tuple(
        replace(permits[i], data_categories=tuple(sorted(left[i]))) for i in ended if left[i]
    )
    return ended, kept


def _change(
    records: Sequence[ConsentRecord],
    record: ConsentRecord,
    taken: tuple[tuple[int, ...], tuple[ConsentRule, ...]],
    now: datetime,
    keys: Mapping[str, int],
    *,
    done: str,
) -> Change:
    ended, kept = taken
    stays = tuple(r for i, r in enumerate(record.rules) if i not in ended) + kept
    over = not any(r.decision == "permit" and now < r.valid_to for r in stays)
    after = replace(record, rules=stays, status=done if over else record.status)
    later = with_overlay(records, after)
    touched = {r.purpose for i in ended if (r := record.rules[i]).decision == "permit"}
    dead = sorted(p for p in touched if p is not None and not is_live(later, p, now))
    return Change(
        status=after.status,
        ended=ended,
        kept=kept,
        affected=_affected(record, ended, kept),
        dead_keys=tuple(DeadKey(purpose=p, key_version=keys.get(p, 1)) for p in dead),
    )


def is_live(records: Iterable[ConsentRecord], purpose: str, now: datetime) -> bool:
    """Whether any permit for the purpose remains, for whatever organisation."""
    return any(
        rule.decision == "permit" and rule.purpose == purpose and now < rule.valid_to
        for record in records
        if record.status in LIVE
        for rule in record.rules
    )


def _affected(
    record: ConsentRecord, ended: Iterable[int], kept: Iterable[ConsentRule]
) -> tuple[Affected, ...]:
    """What each organisation may no longer have under this record, by purpose."""
    gone: dict[tuple[str, str], set[str]] = {}
    for i in ended:
        rule = record.rules[i]
        if rule.decision == "permit" and rule.to_org is not None and rule.purpose is not None:
            gone.setdefault((rule.to_org, rule.purpose), set()).update(rule.data_categories)
    for rule in kept:
        gone[str(rule.to_org), str(rule.purpose)] -= set(rule.data_categories)
    return tuple(
        Affected(to_org=org, purpose=purpose, data_categories=tuple(sorted(categories)))
        for (org, purpose), categories in sorted(gone.items())
        if categories
    )
