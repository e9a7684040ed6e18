"""Five hundred withdrawals aimed at calls under way, while parts are killed, frozen and down."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.console.local import plan, processes
from services.console.local.place import REPOSITORY, Place
from services.kit.settings import Settings
from tests.support.hub import Hub, running_hub
from tests.support.servers import Databases
from tests.support.withdrawal import BLOWS, fire
from tests.support.withdrawal_judge import EFFECT_DELAY, Judged
from tests.support.withdrawal_world import Shelter

COUNT = 500
PLANTED = 40
FAULTY = {"seed": 2, "disturb": False, "aimed": 0.3, "early": 2.0}
REPORT = REPOSITORY / ".run" / "withdrawals.txt"


@pytest.fixture(scope="module")
def shelter(secrets: Place, settings: Settings) -> Iterator[Shelter]:
    with running_hub(secrets, settings, (plan.VAULT, plan.HUB)) as hub:
        made = Shelter(hub=hub, org=plan.REFUGIO, port=settings.refugio_port)
        made.start()
        yield made


@pytest.fixture(scope="module")
def run(shelter: Shelter, pg: Databases) -> Judged:
    found = asyncio.run(fire(shelter.hub, pg, shelter, COUNT))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(found.report() + "\n", encoding="utf-8")
    print(found.report())
    return found


@pytest.mark.timeout(300)
def test_no_withdrawal_is_followed_by_an_authorisation_or_a_late_effect(run: Judged) -> None:
    assert run.violations == []
    assert run.withdrawals >= COUNT
    assert max(run.late) <= EFFECT_DELAY.total_seconds()


def test_the_withdrawals_met_calls_under_way(run: Judged) -> None:
    assert len(run.late) >= COUNT // 10


def test_every_blow_met_withdrawals(run: Judged) -> None:
    assert {f"{name} {what}" for what, name in BLOWS} <= run.modes.keys()


def test_past_recipients_are_asked_to_delete_at_once(run: Judged) -> None:
    asked = sorted(run.asked)
    assert asked[len(asked) // 2] < EFFECT_DELAY.total_seconds() * 2


def start_with_faults(hub: Hub) -> None:
    command = hub.command(plan.HUB)
    argv = [sys.executable, "-m", "tests.support.withdrawal_plants", command.argv[-1]]
    processes.start(hub.place, replace(command, argv=argv))
    hub.wait_ready(plan.HUB)


@pytest.mark.timeout(200)
@pytest.mark.usefixtures("run")
def test_a_hub_with_planted_faults_is_found_out(shelter: Shelter, pg: Databases) -> None:
    """After the run, on the same data: a stale decision, and nobody asked to delete."""
    hub = shelter.hub
    hub.stop(plan.HUB)
    start_with_faults(hub)
    found = asyncio.run(fire(hub, pg, shelter, PLANTED, **FAULTY))
    violations = "\n".join(found.violations)
    assert "authorised after the withdrawal" in violations
    assert "no request to erase" in violations
    assert "still holds something" in violations
