"""`POST /hooks/{org}` on a running hub: signed commands and effects, and everything refused."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio

from connectors.sandbox.people import person
from connectors.webhook import signing
from connectors.webhook.signing import Signer, signed_headers
from services.kit.crypto import mac_sha256, new_ed25519, sign_ed25519
from services.kit.settings import Settings
from tests.support import servers
from tests.support.gateway_world import World, whole
from tests.support.hooks import Endpoint, endpoint

ORG, SOURCE = "refugio-sur", "ong-norte"
SECRET = bytes(range(32))
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Hooked:
    """A hub whose recipient takes webhooks and answers by them."""

    world: World
    told: Endpoint
    settings: Settings
    seed: bytes
    public: bytes
    old_seed: bytes = field(repr=False)
    old_public: bytes = field(repr=False)
    numbers: int = 900

    def signer(self) -> Signer:
        return signing.own_signer(self.seed, sign_ed25519)

    async def record(self, **hook: Any) -> None:
        """The recipient's record with this webhook."""
        keys = [signing.written("whpk_", one) for one in (self.public, self.old_public)]
        made = {"url": f"{self.told.base}/in", "scheme": "v1a", "public_keys": keys} | hook
        await self.world.admin.execute(
            "update gateway.partner set version = version + 1, record = record || $2"
            " where org = $1",
            ORG,
            orjson.dumps({"webhook": made, "transport": "webhook"}).decode(),
        )
        await asyncio.sleep(1.2)  # the registry is a second old at most

    async def referred(self) -> str:
        """A referral that was announced; its id at the recipient."""
        self.numbers += 1
        await self.world.refer(person=person(self.numbers))
        return str((await self.until("cauce.referral.sent"))["data"]["id"])

    async def delivered(self, ref: str) -> int:
        """Wait until the hub knows that it was announced; the version."""
        for _ in range(100):
            _, seen, _ = await self.world.call("GET", f"/v1/referrals/{ref}", ORG)
            if seen["status"] == "delivered":
                return int(seen["version"])
            await asyncio.sleep(0.05)
        raise AssertionError(seen)

    async def until(self, kind: str) -> Any:
        """The next message of this type."""
        for _ in range(200):
            found = [b for b in self.told.bodies() if b["type"] == kind]
            if found:
                self.told.told.clear()
                return found[-1]
            await asyncio.sleep(0.05)
        raise AssertionError(kind)

    async def post(
        self,
        body: Any,
        *,
        signers: list[Signer] | None = None,
        mark: str = "",
        at: datetime | None = None,
        org: str = ORG,
        **headers: str,
    ) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        mark, at = mark or f"msg_{uuid4()}", at or datetime.now(UTC)
        signed = signed_headers(signers or [self.signer()], mark, at, raw)
        sent = {k.replace("-", "_"): v for k, v in signed.items()} | headers
        sent.setdefault("Content_Type", "application/cloudevents+json")
        status, answer, _ = await self.world.call("POST", f"/hooks/{org}", None, raw, **sent)
        return status, answer


def command(referral: str, name: str, **more: Any) -> dict[str, Any]:
    return event("cauce.referral.command", {"referral": referral, "command": name, **more})


def event(kind: str, data: Any, **changed: Any) -> dict[str, Any]:
    made = {"specversion": "1.0", "id": str(uuid4()), "source": "clinic", "type": kind}
    return made | {"data": data} | changed


