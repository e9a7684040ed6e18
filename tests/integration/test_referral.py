"""Referrals on PostgreSQL: begun, moved, expired, revoked; facts only as sealed bytes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from services.kit.ports.referral import Asked, Command, ReferralQuery
from tests.support.partner_rows import partner, register
from tests.support.path import Path, running_path
from tests.support.servers import Databases


@pytest.fixture
async def path(pg: Databases) -> AsyncIterator[Path]:
    async with running_path(pg) as made:
        for org in ("ong-norte", "refugio-sur"):
            await register(made.admin, org, partner(org, "http://127.0.0.1:9", transport="pull"))
        yield made


async def test_an_accepted_referral_is_sent_and_its_facts_are_sealed(path: Path) -> None:
    ref = await path.request()
    assert (await path.pump())[:3] == ["consent.given", "referral.requested", "referral.sent"]
    state = await path.state(ref)
    assert (state.status, state.version) == ("sent", 1)
    assert (state.service_type, state.priority) == ("shelter_temporary", "urgent")
    row = await path.admin.fetchrow("select * from referral.referral where referral_ref=$1", ref)
    assert b"shelter" not in bytes(row["facts"])
    assert "shelter" not in str(dict(row))


async def test_the_key_that_dies_takes_the_facts_of_the_table_with_it(path: Path) -> None:
    ref = await path.request()
    await path.pump()
    path.vault.held.clear()
    path.referral._keys._kept.clear()
    assert (await path.state(ref)).service_type is None


async def test_a_command_repeated_changes_nothing_and_gets_the_same_answer(path: Path) -> None:
    ref = await path.request()
    await path.pump()
    command = Command(
        command_id=uuid4(),
        referral_ref=ref,
        command="accept",
        actor_org="refugio-sur",
        actor_role="recipient",
    )
    first, second = await path.referral.apply([[command]]), await path.referral.apply([[command]])
    assert first[0].changed
    assert second[0] == replace(first[0], changed=False)
    assert (await path.state(ref)).version == 2
    assert (await path.pump()) == ["referral.status_changed"]


async def test_another_content_under_a_commands_id_is_refused_also_beside_it(path: Path) -> None:
    ref = await path.request()
    await path.pump()
    good = Command(
        command_id=uuid4(),
        referral_ref=ref,
        command="start_review",
        actor_org="refugio-sur",
        actor_role="recipient",
        digest=b"one",
    )
    other = replace(good, command="accept", digest=b"two")
    together = await path.referral.apply([[good], [other], [good]])
    assert [(a.rule, a.version) for a in together] == [
        (None, 2), ("key-reused", 2), (None, 2),
    ]  # fmt: skip
    later = await path.referral.apply([[other], [good], [replace(good, digest=None)]])
    assert [a.rule for a in later] == ["key-reused", None, None]
    unheard = Asked(command_id=uuid4(), digest=b"one")
    asked = [Asked(command_id=good.command_id, digest=d) for d in (b"one", b"two")]
    found = await path.referral.done([*asked, unheard])
    assert [a and a.rule for a in found] == [None, "key-reused", None]
    assert found[2] is None
    assert (await path.state(ref)).status == "under_review"


async def test_a_list_of_commands_is_applied_wholly_or_not_at_all(path: Path) -> None:
    ref = await path.request()
    await path.pump()
    both = [
        Command(
            command_id=uuid4(),
            referral_ref=ref,
            command=name,
            actor_org="refugio-sur",
            actor_role="recipient",
        )
        for name in ("accept", "resume")
    ]
    refused = (await path.referral.apply([both]))[0]
    assert (refused.rule, refused.changed) == ("illegal-transition", False)
    assert (await path.state(ref)).status == "sent"
    assert await path.pump() == []


async def test_reasons_reach_the_parties_and_never_the_log_in_the_clear(path: Path) -> None:
    ref = await path.request()
    await path.pump()
    assert (await path.answer(ref, "reject")).rule == "reason-required"
    assert (await path.answer(ref, "reject", reason_code="no_capacity")).status == "rejected"
    assert (await path.state(ref)).reason_code == "no_capacity"
    bodies = await path.admin.fetch("select body, facts from bus.event where key is not null")
    assert all(b"no_capacity" not in bytes(r["body"]) + bytes(r["facts"] or b"") for r in bodies)


async def test_accepting_is_refused_once_consent_is_withdrawn(path: Path) -> None:
    ref = await path.request()
    await path.pump()
    await path.withdraw(ref)
    assert (await path.answer(ref, "accept")).rule == "consent-not-valid"
    seen = await path.pump()
    assert "referral.revoked" in seen
    assert (await path.state(ref)).status == "revoked"


async def test_consent_withdrawn_before_it_is_handled_ends_the_referral_visibly(path: Path) -> None:
    ref = await path.request()
    (record,) = path.consents.values()
    await path.take_back(record.consent_ref)
    seen = await path.pump()
    assert "referral.sent" not in seen
    assert (await path.state(ref)).status == "revoked"


async def test_an_inactive_recipient_ends_the_referral_as_cancelled(path: Path) -> None:
    record = partner("refugio-dos", "http://127.0.0.1:9", status="suspended")
    await register(path.admin, "refugio-dos", record)
    ref = await path.request(to_org="refugio-dos")
    await path.pump()
    assert (await path.state(ref)).status == "cancelled"


async def test_withdrawing_one_category_narrows_the_referral_and_keeps_it_open(path: Path) -> None:
    ref = await path.request()
    await path.pump()
    await path.withdraw(ref, ("refugio-sur", "service_referral", ("contact",)))
    await path.pump()
    state = await path.state(ref)
    assert (state.status, state.data_categories) == ("sent", ("pseudonymous_core",))


async def test_many_commands_at_once_are_each_answered(path: Path) -> None:
    refs = [await path.request() for _ in range(20)]
    await path.pump()
    answers = await asyncio.gather(*(path.answer(ref, "accept") for ref in refs))
    assert {a.status for a in answers} == {"accepted"}
    again = await asyncio.gather(*(path.answer(refs[0], "start_service") for _ in range(5)))
    assert sum(a.changed for a in again) == 1


async def test_a_party_finds_its_own_referrals_by_page(path: Path) -> None:
    refs = {await path.request() for _ in range(5)}
    await path.pump()
    query = ReferralQuery(org="refugio-sur", side="to", statuses=("sent",), limit=200)
    found = (await path.referral.find([query]))[0]
    assert refs <= {s.referral_ref for s in found}
    last = found[-3]
    rest = replace(query, after=(last.updated_at, last.referral_ref))
    assert len((await path.referral.find([rest]))[0]) == 2
    assert (await path.referral.find([replace(query, org="ong-ajena")]))[0] == []
