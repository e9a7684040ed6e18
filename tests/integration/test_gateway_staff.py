"""The admin port of the gateway on PostgreSQL: bootstrap, sessions, roles, leaves, parked cases."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest
from starlette.applications import Starlette

from connectors.sandbox.people import person
from services.console.client import Who, assertion
from services.console.local.place import Place
from services.kit import serving
from services.kit.crypto import jwk_of, make_jwt_es384, new_es384_pem
from services.kit.staff import audience
from tests.support import servers
from tests.support.gateway_world import World, edge


class Office:
    """People at the admin port."""

    def __init__(self, world: World, url: str, folder: Path) -> None:
        self.world = world
        self.url = url
        self.folder = folder
        self.bootstrap = world.host.settings.secret("staff-bootstrap").decode()

    def key(self, staff_id: str) -> Path:
        path = self.folder / f"{staff_id}.pem"
        if not path.exists():
            path.write_bytes(new_es384_pem())
        return path

    def body(self, staff_id: str, roles: list[str], org: str = "red-a") -> dict[str, Any]:
        jwk = jwk_of(self.key(staff_id).read_bytes())
        return {"staff_id": staff_id, "organisation": org, "roles": roles, "jwk": jwk}

    async def call(
        self, method: str, path: str, body: Any = None, authorization: str = ""
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": authorization} if authorization else {}
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.world.session.request(
            method, self.url + path, data=raw if body is not None else None, headers=headers
        ) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def session(self, staff_id: str, signed: str | None = None) -> tuple[int, dict[str, Any]]:
        made = signed or assertion(
            Who(
                staff_id=staff_id,
                key=self.key(staff_id),
                admin_url=self.url,
                cell=self.world.host.settings.cell,
            )
        )
        sent = {"staff_id": staff_id, "assertion": made}
        return await self.call("POST", "/admin/session", sent)

    async def by(self, staff_id: str, method: str, path: str, body: Any = None) -> Any:
        """Status and answer of a call as a person."""
        status, opened = await self.session(staff_id)
        assert status == 200, opened
        return await self.call(method, path, body, f"Bearer {opened['token']}")

    async def leaves(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.world.admin.fetch(
            "select body from custody.leaf where kind = $1 order by id", kind
        )
        return [orjson.loads(row["body"]) for row in rows]


@asynccontextmanager
async def opened(
    secrets: Place, pg: servers.Databases, tmp_path: Path, names: tuple[str, ...]
) -> AsyncIterator[Office]:
    """The admin port of these services, with one operator."""
    settings = servers.settings_for(secrets, pg)
    admin = await asyncpg.connect(pg.admin_dsn)
    await admin.execute(
        "truncate gateway.staff, gateway.entry, gateway.partner, custody.leaf, custody.waiting"
    )
    await admin.close()
    async with edge(settings, pg.admin_dsn, names) as world:
        listener = serving.listen("127.0.0.1", 0)
        routes = [route for service in world.host.services for route in service.admin]
        server = serving.Server(Starlette(routes=routes), listener)
        server.begin()
        made = Office(world, f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path)
        first = made.body("operator-1", ["operator"])
        done = await made.call("POST", "/admin/staff", first, f"Bootstrap {made.bootstrap}")
        assert done[0] == 200, done
        yield made
        server.should_exit = True
        await server.ended()


@pytest.fixture
async def office(secrets: Place, pg: servers.Databases, tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(secrets, pg, tmp_path, ("gateway",)) as made:
        yield made


async def test_the_bootstrap_secret_works_once(office: Office) -> None:
    second = office.body("operator-2", ["operator"])
    secret = f"Bootstrap {office.bootstrap}"
    assert await office.call("POST", "/admin/staff", second, secret) == (
        409,
        {"code": "bootstrap-over"},
    )
    wrong = await office.call("POST", "/admin/staff", second, "Bootstrap guess")
    assert wrong == (401, {"code": "bootstrap-refused"})


async def test_every_change_of_the_register_has_its_leaf(office: Office) -> None:
    body = office.body("officer-1", ["protection_officer"])
    assert (await office.by("operator-1", "POST", "/admin/staff", body))[0] == 200
    assert (await office.by("operator-1", "POST", "/admin/staff", body))[0] == 409
    done = await office.by("operator-1", "POST", "/admin/staff/officer-1/disable")
    assert done == (200, {"staff_id": "officer-1", "status": "disabled", "changed": True})
    told = [(x["actor"], x["staff_id"], x["status"]) for x in await office.leaves("staff_changed")]
    assert told == [
        ("bootstrap", "operator-1", "added"),
        ("operator-1", "officer-1", "added"),
        ("operator-1", "officer-1", "disabled"),
    ]


async def test_a_disabled_persons_session_ends_at_once(office: Office) -> None:
    await office.by("operator-1", "POST", "/admin/staff", office.body("lawyer-1", ["lawyer"]))
    _, opened = await office.session("lawyer-1")
    header = f"Bearer {opened['token']}"
    assert (await office.call("GET", "/admin/whoami", authorization=header))[0] == 200
    await office.by("operator-1", "POST", "/admin/staff/lawyer-1/disable")
    after = await office.call("GET", "/admin/whoami", authorization=header)
    assert after == (401, {"code": "session-ended"})
    assert await office.session("lawyer-1") == (401, {"code": "assertion-refused"})


async def test_one_operator_always_remains(office: Office) -> None:
    done = await office.by("operator-1", "POST", "/admin/staff/operator-1/disable")
    assert done == (409, {"code": "last-operator"})


async def test_an_assertion_is_used_once(office: Office) -> None:
    pem = office.key("operator-1").read_bytes()
    claims = {
        "iss": "operator-1",
        "sub": "operator-1",
        "aud": audience(office.world.host.settings.cell),
        "exp": int(time()) + 60,
        "jti": str(uuid4()),
    }
    signed = make_jwt_es384(pem, {"kid": jwk_of(pem)["kid"]}, claims)
    assert (await office.session("operator-1", signed))[0] == 200
    assert await office.session("operator-1", signed) == (401, {"code": "assertion-refused"})


async def test_unknown_people_and_wrong_keys_look_alike(office: Office) -> None:
    office.key("operator-1").write_bytes(new_es384_pem())
    refused = (401, {"code": "assertion-refused"})
    assert await office.session("operator-1") == refused
    assert await office.session("nobody-1") == refused


async def test_a_partners_token_opens_nothing_here(office: Office) -> None:
    token = office.world.tokens["ong-norte"]
    answer = await office.call("GET", "/admin/staff", authorization=f"Bearer {token}")
    assert answer == (401, {"code": "session-missing"})


async def test_without_a_session_nothing_is_answered(office: Office) -> None:
    for method, path in (
        ("GET", "/admin/staff"),
        ("GET", "/admin/partners"),
        ("POST", "/admin/partners"),
        ("GET", "/admin/referrals"),
        ("GET", "/admin/referrals/overdue"),
        ("GET", "/admin/topics"),
        ("GET", "/admin/dead"),
        ("GET", "/admin/erasures"),
        ("GET", "/admin/notices"),
        ("POST", "/admin/openings"),
        ("POST", "/admin/staff"),
    ):
        assert (await office.call(method, path))[0] == 401


async def test_a_role_without_the_duty_is_refused(office: Office) -> None:
    await office.by("operator-1", "POST", "/admin/staff", office.body("lawyer-1", ["lawyer"]))
    for method, path in (
        ("POST", "/admin/partners"),
        ("GET", "/admin/referrals"),
        ("GET", "/admin/referrals/overdue"),
        ("GET", "/admin/topics"),
        ("POST", "/admin/openings"),
        ("GET", "/admin/notices"),
        ("POST", f"/admin/notices/{uuid4()}/closing"),
        ("POST", f"/admin/consents/{uuid4()}/withdrawal"),
        ("POST", "/admin/staff/operator-1/disable"),
    ):
        assert await office.by("lawyer-1", method, path, {}) == (403, {"code": "role-missing"})


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [(b"[]", 400, "not-json"), (b"{", 400, "not-json"), (b"x" * 300_000, 413, "too-large")],
)
async def test_a_body_that_is_no_object_is_refused(
    office: Office, raw: bytes, status: int, code: str
) -> None:
    assert await office.call("POST", "/admin/session", raw) == (status, {"code": code})


async def test_an_opening_of_an_unknown_case_or_reason_is_refused(office: Office) -> None:
    body = office.body("officer-1", ["protection_officer"])
    await office.by("operator-1", "POST", "/admin/staff", body)
    ask = {"case_ref": str(uuid4()), "reason_code": "court_order"}
    answer = await office.by("officer-1", "POST", "/admin/openings", ask)
    assert answer == (404, {"code": "case-unknown"})
    wrong = {**ask, "reason_code": "curiosity"}
    assert (await office.by("officer-1", "POST", "/admin/openings", wrong))[1]["faults"] == [
        {"field": "reason_code", "rule": "code"}
    ]


async def test_a_notice_is_closed_by_a_protection_officer_with_an_outcome_of_the_list(
    office: Office,
) -> None:
    body = office.body("officer-2", ["protection_officer"])
    await office.by("operator-1", "POST", "/admin/staff", body)
    path = f"/admin/notices/{uuid4()}/closing"
    refused = await office.by("operator-1", "POST", path, {"outcome": "told"})
    assert refused == (403, {"code": "role-missing"})
    unknown = await office.by("officer-2", "POST", path, {"outcome": "told"})
    assert unknown == (404, {"code": "notice-unknown"})
    wrong = await office.by("officer-2", "POST", path, {"outcome": "forgotten"})
    assert wrong[1]["faults"] == [{"field": "outcome", "rule": "code"}]
    asked = await office.by("officer-2", "GET", "/admin/notices?al=true")
    assert asked == (400, {"code": "parameter-unknown"})
    assert await office.by("officer-2", "GET", "/admin/notices") == (200, {"notices": []})


async def referred(office: Office, number: int) -> str:
    """A new referral; the hub's reference of its consent."""
    await office.world.refer(person=person(number))
    return str(
        await office.world.admin.fetchval(
            "select consent_ref from gateway.referral order by accepted_at desc limit 1"
        )
    )


