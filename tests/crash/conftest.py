"""One rig for each module: it kills servers, so it has its own."""

from collections.abc import Iterator

import pytest

from tests.support.crash_rig import Rig, running_rig


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Servers, vault, hub and recipient, ready and with partners."""
    with running_rig() as running:
        yield running
