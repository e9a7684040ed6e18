from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from services.kit import rpc
from services.kit.db import Unavailable
from services.kit.ports.consent import Consent
from services.kit.ports.delivery import Delivery
from services.kit.ports.referral import Referral as ReferralPort
from services.kit.ports.vault import DataKey, Lookup, PutItem, PutResult, Vault

SECRET = b"s" * 32


class FakeVault:
    def __init__(self) -> None:
        self.seen: list[object] = []

    async def put(self, items: Sequence[PutItem]) -> list[PutResult]:
        self.seen += items
        key = DataKey(purpose="service_referral", version=1, key=bytes(range(32)))
        return [PutResult(subject_ref=i.case_ref, vault_version=1, keys=(key,)) for i in items]

    async def resolve(self, items: Sequence[Lookup]) -> list[UUID | None]:
        raise Unavailable("database")


@pytest.mark.parametrize("port", [Vault, Consent, ReferralPort, Delivery])
def test_every_method_of_a_port_can_cross(port: type) -> None:
    assert rpc.methods(port)


async def call(body: bytes, method: str, token: str | None) -> Response:
    vault = FakeVault()
    verify = rpc.verifier(lambda _: SECRET, frozenset({"gateway"}))
    adapter = rpc.methods(Vault)[method]
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    return await rpc._endpoint(getattr(vault, method), adapter, verify)(request)


def item() -> PutItem:
    return PutItem(
        attempt=uuid4(),
        org="ong-norte",
        identifiers=(("urn:x", "1"),),
        case_ref=uuid4(),
        subject_seen=None,
        key_versions=(("service_referral", 1),),
        record=b"\x00\xff",
    )


async def test_values_and_bytes_arrive_as_they_were_sent() -> None:
    adapter, one = rpc.methods(Vault)["put"], item()
    token = rpc.make_service_token("gateway", SECRET)
    response = await call(adapter.argument.dump_json([one]), "put", token)
    (result,) = adapter.answer.validate_json(bytes(response.body))
    assert result.subject_ref == one.case_ref
    assert result.keys[0].key == bytes(range(32))


async def test_a_caller_without_a_good_token_is_refused() -> None:
    good = rpc.make_service_token("gateway", SECRET)
    for token in (
        None,
        "",
        good[:-2] + "AA",
        rpc.make_service_token("delivery", SECRET),
        rpc.make_service_token("gateway", b"t" * 32),
        rpc.make_service_token("gateway", SECRET, now=0),
    ):
        assert (await call(b"[]", "put", token)).status_code == 401


async def test_what_is_not_of_the_ports_types_is_refused_without_an_echo() -> None:
    response = await call(b'[{"org": "Ximena"}]', "put", rpc.make_service_token("gateway", SECRET))
    assert response.status_code == 400
    assert response.body == b""


async def test_a_part_that_is_down_is_told_as_such() -> None:
    body = rpc.methods(Vault)["resolve"].argument.dump_json([])
    response = await call(body, "resolve", rpc.make_service_token("gateway", SECRET))
    assert response.status_code == 503


def test_routes_are_named_after_port_and_method() -> None:
    vault = type("V", (), dict.fromkeys(rpc.methods(Vault)))
    routes = rpc.server_routes(Vault, vault, lambda _: None)
    assert Starlette(routes=routes).url_path_for is not None
    assert "/Vault/put" in {route.path for route in routes}
