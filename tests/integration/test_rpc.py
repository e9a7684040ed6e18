"""A port over a Unix socket gives what a function call gives."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from starlette.applications import Starlette

from services.kit import rpc, serving
from services.kit.db import Unavailable
from services.kit.ports.vault import KeyQuery, Vault
from tests.unit.kit.test_rpc import SECRET, FakeVault, item


class Whole(FakeVault):
    async def keys(self, items: list[KeyQuery]) -> list[None]:
        raise ValueError("Ximena Canario")

    amend = forget = keep = release = grants = open = copy = replay = keys


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[str]:
    verify = rpc.verifier(lambda _: SECRET, frozenset({"gateway"}))
    app = Starlette(routes=rpc.server_routes(Vault, Whole(), verify))
    server = serving.Server(app, serving.listen_unix(tmp_path / "vault.sock"))
    server.begin()
    yield f"unix:{tmp_path / 'vault.sock'}"
    server.should_exit = True
    await server.ended()


def token() -> str:
    return rpc.make_service_token("gateway", SECRET)


async def test_values_cross_and_faults_of_the_other_side_are_told_apart(vault: str) -> None:
    port = rpc.Client(Vault, vault, token, 5)
    one = item()
    (result,) = await port.put([one])
    assert result.subject_ref == one.case_ref
    assert isinstance(result.subject_ref, UUID)
    with pytest.raises(Unavailable):
        await port.resolve([])
    with pytest.raises(rpc.PortError) as caught:
        await port.keys([KeyQuery(case_ref=uuid4(), purpose="statistics")])
    assert "imena" not in str(caught.value)
    with pytest.raises(AttributeError):
        port.unheard_of  # noqa: B018
    await port.close()


async def test_a_wrong_token_or_no_process_is_an_error_of_its_own(
    vault: str, tmp_path: Path
) -> None:
    stranger = rpc.Client(Vault, vault, lambda: "gateway.1.x", 5)
    with pytest.raises(rpc.PortError):
        await stranger.put([item()])
    await stranger.close()
    nobody = rpc.Client(Vault, f"unix:{tmp_path / 'none.sock'}", token, 5)
    with pytest.raises(Unavailable):
        await nobody.put([item()])
    await nobody.close()


async def test_the_socket_is_for_this_user_alone(vault: str) -> None:
    mode = Path(vault.removeprefix("unix:")).stat().st_mode  # noqa: ASYNC240
    assert mode & 0o777 == 0o600
