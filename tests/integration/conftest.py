"""The path of a referral to a real partner in another process."""

from collections.abc import AsyncIterator
from pathlib import Path as Folder
from typing import Any

import pytest

from connectors.sdk.types import Case as Facts
from connectors.sdk.types import split
from tests.support.delivery_world import PERSON, behave
from tests.support.partner_rows import partner, register
from tests.support.path import Path, running_path
from tests.support.servers import Databases
from tests.support.shelter import Shelter


@pytest.fixture(scope="module")
def shelter(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Shelter(Folder(tmp_path_factory.mktemp("shelter")))
    made.start()
    yield made
    made.kill()


@pytest.fixture
async def path(pg: Databases, shelter: Shelter) -> AsyncIterator[Path]:
    async with running_path(pg, shelter.hub_key.read_bytes()) as made:
        await register(made.admin, "ong-norte", partner("ong-norte", "http://127.0.0.1:9"))
        await register(made.admin, "refugio-sur", partner("refugio-sur", shelter.base))
        made.vault.record = split(PERSON, Facts(risk_level="high"))
        await behave(
            shelter, fault="", fault_calls=0, slow_ms=0, erasure_after_ms=0, honours_not_after=True
        )
        yield made
