"""Every operation of the public surface, from the gateway as it is wired, without a server."""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any
from unittest.mock import patch

from services.console.local.keys import make_secrets
from services.gateway import app
from services.gateway.http import Surface
from services.gateway.operation import Operation
from services.kit.runtime import Host, Runtime
from services.kit.settings import Settings
from tests.support import servers


class _Unconnected(Host):
    """A process whose database nobody asks."""

    async def pool(self, role: str, database: str) -> Any:
        return object()


@cache
def operations() -> Sequence[Operation]:
    """As the router has them."""
    made: list[Surface] = []

    class Kept(Surface):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    with servers.temporary_place() as place, patch.object(app, "Surface", Kept):
        make_secrets(place, place.root / "vault-keys")
        host = _Unconnected("gateway", Settings(secrets_dir=place.secrets))
        asyncio.run(app.build(Runtime(host, "gateway")))
    return tuple(made[0].operations)
