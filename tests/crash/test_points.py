"""Every step of the path is the last one of some part (kill -9); every promise still holds."""

import pytest

from services.kit.steps import STEPS
from tests.crash.__main__ import walk
from tests.support.crash_rig import PARTS, Rig, covering_points, every_point


def test_every_step_has_a_case_and_every_part_dies() -> None:
    assert {p.step for p in covering_points()} == set(STEPS)
    assert {p.part for p in covering_points()} == set(PARTS)
    assert len(set(every_point())) == len(STEPS) * len(PARTS)


@pytest.mark.timeout(400)
def test_no_promise_is_broken_whatever_dies_at_whatever_step(rig: Rig) -> None:
    traffic = rig.traffic(seed=1)
    with traffic:
        missed = walk(rig, traffic, covering_points())
    assert missed == []
    assert rig.judged(traffic) == []
