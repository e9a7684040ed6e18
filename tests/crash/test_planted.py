"""Faults planted in the hub: each must turn the judge red, or its silence means nothing."""

import pytest

from services.console.local import plan
from tests.support.crash_judge import judge
from tests.support.crash_plants import PLANTS
from tests.support.crash_rig import Point, Rig
from tests.support.crash_traffic import BY_FHIR, BY_HOOK

EXPECTED = {
    "no-key": {"no-key"},
    "early-outcome": {"early-outcome"},
    "late-leaf": {"no-intent"},
    "new-mark": {"no-intent"},
    "done-first": {"note-lost"},
    "old-stays": {"not-put-right"},
}
STRIKES = {
    "no-key": "delivery.called",
    "early-outcome": "delivery.calling",
    "late-leaf": "delivery.called",
    "new-mark": "announcement.sent",
    "done-first": "notice.recorded",
    "old-stays": "case.amended",
}
NTH = 3
"""How often the step is passed, so that the fault has surely happened."""
SETTLED = frozenset({"old-stays"})
"""Faults that are seen once everything has been delivered."""


@pytest.fixture(params=sorted(PLANTS))
def planted(rig: Rig, request: pytest.FixtureRequest) -> str:
    """The hub with one fault in it."""
    name: str = request.param
    rig.quiet()  # what others left is not this run's
    rig.hub.stop(plan.HUB)
    rig.start(plan.HUB, planted=name)
    return name


@pytest.mark.timeout(180)
def test_a_planted_fault_turns_the_run_red(rig: Rig, planted: str) -> None:
    traffic = rig.traffic(seed=1 + sorted(PLANTS).index(planted))
    traffic.kinds = BY_HOOK if planted in {"new-mark", "done-first"} else BY_FHIR
    before = set(judge(rig.evidence(traffic)))
    with traffic:
        assert rig.strike(Point(STRIKES[planted], plan.HUB), traffic, nth=NTH)
    if planted in SETTLED:
        rig.quiet()
    found = set(judge(rig.evidence(traffic))) - before
    assert {violation.rule for violation in found} >= EXPECTED[planted]
