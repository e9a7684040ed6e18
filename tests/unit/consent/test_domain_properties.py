"""What holds for every set of records: restricting never releases, withdrawing takes all."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from services.consent.domain import RULES, Change, evaluate, expire, is_live, withdraw
from services.consent.domain import with_overlay as joined
from services.kit.ports.consent import ConsentRecord, Decision, Question, Withdrawal
from tests.unit.consent.records import (
    CASE,
    NOW,
    ORGS,
    PURPOSES,
    cases,
    denies,
    permits,
    questions,
    record,
)

Records = tuple[ConsentRecord, ...]


def decide(records: Records, asked: Question) -> Decision:
    return evaluate(records, asked, NOW, version=1, key_version=1)


def released_before(before: Records, asked: Question, after: Decision) -> bool:
    """Whether what `after` releases could have been released, at least as long, `before`."""
    if not after.allowed:
        return True
    earlier = decide(before, replace(asked, categories=after.categories))
    assert after.deadline is not None
    return (
        earlier.rule == "permit"
        and earlier.deadline is not None
        and earlier.deadline >= after.deadline
    )


def applied(records: Records, change: Change, of: ConsentRecord) -> Records:
    rules = tuple(r for i, r in enumerate(of.rules) if i not in change.ended) + change.kept
    return joined(records, replace(of, rules=rules, status=change.status))


def take_back(records: Records, of: ConsentRecord, *items: tuple[str, str, tuple[str, ...]]):  # type: ignore[no-untyped-def]
    request = Withdrawal(
        command_id=CASE,
        consent_ref=of.consent_ref,
        by_org=of.source_org,
        status="withdrawn",
        items=items,
    )
    return withdraw(records, request, NOW, {}, cell="cell-demo")


@given(cases(), questions)
def test_every_decision_has_a_rule_and_allows_a_part_of_what_was_asked(
    records: Records, asked: Question
) -> None:
    decision = decide(records, asked)
    assert decision.rule in RULES
    assert set(decision.categories) | set(decision.refused_categories) == set(asked.categories)
    assert not set(decision.categories) & set(decision.refused_categories)
    assert decision.allowed == bool(decision.categories)
    assert (decision.rule in {"permit", "permit-part"}) == decision.allowed
    if decision.allowed:
        assert decision.deadline is not None
        assert decision.deadline > NOW


@given(cases(), denies, questions)
def test_adding_a_deny_never_releases_more(
    records: Records, extra: object, asked: Question
) -> None:
    more = (*records, record(extra, ref=99))  # type: ignore[arg-type]
    after = decide(more, asked)
    assert released_before(records, asked, after)
    assert len(after.categories) <= len(decide(records, asked).categories)


@given(cases(), questions, st.data())
def test_taking_a_permit_away_never_releases_more(
    records: Records, asked: Question, data: st.DataObject
) -> None:
    permits = [
        (of, place)
        for of in records
        for place, rule in enumerate(of.rules)
        if rule.decision == "permit"
    ]
    assume(permits)
    of, gone = data.draw(st.sampled_from(permits))
    less = joined(records, replace(of, rules=of.rules[:gone] + of.rules[gone + 1 :]))
    assert released_before(records, asked, decide(less, asked))


@given(cases(), questions, st.data())
def test_a_shorter_validity_never_allows_later(
    records: Records, asked: Question, data: st.DataObject
) -> None:
    assume(records)
    of = data.draw(st.sampled_from(records))
    less = timedelta(days=data.draw(st.integers(0, 5)))
    rules = tuple(
        replace(r, valid_to=r.valid_to - less) if r.decision == "permit" else r for r in of.rules
    )
    shorter = replace(of, rules=rules, valid_to=of.valid_to - less)
    after = decide(joined(records, shorter), asked)
    assert released_before(records, asked, after)


@given(cases(), questions, st.data())
def test_after_a_withdrawal_nothing_rests_on_that_consent_and_nothing_opens(
    records: Records, asked: Question, data: st.DataObject
) -> None:
    assume(records)
    of = data.draw(st.sampled_from(records))
    change = take_back(records, of)
    assert isinstance(change, Change)
    after = applied(records, change, of)
    decision = decide(after, asked)
    assert decision.consent_ref != of.consent_ref
    assert released_before(records, asked, decision)


@given(cases(), questions, st.data())
def test_a_partial_withdrawal_takes_that_part_and_keeps_the_rest(
    records: Records, asked: Question, data: st.DataObject
) -> None:
    parts = [
        (of, r) for of in records for r in of.rules if r.decision == "permit" and r.to_org in ORGS
    ]
    assume(parts)
    of, rule = data.draw(st.sampled_from(parts))
    taken = data.draw(st.sets(st.sampled_from(rule.data_categories), min_size=1))
    change = take_back(records, of, (str(rule.to_org), str(rule.purpose), tuple(taken)))
    assert isinstance(change, Change)
    after = applied(records, change, of)
    decision = decide(after, asked)
    assert released_before(records, asked, decision)
    named = (asked.to_org, asked.purpose) == (rule.to_org, rule.purpose)
    if decision.consent_ref == of.consent_ref and named:
        assert not taken & set(decision.categories)
    if not named or not taken & set(asked.categories):
        assert decision.categories == decide(records, asked).categories
    assert {c for a in change.affected for c in a.data_categories} == taken


@given(cases(), st.data())
def test_a_key_dies_exactly_when_the_last_live_permit_of_its_purpose_goes(
    records: Records, data: st.DataObject
) -> None:
    assume(records)
    of = data.draw(st.sampled_from(records))
    change = take_back(records, of)
    assert isinstance(change, Change)
    after = applied(records, change, of)
    permitted = {r.purpose for r in of.rules if r.decision == "permit"}
    expected = {p for p in PURPOSES if p in permitted and not is_live(after, p, NOW)}
    assert {k.purpose for k in change.dead_keys} == expected


@given(cases(), questions)
def test_closing_what_is_over_changes_no_decision(records: Records, asked: Question) -> None:
    after = records
    for of in records:
        change = expire(after, of, NOW, {})
        if change is not None:
            after = applied(after, change, of)
    was, is_now = decide(records, asked), decide(after, asked)
    assert (was.allowed, was.categories, was.deadline) == (
        is_now.allowed,
        is_now.categories,
        is_now.deadline,
    )
    assert all(now_rule.valid_to > NOW for r in after for now_rule in r.rules)


@given(cases(), st.lists(permits | denies, min_size=1, max_size=3), questions)
def test_an_overlay_weighs_as_much_as_a_stored_record(
    records: Records, rules: list[object], asked: Question
) -> None:
    overlay = record(*rules, ref=50, start=-3)  # type: ignore[arg-type]
    before = decide(records, replace(asked, overlay=overlay))
    assert before == decide((*records, overlay), asked)
