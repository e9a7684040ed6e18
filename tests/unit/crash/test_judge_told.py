"""The judge of webhooks, reads and hooks: silent on a clean run, red for each planted fault."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from schemas import models
from tests.support.crash_judge import judge
from tests.support.crash_told import SENT, TOLD_RULES
from tests.unit.crash.hooked_runs import CLINIC, hooked_run
from tests.unit.crash.runs import CLIENT, Told, at

Plant = Callable[[Told], None]


def messages(told: Told, org: str, kind: str) -> list[dict[str, Any]]:
    return [r for r in told.hooked if r["kind"] == "told" and (r["org"], r["type"]) == (org, kind)]


def lose_announcement(told: Told) -> None:
    told.hooked.remove(messages(told, CLINIC, SENT)[0])


def lose_note(told: Told) -> None:
    told.hooked.remove(messages(told, CLIENT, "cauce.referral.status_changed")[0])


def lose_note_of_the_end(told: Told) -> None:
    told.hooked.remove(messages(told, CLINIC, "cauce.referral.revoked")[0])


def swap_notes(told: Told) -> None:
    first, second = messages(told, CLIENT, "cauce.referral.status_changed")[:2]
    first["version"], second["version"] = second["version"], first["version"]


def tell_before_announcing(told: Told) -> None:
    (one,) = messages(told, CLINIC, "cauce.referral.revoked")
    one["version"] = 0


def announce_under_another_mark(told: Told) -> None:
    told.hooked.append({**messages(told, CLINIC, SENT)[0], "mark": str(uuid4())})


def tell_under_another_mark(told: Told) -> None:
    note = messages(told, CLIENT, "cauce.referral.status_changed")[0]
    told.hooked.append({**note, "mark": str(uuid4())})


def tell_who_did_it(told: Told) -> None:
    own = messages(told, CLINIC, SENT)[0]
    told.hooked.append(
        {**own, "type": "cauce.referral.status_changed", "version": 3, "mark": str(uuid4())}
    )


def skip_number(told: Told) -> None:
    told.hooked.remove(next(r for r in told.hooked if r["kind"] == "event"))


def give_number_twice(told: Told) -> None:
    told.hooked.append({"kind": "event", "number": 1, "focus": str(uuid4())})


def lose_number(told: Told) -> None:
    told.hooked.remove([r for r in told.hooked if r["kind"] == "event"][-1])


def tell_a_number_alone(told: Told) -> None:
    next(r for r in told.hooked if r["kind"] == "event")["focus"] = ""


def read_without_leaf(told: Told) -> None:
    told.leaves = [x for x in told.leaves if x.kind != "disclosed" or "delivery_ref" in x.body]


def lose_hook(told: Told) -> None:
    told.change_event(models.ReferralStatusChanged, to_status="under_review")


def swap_announcements(told: Told) -> None:
    first, second = messages(told, CLINIC, SENT)[:2]
    first["at"], second["at"] = second["at"], first["at"]


def announce_without_intent(told: Told) -> None:
    told.leaves = [x for x in told.leaves if "delivery_ref" not in x.body]


def repeat_without_intent(told: Told) -> None:
    told.hooked.append(dict(messages(told, CLINIC, SENT)[0]))


def write_outcome_early(told: Told) -> None:
    n = next(n for n, x in enumerate(told.leaves) if x.kind == "disclosed")
    told.leaves[n] = replace(told.leaves[n], at=at(1.05))


def write_no_outcome(told: Told) -> None:
    told.leaves = [x for x in told.leaves if x.kind != "disclosed" or "delivery_ref" not in x.body]


def announce_late(told: Told) -> None:
    messages(told, CLINIC, SENT)[-1]["at"] = at(26.5).isoformat()


def read_late(told: Told) -> None:
    [r for r in told.hooked if r["kind"] == "read"][-1]["at"] = at(26.5).isoformat()


def keep_it(told: Told) -> None:
    told.hooked = [r for r in told.hooked if r["kind"] != "erased"]


def announce_a_stranger(told: Told) -> None:
    messages(told, CLINIC, SENT)[0]["subject"] = str(uuid4())


def refuse_a_hook(told: Told) -> None:
    next(r for r in told.hooked if r["kind"] == "answer")["status"] = 404


PLANTS: dict[str, tuple[Plant, ...]] = {
    "announcement-lost": (lose_announcement,),
    "note-lost": (lose_note, lose_note_of_the_end),
    "note-order": (swap_notes, tell_before_announcing),
    "note-twice": (announce_under_another_mark, tell_under_another_mark),
    "note-unmeant": (tell_who_did_it,),
    "number-gap": (skip_number, give_number_twice),
    "number-lost": (lose_number, tell_a_number_alone),
    "read-unlogged": (read_without_leaf,),
    "hook-lost": (lose_hook,),
}
OLD_RULES: dict[str, tuple[Plant, ...]] = {
    "case-order": (swap_announcements,),
    "no-intent": (announce_without_intent, repeat_without_intent),
    "early-outcome": (write_outcome_early,),
    "no-outcome": (write_no_outcome,),
    "late-effect": (announce_late, read_late),
    "not-erased": (keep_it,),
    "phantom": (announce_a_stranger,),
    "refused": (refuse_a_hook,),
}


def test_a_clean_run_has_no_violation() -> None:
    assert judge(hooked_run().evidence()) == []


@pytest.mark.parametrize(
    ("rule", "plant"),
    [(rule, plant) for rule, plants in (PLANTS | OLD_RULES).items() for plant in plants],
)
def test_a_planted_fault_turns_the_judge_red(rule: str, plant: Plant) -> None:
    told = hooked_run()
    plant(told)
    assert rule in {violation.rule for violation in judge(told.evidence())}


def test_of_what_was_withdrawn_a_number_may_be_told_alone() -> None:
    told = hooked_run()
    [r for r in told.hooked if r["kind"] == "event"][-1]["focus"] = ""
    assert judge(told.evidence()) == []


def test_every_rule_has_a_planted_fault() -> None:
    assert set(PLANTS) == set(TOLD_RULES)


def test_a_repeat_of_a_message_with_an_intent_of_its_own_is_no_violation() -> None:
    told = hooked_run()
    one = messages(told, CLINIC, SENT)[0]
    intent = next(x for x in told.leaves if x.body.get("delivery_ref") == one["mark"])
    told.leaves.append(replace(intent, at=at(1.5)))
    told.hooked.append({**one, "at": at(1.6).isoformat()})
    assert judge(told.evidence()) == []
