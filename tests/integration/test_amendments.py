"""What was put right, from the event to who got the old: late intents, ended referrals, consent."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from services.delivery.reads import Reads
from services.delivery.rectifying import rectify
from services.kit.ports.delivery import ReadRequest
from services.kit.subscriptions import Subscription
from tests.support.amending import amend, reach
from tests.support.delivery_world import effects
from tests.support.partner_rows import partner, register
from tests.support.path import Path, now
from tests.support.shelter import Shelter


async def accepted(path: Path, **asked: Any) -> tuple[UUID, UUID]:
    """A delivered and accepted referral, and its case."""
    case_ref = asked.pop("case_ref", uuid4())
    ref = await path.request(case_ref=case_ref, **asked)
    await path.deliver()
    assert (await path.answer(ref, "accept")).changed
    await path.deliver()
    return ref, case_ref


async def last(path: Path, ref: UUID, shelter: Shelter) -> dict[str, Any]:
    """The Patient of the newest delivery of a referral."""
    task = await path.admin.fetchval(
        "select task_id from delivery.task where referral_ref = $1 order by seq desc limit 1", ref
    )
    (effect,) = effects(shelter, task)
    found: dict[str, Any] = next(r for r in effect["resources"] if r["resourceType"] == "Patient")
    return found


async def dealt_with(path: Path, ref: UUID) -> list[tuple[str, str]]:
    rows = await path.admin.fetch(
        "select result, rule from delivery.rectified where referral_ref = $1 order by version", ref
    )
    return [(row["result"], row["rule"]) for row in rows]


async def test_a_holder_gets_a_new_delivery_of_the_new_version_once(
    path: Path, shelter: Shelter
) -> None:
    ref, case_ref = await accepted(path)
    await amend(path, case_ref)
    await reach(path)
    await reach(path)
    assert await path.tasks(ref) == [
        ("content", "done", "taken"),
        ("update", "done", "taken"),
        ("update", "done", "taken"),
    ]
    assert path.vault.released[-1]["vault_version"] == 7
    assert (await last(path, ref, shelter))["telecom"][0]["value"] == "9"
    await amend(path, case_ref, version=3, stands=8)
    await reach(path)
    assert path.vault.released[-1]["vault_version"] == 8
    assert await dealt_with(path, ref) == [("queued", "amended"), ("queued", "amended")]


async def test_what_has_not_left_yet_leaves_as_it_is_right(path: Path, shelter: Shelter) -> None:
    case_ref = uuid4()
    ref = await path.request(case_ref=case_ref)
    await path.pump()
    await amend(path, case_ref)
    await reach(path)
    assert await path.tasks(ref) == [("content", "done", "taken")]
    assert path.vault.released[-1]["vault_version"] == 7
    assert await dealt_with(path, ref) == []


async def test_who_never_got_the_category_is_left_alone(path: Path) -> None:
    case_ref = uuid4()
    ref = await path.request(case_ref=case_ref)
    await path.deliver()  # contact is for after acceptance
    await amend(path, case_ref)
    await reach(path)
    assert await path.tasks(ref) == [("content", "done", "taken")]
    assert (await path.answer(ref, "accept")).changed
    await path.deliver()
    assert path.vault.released[-1]["vault_version"] == 7


async def test_an_intent_that_came_late_is_found(path: Path, shelter: Shelter) -> None:
    """Authorised on the old version by a transaction that nobody saw when the event was handled."""
    ref, case_ref = await accepted(path)
    await path.admin.execute(
        "update delivery.intent set state = 'not_sent' where referral_ref = $1", ref
    )
    await amend(path, case_ref)
    await reach(path)
    assert await dealt_with(path, ref) == []
    await path.admin.execute(
        "update delivery.intent set state = 'disclosed' where referral_ref = $1", ref
    )
    await reach(path)
    assert await dealt_with(path, ref) == [("queued", "amended")]
    assert (await last(path, ref, shelter))["telecom"][0]["value"] == "9"


async def test_a_referral_that_ended_is_put_right_with_what_its_recipient_has(
    path: Path, shelter: Shelter
) -> None:
    ref, case_ref = await accepted(path)
    closed = await path.answer(ref, "close_without_service", reason_code="moved")
    assert (closed.rule, closed.status) == (None, "not_completed")
    await path.deliver()
    await amend(path, case_ref)
    await reach(path)
    assert (await last(path, ref, shelter))["telecom"][0]["value"] == "9"
    assert path.vault.released[-1]["categories"] == ["contact", "pseudonymous_core"]


async def test_after_a_withdrawal_only_the_request_to_erase_goes(path: Path) -> None:
    case_ref = uuid4()
    ref, _ = await accepted(path, case_ref=case_ref)
    await path.withdraw(ref)
    await path.deliver()
    released = len(path.vault.released)
    await amend(path, case_ref)
    await reach(path)
    assert len(path.vault.released) == released
    assert await dealt_with(path, ref) == []
    assert [kind for kind, _, _ in await path.tasks(ref)] == ["content", "update", "erasure"]


async def test_a_part_taken_back_is_not_sent_again_with_the_rest(
    path: Path, shelter: Shelter
) -> None:
    ref, case_ref = await accepted(path)
    await path.withdraw(ref, ("refugio-sur", "service_referral", ("contact",)))
    await path.deliver()
    await amend(path, case_ref)
    await reach(path)
    assert await dealt_with(path, ref) == []
    await amend(path, case_ref, version=3, categories=("contact", "pseudonymous_core"), stands=8)
    await reach(path)
    assert await dealt_with(path, ref) == [("queued", "amended")]
    assert "telecom" not in await last(path, ref, shelter)


async def test_who_reads_here_is_told_while_consent_permits(path: Path) -> None:
    record = partner("casa-lejana", "http://127.0.0.1:9", transport="pull", connector=None)
    await register(path.admin, "casa-lejana", record)
    case_ref = uuid4()
    ref = await path.request(to_org="casa-lejana", case_ref=case_ref)
    await path.deliver()
    reads, asked = (
        Reads(path.parts),
        ReadRequest(referral_ref=ref, org="casa-lejana", resource="Patient"),
    )
    assert (await reads.read([asked]))[0].rule == "released"
    rejected = await path.answer(ref, "reject", actor_org="casa-lejana", reason_code="no_capacity")
    assert rejected.changed
    await path.deliver()
    assert (await reads.read([asked]))[0].rule == "suppressed"
    await amend(path, case_ref, categories=("pseudonymous_core",))
    await reach(path)
    assert await dealt_with(path, ref) == [("told", "amended")]
    assert (await reads.read([asked]))[0].rule == "released"
    assert path.vault.released[-1]["vault_version"] == 7
    assert path.vault.released[-1]["categories"] == ["pseudonymous_core"]
    assert (await reads.read([asked]))[0].rule == "suppressed", "once"


async def test_who_may_not_know_it_now_is_not_told(path: Path) -> None:
    record = partner("casa-lejana", "http://127.0.0.1:9", transport="pull", connector=None)
    await register(path.admin, "casa-lejana", record)
    case_ref = uuid4()
    ref = await path.request(to_org="casa-lejana", case_ref=case_ref)
    await path.deliver()
    asked = ReadRequest(referral_ref=ref, org="casa-lejana", resource="Patient")
    assert (await Reads(path.parts).read([asked]))[0].rule == "released"
    await register(path.admin, "casa-lejana", record | {"status": "suspended"})
    path.parts.partners.forget()
    await amend(path, case_ref, categories=("pseudonymous_core",))
    await reach(path)
    assert await dealt_with(path, ref) == [("denied", "recipient-not-active")]
    assert (await path.leaves(ref))[-1] == "suppressed"


@dataclass(frozen=True)
class Registered:
    """The one subscription of `casa-lejana`."""

    ref: UUID

    async def all(self) -> dict[UUID, Subscription]:
        one = Subscription(
            subscription_id=self.ref,
            org="casa-lejana",
            version=1,
            side="to",
            statuses=frozenset(),
            endpoint="http://127.0.0.1:9",
            heartbeat=60,
            most=10,
            ends=None,
            active=True,
            written_at=now() - timedelta(days=1),
        )
        return {self.ref: one}


async def test_a_subscriber_that_reads_here_is_told_once(path: Path) -> None:
    record = partner("casa-lejana", "http://127.0.0.1:9", transport="pull", connector=None)
    await register(path.admin, "casa-lejana", record)
    path.parts.partners.forget()
    case_ref = uuid4()
    ref = await path.request(to_org="casa-lejana", case_ref=case_ref)
    await path.deliver()
    asked = ReadRequest(referral_ref=ref, org="casa-lejana", resource="Patient")
    assert (await Reads(path.parts).read([asked]))[0].rule == "released"
    await amend(path, case_ref, categories=("pseudonymous_core",))
    known: Any = Registered(uuid4())
    for _ in range(2):
        await rectify(path.parts, known)
    numbered = await path.admin.fetch(
        "select number, referral_ref from delivery.subscription_event where subscription_id = $1",
        known.ref,
    )
    assert [tuple(row) for row in numbered] == [(1, ref)]
