"""Webhooks to a partner's endpoint: announcing, changes, erasure; order, doubt, keys, ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path as Folder
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from standardwebhooks.webhooks import Webhook

from connectors.sdk.types import Case as Facts
from connectors.sdk.types import split
from connectors.webhook import signing
from schemas import CODELIST_VERSION, ReferralAnswerDue, encode
from services.delivery.notifying import Notifier
from services.delivery.reads import Reads
from services.delivery.sweeps import sweep
from services.kit.aliases import alias
from services.kit.crypto import new_ed25519, verify_ed25519
from services.kit.exchange import put_events
from services.kit.ports.delivery import ReadRequest
from tests.support.amending import amend, reach
from tests.support.delivery_world import PERSON, die_at, hurry
from tests.support.hooks import Endpoint, endpoint
from tests.support.partner_rows import partner, register
from tests.support.path import HUB, Path, running_path
from tests.support.servers import Databases

ORG = "clinica-demo"
SECRET = bytes(range(32))


@dataclass
class Hooked:
    """A path whose recipient takes webhooks, and its sender too."""

    path: Path
    clinic: Endpoint
    source: Endpoint
    notifier: Notifier
    secrets: Folder
    public: bytes

    async def deliver(self) -> None:
        await self.path.deliver()
        await self.notes()

    async def notes(self) -> None:
        while await self.notifier.turn():
            await self.notifier.settle()

    async def request(self, **changed: Any) -> UUID:
        return await self.path.request(to_org=ORG, **changed)

    async def answer(self, ref: UUID, command: str, **fields: Any) -> None:
        assert (await self.path.answer(ref, command, actor_org=ORG, **fields)).changed

    def own(self, ref: UUID, org: str = ORG) -> str:
        return str(alias(self.path.parts.frame.alias_key, "task", ref, org))


def hooked(org: str, url: str, **changed: Any) -> dict[str, Any]:
    hook = {"url": f"{url}/hooks/cauce", "scheme": "v1a", "public_keys": []}
    return partner(org, "http://127.0.0.1:9", connector=None, webhook=hook, **changed)


@pytest.fixture
async def hub(pg: Databases, tmp_path: Folder) -> AsyncIterator[Hooked]:
    async with opened(pg, tmp_path) as made:
        yield made


@asynccontextmanager
async def opened(pg: Databases, tmp_path: Folder) -> AsyncIterator[Hooked]:
    seed, public = new_ed25519()
    (tmp_path / "webhook.ed25519").write_bytes(seed)
    (tmp_path / f"webhook.{ORG}").write_text(signing.written("whsec_", SECRET))
    async with (
        endpoint() as clinic,
        endpoint() as source,
        running_path(pg, hook_keys=tmp_path) as path,
    ):
        await register(path.admin, ORG, hooked(ORG, clinic.base, transport="webhook"))
        await register(path.admin, "ong-norte", hooked("ong-norte", source.base))
        path.vault.record = split(PERSON, Facts(risk_level="high"))
        await path.admin.execute("delete from delivery.webhook_gone")
        yield Hooked(path, clinic, source, Notifier(path.parts), tmp_path, public)


def told(where: Endpoint) -> list[tuple[str, str]]:
    return [(body["type"].removeprefix("cauce."), _said(body)) for body in where.bodies()]


def _said(body: Any) -> str:
    data = body["data"]
    return str(data.get("stage") or data.get("status") or "")


async def test_a_referral_is_announced_and_nothing_of_it_is_in_the_message(hub: Hooked) -> None:
    ref = await hub.request()
    await hub.deliver()
    assert (await hub.path.state(ref)).status == "delivered"
    assert await hub.path.tasks(ref) == [("content", "done", "taken")]
    assert await hub.path.intents(ref) == ["disclosed"]
    assert await hub.path.leaves(ref) == ["disclosure_intent", "disclosed"]
    ((headers, raw),) = hub.clinic.told
    event = orjson.loads(raw)
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["webhook-id"] == event["id"]
    assert event["type"] == "cauce.referral.sent"
    assert event["data"] == {
        "id": hub.own(ref),
        "version": 1,
        "status": "sent",
        "href": f"{HUB}/v1/referrals/{hub.own(ref)}/data",
    }
    key = signing.public_key(hub.public, verify_ed25519)
    assert signing.verify(headers, raw, [key], datetime.now(UTC)) == event["id"]
    assert hub.path.vault.released == [], "the vault gave nothing"
    for secret in (b"Quispe", b"shelter", b"urgent", str(ref).encode()):
        assert secret not in raw


async def test_the_content_is_read_under_a_grant_of_its_own(hub: Hooked) -> None:
    ref = await hub.request()
    await hub.deliver()
    (read,) = await Reads(hub.path.parts).read(
        [ReadRequest(org=ORG, referral_ref=ref, resource="Native")]
    )
    assert read.rule == "released"
    assert await hub.path.intents(ref) == ["disclosed", "disclosed"]
    assert await hub.path.leaves(ref) == ["disclosure_intent", "disclosed"] * 2
    rows = await hub.path.admin.fetch(
        "select data_categories from delivery.intent where referral_ref = $1 order by at", ref
    )
    assert [list(r[0]) for r in rows] == [[], ["pseudonymous_core"]]


async def test_who_read_what_was_put_right_is_told_to_read_anew(hub: Hooked) -> None:
    case_ref = uuid4()
    ref, other = await hub.request(case_ref=case_ref), await hub.request()
    await hub.deliver()
    for one in (ref, other):
        await Reads(hub.path.parts).read(
            [ReadRequest(org=ORG, referral_ref=one, resource="Native")]
        )
    await amend(hub.path, case_ref, categories=("pseudonymous_core",))
    await reach(hub.path)
    await hub.notes()
    (event,) = (b for b in hub.clinic.bodies() if b["type"] == "cauce.referral.data_changed")
    assert event["subject"] == hub.own(ref)
    assert event["data"]["href"] == f"{HUB}/v1/referrals/{hub.own(ref)}/data"
    assert event["data"]["status"] == "delivered"
    assert told(hub.source) == [("referral.status_changed", "delivered")] * 2


async def test_each_party_is_told_of_what_the_other_did_in_order(hub: Hooked) -> None:
    ref = await hub.request()
    await hub.deliver()
    await hub.answer(ref, "start_review")
    await hub.answer(ref, "accept")
    await hub.path.answer(ref, "request_cancel", actor_org="ong-norte", actor_role="sender",
                          reason_code="duplicate")  # fmt: skip
    await hub.deliver()
    changed = "referral.status_changed"
    assert told(hub.clinic) == [("referral.sent", "sent"), (changed, "cancel_requested")]
    assert told(hub.source) == [
        (changed, "delivered"), (changed, "under_review"), (changed, "accepted"),
    ]  # fmt: skip
    assert {b["subject"] for b in hub.source.bodies()} == {hub.own(ref, "ong-norte")}
    assert await hub.path.tasks(ref) == [
        ("content", "done", "taken"),
        ("update", "done", "no-news"),
    ]
    versions = [b["data"]["version"] for b in hub.source.bodies()]
    assert versions == sorted(versions)


async def test_withdrawn_before_it_was_announced_it_never_is(hub: Hooked) -> None:
    ref = await hub.request()
    await hub.path.pump()
    await hub.path.withdraw(ref)
    await hub.deliver()
    assert hub.clinic.told == [], "not even that it was revoked"
    assert told(hub.source) == [("referral.revoked", "revoked")]
    assert [state for _, state, _ in await hub.path.tasks(ref)] == ["suppressed"]
    left = await hub.path.admin.fetch("select state from delivery.notification where org = $1", ORG)
    assert [r["state"] for r in left if r["state"] == "queued"] == []


async def test_withdrawn_afterwards_both_are_told_and_the_recipient_shall_delete(
    hub: Hooked,
) -> None:
    ref = await hub.request()
    await hub.deliver()
    await hub.path.withdraw(ref)
    await hub.deliver()
    kinds = sorted(told(hub.clinic)[1:])
    assert kinds == [("erasure.requested", ""), ("referral.revoked", "revoked")]
    event = next(b for b in hub.clinic.bodies() if b["type"] == "cauce.erasure.requested")
    assert event["data"]["referral"] == hub.own(ref)
    assert event["data"]["href"] == f"{HUB}/v1/erasure-requests"
    shown = await hub.path.admin.fetchrow(
        "select state, task_id from delivery.erasure where referral_ref = $1", ref
    )
    assert (shown["state"], str(shown["task_id"])) == ("sent", event["data"]["id"])


async def test_a_repeat_has_the_same_id_and_consent_is_asked_again(hub: Hooked) -> None:
    hub.clinic.answers = 500
    ref = await hub.request()
    await hub.path.deliver(rounds=1)
    assert await hub.path.intents(ref) == ["unknown"], "it may have been read"
    hub.clinic.answers = 204
    await hurry(hub.path)
    await hub.deliver()
    assert len({h["webhook-id"] for h, _ in hub.clinic.told}) == 1
    assert len(hub.clinic.told) == 2
    assert sorted(await hub.path.intents(ref)) == ["disclosed", "unknown"]
    assert (await hub.path.state(ref)).status == "delivered"


async def test_withdrawn_between_two_tries_it_is_not_tried_again(hub: Hooked) -> None:
    hub.clinic.answers = 500
    ref = await hub.request()
    await hub.path.deliver(rounds=1)
    hub.clinic.answers = 204
    await hub.path.withdraw(ref)
    await hurry(hub.path)
    await hub.deliver()
    assert [t for t, _ in told(hub.clinic)].count("referral.sent") == 1
    assert ("erasure.requested", "") in told(hub.clinic), "the first try may have arrived"


async def test_a_holder_that_died_at_the_call_is_counted_as_having_told(hub: Hooked) -> None:
    ref = await hub.request()
    await hub.path.pump()
    await die_at(hub.path, "delivery.called")
    await hub.path.admin.execute("update delivery.task set claimed_until = now() - interval '1 s'")
    await hub.path.admin.execute("update delivery.intent set deadline = now() - interval '9 s'")
    await sweep(hub.path.parts)
    assert await hub.path.intents(ref) == ["unknown"]
    await hub.deliver()
    assert len({h["webhook-id"] for h, _ in hub.clinic.told}) == 1
    assert (await hub.path.state(ref)).status == "delivered"


async def test_410_stops_all_until_the_record_is_another(hub: Hooked) -> None:
    hub.clinic.answers = 410
    first = await hub.request()
    await hub.deliver()
    second = await hub.request()
    await hub.deliver()
    assert len(hub.clinic.told) == 1, "it is not called again"
    for ref in (first, second):
        assert await hub.path.tasks(ref) == [("content", "held", "webhook-gone")]
    hub.clinic.answers = 204
    await register(hub.path.admin, ORG, hooked(ORG, hub.clinic.base, transport="webhook"))
    await hub.path.admin.fetch(
        "select delivery.mend(task_id) from delivery.held_tasks(50) where to_org = $1", ORG
    )
    await asyncio.sleep(1.1)  # the registry is a second old at most
    await hub.deliver()
    assert (await hub.path.state(second)).status == "delivered"


async def test_a_note_that_is_not_taken_holds_what_follows_it_and_nothing_else(
    hub: Hooked,
) -> None:
    one, other = await hub.request(), await hub.request()
    await hub.path.deliver()
    hub.source.answers = 500
    await hub.notes()
    await hub.answer(one, "start_review")
    await hub.path.deliver()
    await hub.notes()
    tries = told(hub.source)
    assert ("referral.status_changed", "under_review") not in tries
    hub.source.answers = 204
    await hub.path.admin.execute("update delivery.notification set next_at = now()")
    await hub.notes()
    mine = [b["data"] for b in hub.source.bodies() if b["subject"] == hub.own(one, "ong-norte")]
    assert [d["status"] for d in mine] == ["delivered", "delivered", "under_review"]
    assert hub.own(other, "ong-norte") in {b["subject"] for b in hub.source.bodies()}
    marks = [h["webhook-id"] for h, _ in hub.source.told]
    assert len(marks) == 5
    assert len(set(marks)) == 3


async def test_one_that_cannot_be_reached_rests_and_nobody_else_waits(hub: Hooked) -> None:
    await register(hub.path.admin, "ong-norte", hooked("ong-norte", "http://127.0.0.1:9"))
    await asyncio.sleep(1.1)
    refs = [await hub.request() for _ in range(3)]
    await hub.path.deliver()
    begun = await hub.notifier.turn()
    await hub.notifier.settle()
    assert begun == 3
    assert await hub.notifier.turn() == 0, "it rests"
    for ref in refs:
        await hub.path.answer(ref, "cancel", actor_org="ong-norte", actor_role="sender",
                              reason_code="duplicate")  # fmt: skip
    await hub.path.deliver()
    await hub.notes()
    assert len([1 for t, _ in told(hub.clinic) if t == "referral.status_changed"]) == 3


async def test_a_note_is_given_up_after_a_day(hub: Hooked) -> None:
    hub.source.answers = 503
    ref = await hub.request()
    await hub.path.deliver()
    await hub.path.admin.execute(
        "update delivery.notification set created_at = now() - interval '25 hours'"
        " where subject = $1",
        ref,
    )
    await hub.notes()
    rows = await hub.path.admin.fetch(
        "select state, rule from delivery.notification where subject = $1", ref
    )
    assert [tuple(r) for r in rows] == [("failed", "partner-503")]


@pytest.mark.parametrize(
    ("stage", "clinic", "source"),
    [("reminded", True, False), ("overdue", True, True), ("escalated", False, True)],
)
async def test_who_waits_and_who_is_waited_for_are_told(
    hub: Hooked, stage: str, clinic: bool, source: bool
) -> None:
    ref = await hub.request()
    await hub.deliver()
    state = await hub.path.state(ref)
    event = ReferralAnswerDue(
        event_id=uuid4(),
        occurred_at=datetime.now(UTC),
        case_ref=state.case_ref,
        source_org="ong-norte",
        correlation_id=ref,
        codelist_version=CODELIST_VERSION,
        confidentiality="restricted",
        referral_ref=ref,
        version=state.version,
        status="delivered",
        from_org="ong-norte",
        to_org=ORG,
        owed_by=ORG,
        answer_stage=stage,
        response_due=None,
    )
    conn: Any
    async with hub.path.pools["referral"].acquire() as conn, conn.transaction():
        await put_events(conn, [encode(event)])
    await hub.deliver()
    due = ("referral.answer_due", stage)
    assert (due in told(hub.clinic), due in told(hub.source)) == (clinic, source)
    for body in [b for b in hub.clinic.bodies() + hub.source.bodies() if "stage" in b["data"]]:
        assert body["data"]["owed_by"] == "recipient"


async def test_a_shared_secret_signs_what_its_holder_can_check_and_a_second_one_beside_it(
    hub: Hooked,
) -> None:
    record = hooked(ORG, hub.clinic.base, transport="webhook")
    record["webhook"]["scheme"] = "v1"
    new = bytes(reversed(SECRET))
    both = [signing.written("whsec_", one) for one in (new, SECRET)]
    (hub.secrets / f"webhook.{ORG}").write_text("\n".join(both))
    await register(hub.path.admin, ORG, record)
    await asyncio.sleep(1.1)
    await hub.request()
    await hub.deliver()
    ((headers, raw),) = hub.clinic.told
    for secret in both:
        Webhook(secret).verify(raw, headers)


async def test_without_a_key_nothing_is_sent_and_it_is_held(hub: Hooked) -> None:
    (hub.secrets / "webhook.ed25519").unlink()
    ref = await hub.request()
    await hub.deliver()
    assert hub.clinic.told == []
    assert await hub.path.tasks(ref) == [("content", "held", "webhook-key-missing")]
    assert await hub.path.intents(ref) == ["not_sent"]


async def test_a_redirect_is_not_followed(hub: Hooked) -> None:
    hub.clinic.answers = 302
    ref = await hub.request()
    await hub.path.deliver(rounds=1)
    assert len(hub.clinic.told) == 1
    assert await hub.path.tasks(ref) == [("content", "queued", "partner-302")]