def fault(answer: Any) -> tuple[str, str, str]:
    (one,) = answer["faults"]
    return one["code"], one["rule"], one["field"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(settings: Settings, pg: servers.Databases) -> AsyncIterator[Hooked]:
    (seed, public), (old_seed, old_public) = new_ed25519(), new_ed25519()
    async with whole(settings, pg.admin_dsn) as world, endpoint() as told:
        made = Hooked(world, told, settings, seed, public, old_seed, old_public)
        await made.record()
        yield made


async def test_a_signed_command_moves_the_referral_and_its_sender_sees_it(hub: Hooked) -> None:
    ref = await hub.referred()
    version = await hub.delivered(ref)
    status, answer = await hub.post(command(ref, "accept", expected_version=version))
    assert (status, answer) == (200, {"id": ref, "status": "accepted", "version": version + 1})
    _, seen, _ = await hub.world.call("GET", f"/v1/referrals/{ref}", ORG)
    assert seen["status"] == "accepted"


async def test_data_is_read_between_announcement_and_answer(hub: Hooked) -> None:
    ref = await hub.referred()
    status, data, _ = await hub.world.call("GET", f"/v1/referrals/{ref}/data", ORG)
    assert status == 200
    assert data["referral"]["id"] == ref
    assert "service_type" in data["referral"]
    status, _ = await hub.post(command(ref, "reject", reason_code="capacity_full"))
    assert status in {200, 422}


async def test_the_same_message_twice_is_a_conflict_and_has_no_second_effect(hub: Hooked) -> None:
    ref = await hub.referred()
    body, mark = orjson.dumps(command(ref, "accept")), f"msg_{uuid4()}"
    assert (await hub.post(body, mark=mark))[0] == 200
    status, answer = await hub.post(body, mark=mark)
    assert (status, fault(answer)) == (409, ("conflict", "webhook-repeated", "webhook-id"))


async def test_twenty_copies_at_once_have_one_effect(hub: Hooked) -> None:
    ref = await hub.referred()
    await hub.delivered(ref)
    body, mark = orjson.dumps(command(ref, "accept")), f"msg_{uuid4()}"
    found = await asyncio.gather(*(hub.post(body, mark=mark) for _ in range(20)))
    assert {status for status, _ in found} <= {200, 409}
    assert len({answer["version"] for status, answer in found if status == 200}) == 1


async def test_a_refused_message_is_not_tried_again_when_it_would_be_legal(hub: Hooked) -> None:
    ref = await hub.referred()
    body, mark = orjson.dumps(command(ref, "complete", outcome="service_provided")), "msg_early"
    assert (await hub.post(body, mark=mark))[0] == 422
    for name in ("accept", "start_service"):
        assert (await hub.post(command(ref, name)))[0] == 200
    assert (await hub.post(body, mark=mark))[0] == 409


async def test_either_key_counts_while_they_change_and_no_other(hub: Hooked) -> None:
    ref = await hub.referred()
    old = signing.own_signer(hub.old_seed, sign_ed25519)
    assert (await hub.post(command(ref, "start_review"), signers=[old]))[0] == 200
    other = signing.own_signer(new_ed25519()[0], sign_ed25519)
    status, answer = await hub.post(command(ref, "accept"), signers=[other])
    assert status == 401
    assert fault(answer) == ("login", "webhook-signature", "webhook-signature")
    assert (await hub.post(command(ref, "accept"), signers=[other, hub.signer()]))[0] == 200


@pytest.mark.parametrize(
    ("seconds", "rule"), [(-90, "webhook-timestamp"), (90, "webhook-timestamp")]
)
async def test_a_message_of_another_time_is_refused(hub: Hooked, seconds: int, rule: str) -> None:
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    status, answer = await hub.post(command(str(uuid4()), "accept"), at=at)
    assert (status, fault(answer)) == (401, ("login", rule, "webhook-timestamp"))


async def test_a_message_without_its_headers_is_refused(hub: Hooked) -> None:
    status, answer, _ = await hub.world.call(
        "POST", f"/hooks/{ORG}", None, b"{}", Content_Type="application/json"
    )
    assert (status, fault(answer)) == (401, ("login", "webhook-headers", "webhook-id"))


@pytest.mark.parametrize("org", [SOURCE, "nobody-here", "X"])
async def test_who_has_no_webhook_looks_like_a_wrong_signature(hub: Hooked, org: str) -> None:
    status, answer = await hub.post(command(str(uuid4()), "accept"), org=org)
    assert status == 401
    assert fault(answer) == ("login", "webhook-signature", "webhook-signature")


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (b"{", 400, None),
        (event("cauce.referral.command", {}, specversion="0.3"), 422,
         ("code-invalid", "not-in-list", "specversion")),
        (event("cauce.person.told", {}), 422, ("code-invalid", "not-in-list", "type")),
        (event("cauce.referral.command", "x"), 400, ("structure", "wrong-type", "data")),
        (event("cauce.referral.command", {}), 422, ("required", "element", "data.referral")),
        (command("nothing", "dance"), 422, ("code-invalid", "not-in-list", "data.command")),
        (command("nothing", "accept"), 404, ("not-found", "resource", "")),
        (command("nothing", "reject", reason_code="rude"), 422,
         ("code-invalid", "not-in-list", "data.reason_code")),
        (command("nothing", "accept", note="Maria"), 400, None),
        (event("cauce.erasure.effect", {"request": "x", "effect": "deleted"}), 404,
         ("not-found", "resource", "")),
        (event("cauce.referral.command", {}, extra="x"), 400, None),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named_and_never_repeated(
    hub: Hooked, body: Any, status: int, expected: Any
) -> None:
    found, answer = await hub.post(body)
    assert found == status, answer
    if expected is not None:
        got = fault(answer)
        assert got[:2] == expected[:2]
        assert not expected[2] or got[2] == expected[2]
    raw = orjson.dumps(answer)
    for submitted in (b"Maria", b"rude", b"dance", b"told", b"nothing"):
        assert submitted not in raw


async def test_a_version_that_is_over_and_a_step_that_is_not_theirs_are_refused(
    hub: Hooked,
) -> None:
    ref = await hub.referred()
    status, answer = await hub.post(command(ref, "accept", expected_version=9))
    assert (status, fault(answer)[:2]) == (412, ("conflict", "version"))
    status, answer = await hub.post(command(ref, "cancel", reason_code="duplicate"))
    assert (status, fault(answer)[:2]) == (422, ("illegal-transition", "not-yours"))


async def test_after_a_withdrawal_the_request_is_announced_and_answered_by_a_message(
    hub: Hooked,
) -> None:
    hub.numbers += 1
    ids = await hub.world.refer(person=person(hub.numbers))
    await hub.until("cauce.referral.sent")
    status, body, headers = await hub.world.call("GET", f"/fhir/Consent/{ids['Consent']}", SOURCE)
    assert status == 200, body
    patch = [{"op": "replace", "path": "/status", "value": "inactive"}]
    status, body, _ = await hub.world.call(
        "PATCH", f"/fhir/Consent/{ids['Consent']}", SOURCE, patch, If_Match=headers["etag"],
        Content_Type="application/json-patch+json",
    )  # fmt: skip
    assert status == 200, body
    asked = (await hub.until("cauce.erasure.requested"))["data"]
    done = event("cauce.erasure.effect", {"request": asked["id"], "effect": "deleted"})
    status, answer = await hub.post(done)
    assert (status, answer) == (200, {"id": asked["id"], "status": "acknowledged"}), answer
    late = event("cauce.erasure.effect", {"request": asked["id"], "effect": "retained_legal"})
    assert (await hub.post(late))[0] in {409, 422}


async def test_a_shared_secret_counts_where_it_was_agreed(hub: Hooked) -> None:
    path = hub.settings.secrets_dir / f"webhook.{ORG}"
    path.write_text(signing.written("whsec_", SECRET))
    await hub.record(scheme="v1", public_keys=[])
    ref = await hub.referred()
    shared = signing.shared_signer(SECRET, mac_sha256)
    assert (await hub.post(command(ref, "accept")))[0] == 401, "its own key counts no more"
    assert (await hub.post(command(ref, "accept"), signers=[shared]))[0] == 200


async def test_the_hubs_public_key_is_told_to_partners_and_to_nobody_else(hub: Hooked) -> None:
    status, answer, _ = await hub.world.call("GET", "/v1/webhook-keys", ORG)
    assert status == 200
    public = hub.settings.secret("webhook.pub")
    assert answer == {"keys": [signing.written("whpk_", public)]}
    assert (await hub.world.call("GET", "/v1/webhook-keys", None))[0] == 401