async def test_a_protection_officer_takes_a_consent_back_whole_or_for_one_recipient(
    secrets: Place, pg: servers.Databases, tmp_path: Path
) -> None:
    async with opened(secrets, pg, tmp_path, ("vault", "consent", "gateway")) as office:
        body = office.body("officer-3", ["protection_officer"])
        await office.by("operator-1", "POST", "/admin/staff", body)
        ref, other = [await referred(office, 4_300_001 + n) for n in range(2)]
        path, whole = f"/admin/consents/{ref}/withdrawal", {"status": "withdrawn"}
        refused = await office.by("operator-1", "POST", path, whole)
        assert refused == (403, {"code": "role-missing"})
        for body, field, rule in (
            ({"status": "gone"}, "status", "code"),
            ({}, "status", "required"),
            ({**whole, "to_org": 3}, "to_org", "required"),
            ({**whole, "why": "x"}, "why", "unknown"),
        ):
            status, answer = await office.by("officer-3", "POST", path, body)
            assert (status, answer["faults"]) == (422, [{"field": field, "rule": rule}])
        assert await office.by("officer-3", "POST", path, {**whole, "to_org": "nobody"}) == (
            409,
            {"code": "consent-over"},
        )
        assert await office.leaves("withdrawn") == []
        part = await office.by("officer-3", "POST", path, {**whole, "to_org": "refugio-sur"})
        assert part[0] == 200, part
        shown = await office.by("officer-3", "GET", f"/admin/consents/{ref}")
        permits = [r["to_org"] for r in shown[1]["rules"] if r["decision"] == "permit"]
        assert permits == []
        over = await office.by("officer-3", "POST", path, whole)
        assert over == (409, {"code": "consent-over"})
        done = await office.by("officer-3", "POST", path.replace(ref, other), whole)
        assert (done[0], done[1]["status"]) == (200, "withdrawn"), done
        told = [(x["actor"], x["staff_id"]) for x in await office.leaves("withdrawn")]
        assert told == [(office.world.host.settings.cell, "officer-3")] * 2
        unknown = await office.by("officer-3", "POST", path.replace(ref, str(uuid4())), whole)
        assert unknown == (404, {"code": "consent-unknown"})


async def test_the_registry_is_read_with_a_partners_token_only(office: Office) -> None:
    url, session = office.world.url, office.world.session
    headers = {"Authorization": f"Bearer {office.world.tokens['refugio-sur']}"}
    async with session.get(f"{url}/subjects", headers=headers) as answer:
        assert answer.status == 200
        assert await answer.json(content_type=None)
    async with session.get(f"{url}/subjects") as answer:
        assert answer.status == 401
    async with session.post(f"{url}/subjects/a/versions", headers=headers) as answer:
        assert answer.status == 405
