"""The judge of crash runs: silent on a clean run, and red for each promise that is broken."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from uuid import uuid4

import pytest

from schemas import models
from tests.support.crash_judge import RULES, judge
from tests.support.crash_told import TOLD_RULES
from tests.unit.crash.runs import Told, at, clean_run


def lose_acceptance(told: Told) -> None:
    told.ledger[1]["body"]["entry"][0]["response"]["location"] = f"Task/{uuid4()}"


def refuse(told: Told) -> None:
    told.ledger[1]["status"] = 422


def misorder(told: Told) -> None:
    told.topic[0], told.topic[1] = (
        replace(told.topic[1], offset=0),
        replace(told.topic[0], offset=1),
    )


def leave_gap(told: Told) -> None:
    told.topic.pop(1)


def lose_withdrawal(told: Told) -> None:
    told.change_event(models.ConsentWithdrawn, consent_ref=uuid4())


def invent_content(told: Told) -> None:
    effect = deepcopy(told.records("effect")[0])
    effect["resources"][0] |= {"id": "x", "identifier": [{"value": str(uuid4())}]}
    effect["response"]["entry"][0]["response"]["location"] = "Task/x"
    told.partner.append(effect)


def lose_content(told: Told) -> None:
    gone = {told.records("effect")[0]["key"]}
    told.partner = [r for r in told.partner if r.get("key") not in gone]
    told.leaves = [one for one in told.leaves if one.kind != "disclosed"]


def lose_report(told: Told) -> None:
    told.without_event(models.ReferralDelivered)
    told.without_event(models.ReferralStatusChanged)


def lose_outcome(told: Told) -> None:
    told.leaves = [one for one in told.leaves if one.kind != "disclosed"]


def repeat_effect(told: Told) -> None:
    told.partner.append(told.records("effect")[0])


def repeat_acceptance(told: Told) -> None:
    told.ledger = [r for r in told.ledger if r["key"] != told.ledger[0]["key"]]


def repeat_event(told: Told) -> None:
    told.change_event(models.ReferralDelivered, version=3)


def forget_key(told: Told) -> None:
    for record in told.partner:
        if "key" in record:
            record["key"] = ""


def swap_order(told: Told) -> None:
    first, second = told.records("effect")[:2]
    a, b = told.partner.index(first), told.partner.index(second)
    told.partner[a], told.partner[b] = second, first


def leave_no_intent(told: Told) -> None:
    told.leaves = [one for one in told.leaves if one.kind != "disclosure_intent"]


def write_intent_late(told: Told) -> None:
    n = next(n for n, one in enumerate(told.leaves) if one.kind == "disclosure_intent")
    told.leaves[n] = replace(told.leaves[n], at=at(1.15))


def write_outcome_early(told: Told) -> None:
    n = next(n for n, one in enumerate(told.leaves) if one.kind == "disclosed")
    told.leaves[n] = replace(told.leaves[n], at=at(1.05))


def authorise_late(told: Told) -> None:
    n = max(n for n, one in enumerate(told.leaves) if one.kind == "disclosure_intent")
    told.leaves.append(replace(told.leaves[n], at=at(24.1)))


def arrive_late(told: Told) -> None:
    told.records("effect")[-1]["at"] = at(26.5).isoformat()


def publish_late(told: Told) -> None:
    n = max(n for n, p in enumerate(told.topic) if isinstance(p.event, models.ReferralSent))
    told.topic[n] = replace(told.topic[n], at=at(26.5))


def keep_data(told: Told) -> None:
    told.partner = [r for r in told.partner if r["kind"] != "erasure"]


def leave_erasure_open(told: Told) -> None:
    told.leaves = [one for one in told.leaves if one.kind != "erasure_reported"]


def ask_to_erase_again(told: Told) -> None:
    asked = next(one for one in told.leaves if one.kind == "erasure_requested")
    told.leaves.append(replace(asked, at=at(30)))


def lose_answer(told: Told) -> None:
    told.change_event(models.ReferralStatusChanged, to_status="under_review")


def lose_change(told: Told) -> None:
    key, path = "right", f"/v1/cases/{uuid4()}/commands"
    told.ledger.append({"kind": "intent", "what": "put right", "key": key, "path": path})
    told.ledger.append({"kind": "answer", "what": "put right", "key": key, "status": 200})


def leave_the_old(told: Told) -> None:
    referral = next(iter(told.evidence().languages))
    case = told.evidence().requested[referral].case_ref
    standing = (models.Amended(first_version=1, vault_version=2),)
    said = {"changed": ("languages",), "data_categories": ("pseudonymous_core",)}
    told.publish(
        30, models.CaseUpdated, case, version=2, case_status="open", amended=standing, **said
    )


PLANTS: dict[str, tuple[Callable[[Told], None], ...]] = {
    "topic-order": (misorder, leave_gap),
    "acceptance-lost": (lose_acceptance,),
    "refused": (refuse,),
    "withdrawal-lost": (lose_withdrawal,),
    "phantom": (invent_content,),
    "lost": (lose_content,),
    "unreported": (lose_report,),
    "no-outcome": (lose_outcome,),
    "twice": (repeat_effect, repeat_acceptance, repeat_event),
    "no-key": (forget_key,),
    "case-order": (swap_order,),
    "no-intent": (leave_no_intent, write_intent_late),
    "early-outcome": (write_outcome_early,),
    "late-intent": (authorise_late,),
    "late-effect": (arrive_late,),
    "late-facts": (publish_late,),
    "not-erased": (keep_data,),
    "erasure-open": (leave_erasure_open, ask_to_erase_again),
    "answer-lost": (lose_answer,),
    "change-lost": (lose_change,),
    "not-put-right": (leave_the_old,),
}


def test_a_clean_run_has_no_violation() -> None:
    assert judge(clean_run().evidence()) == []


@pytest.mark.parametrize(
    ("rule", "plant"), [(rule, plant) for rule, plants in PLANTS.items() for plant in plants]
)
def test_a_planted_fault_turns_the_judge_red(rule: str, plant: Callable[[Told], None]) -> None:
    told = clean_run()
    plant(told)
    assert rule in {violation.rule for violation in judge(told.evidence())}


def test_every_rule_of_the_judge_has_a_planted_fault() -> None:
    assert set(PLANTS) == set(RULES) - set(TOLD_RULES)


def test_a_record_sent_again_by_the_relay_is_no_violation() -> None:
    told = clean_run()
    told.topic += [replace(one, offset=one.offset + len(told.topic)) for one in told.topic[:6]]
    assert judge(told.evidence()) == []


def test_a_request_without_an_answer_may_have_had_no_effect() -> None:
    told = clean_run()
    told.ledger.append({"kind": "intent", "what": "refer", "key": str(uuid4()), "path": "/fhir"})
    assert judge(told.evidence()) == []


def test_a_referral_suppressed_before_it_was_sent_is_complete() -> None:
    told = clean_run()
    key = told.records("effect")[-1]["key"]
    told.partner = [r for r in told.partner if r.get("key") != key and r["kind"] != "erasure"]
    told.partner.pop()
    told.leaves = told.leaves[:5]
    assert judge(told.evidence()) == []
