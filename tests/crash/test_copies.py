"""Two copies of the hub at once: one is killed, one is frozen and wakes up as a zombie."""

import time

import pytest

from services.console.local import plan, processes
from tests.support.crash_rig import COPY, Point, Rig

FROZEN_AT = ("delivery.calling", "relay.taken")
"""`python -m tests.crash --frozen` goes through all steps."""


@pytest.fixture(scope="module")
def copy(rig: Rig) -> str:
    """Address of a second copy of the hub."""
    return rig.start_copy()


@pytest.mark.timeout(120)
def test_two_copies_share_the_work_and_either_may_die(rig: Rig, copy: str) -> None:
    one, two = rig.traffic(1), rig.traffic(2, hub=copy)
    with one, two:
        time.sleep(3)
        assert rig.strike(Point("delivery.authorised", plan.HUB), one)
        time.sleep(3)
        processes.kill(rig.place, COPY)
        time.sleep(2)
        assert rig.start_copy() == copy
    assert rig.judged(one) == []


@pytest.mark.timeout(200)
@pytest.mark.parametrize("step", FROZEN_AT)
def test_a_zombie_changes_nothing_when_it_wakes(rig: Rig, copy: str, step: str) -> None:
    traffic = rig.traffic(10 + FROZEN_AT.index(step), withdraw_at=copy)
    with traffic:
        assert rig.freeze(step, traffic)
        time.sleep(1)
    assert rig.judged(traffic) == []
