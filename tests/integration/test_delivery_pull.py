"""A recipient that fetches: nothing is pushed to it; its read is the delivery, and is confirmed."""

from collections.abc import AsyncIterator

import pytest

from services.delivery.reads import Reads
from services.kit.ports.delivery import ReadRequest
from tests.support.partner_rows import partner, register
from tests.support.path import Path, running_path
from tests.support.servers import Databases


@pytest.fixture
async def path(pg: Databases) -> AsyncIterator[Path]:
    """The services of a referral, with one recipient that fetches."""
    async with running_path(pg) as made:
        await register(made.admin, "ong-norte", partner("ong-norte", "http://127.0.0.1:9"))
        record = partner("casa-lejana", "http://127.0.0.1:9", transport="pull", connector=None)
        await register(made.admin, "casa-lejana", record)
        yield made


async def test_a_read_delivers_to_a_recipient_that_fetches(path: Path) -> None:
    """Nothing leaves before it asks; its first read confirms the delivery once."""
    ref = await path.request(to_org="casa-lejana")
    await path.deliver()
    assert (await path.state(ref)).status == "sent"
    assert await path.intents(ref) == []
    asked = ReadRequest(referral_ref=ref, org="casa-lejana", resource="ServiceRequest")
    for _ in range(2):
        (answer,) = await Reads(path.parts).read([asked])
        assert answer.rule == "released"
    state = await path.state(ref)
    assert state.status == "delivered"
    assert await path.tasks(ref) == [("content", "done", "read")]
    assert await path.intents(ref) == ["disclosed", "disclosed"]
