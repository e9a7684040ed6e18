"""A recipient that fetches: nothing is pushed to it; its read is the delivery, and is confirmed."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import orjson
import pytest

from services.delivery.reads import Reads
from services.kit.aliases import alias
from services.kit.ports.delivery import ReadRequest
from services.kit.ports.vault import ReleaseResult, SignedGrant
from tests.support.partner_rows import partner, register
from tests.support.path import Path, running_path
from tests.support.servers import Databases


class LateVault:
    """A vault that is reached after the grant's end."""

    async def release(self, items: Sequence[SignedGrant]) -> list[ReleaseResult]:
        return [ReleaseResult(rule="grant-late") for _ in items]


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


async def test_reads_at_once_share_their_stages_and_each_gets_its_own(path: Path) -> None:
    """One answer each, in order; a stranger among them changes nothing for the others."""
    refs = [await path.request(to_org="casa-lejana") for _ in range(3)]
    await path.deliver()
    asked = [ReadRequest(referral_ref=ref, org="casa-lejana", resource="Native") for ref in refs]
    other = ReadRequest(referral_ref=refs[0], org="ong-norte", resource="Native")
    found = await Reads(path.parts).read([asked[0], other, *asked[1:], asked[0]])
    rules = ["released", "not-found", "released", "released", "released"]
    assert [one.rule for one in found] == rules
    key = path.parts.frame.alias_key
    told = [orjson.loads(one.resource)["referral"]["id"] for one in found if one.resource]
    own = [str(alias(key, "task", ref, "casa-lejana")) for ref in refs]
    assert told == [*own, own[0]]
    assert [(await path.state(ref)).status for ref in refs] == ["delivered"] * 3


async def test_a_read_that_came_too_late_for_its_grant_may_be_asked_again(path: Path) -> None:
    """The vault gives nothing after the grant's end: nothing was disclosed and nothing is wrong."""
    ref = await path.request(to_org="casa-lejana")
    await path.deliver()
    asked = ReadRequest(referral_ref=ref, org="casa-lejana", resource="Native")
    late = replace(path.parts, vault=LateVault())
    (answer,) = await Reads(late).read([asked])
    assert (answer.rule, answer.resource) == ("unavailable", None)
    assert await path.intents(ref) == ["not_sent"]
    (answer,) = await Reads(path.parts).read([asked])
    assert answer.rule == "released"
