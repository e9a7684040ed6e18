"""Five hundred withdrawals aimed at calls under way, while parts are killed, frozen and down."""

import asyncio

import pytest

from services.console.local import plan
from services.console.local.place import REPOSITORY, Place
from services.kit.settings import Settings
from tests.support.hub import running_hub
from tests.support.servers import Databases
from tests.support.withdrawal import BLOWS, fire
from tests.support.withdrawal_judge import EFFECT_DELAY, Judged
from tests.support.withdrawal_world import Shelter

COUNT = 500
REPORT = REPOSITORY / ".run" / "withdrawals.txt"


@pytest.fixture(scope="module")
def run(secrets: Place, settings: Settings, pg: Databases) -> Judged:
    with running_hub(secrets, settings, (plan.VAULT, plan.HUB)) as hub:
        shelter = Shelter(hub=hub, org=plan.REFUGIO, port=settings.refugio_port)
        shelter.start()
        found = asyncio.run(fire(hub, pg, shelter, COUNT))
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
