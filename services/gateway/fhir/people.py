"""Patient/_search: the caller's own id of a person, by an identifier in the caller's own system.

It guards that an identifier comes in a body and never stands in a URL, a link or a log, and that
nobody finds a person by what another organisation calls them.
"""

from typing import Final

import asyncpg
from starlette.responses import Response

from services.gateway.fhir import paging, render, store
from services.gateway.fhir.forms import form
from services.gateway.http import Call, fhir
from services.kit.errors import Refused
from services.kit.ports.vault import Lookup, Vault

_MOST: Final = 255


class People:
    """Handlers of `/fhir/Patient` without an id."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault, public_url: str) -> None:
        self._pool = pool
        self._vault = vault
        self._url = f"{public_url}/fhir/Patient/_search"

    async def search(self, call: Call) -> Response:
        """`POST /fhir/Patient/_search` with `identifier=system|value`."""
        given = paging.singles([item for item in await form(call) if item[0] != "_format"])
        if given.keys() != {"identifier"}:
            paging.refuse_parameter()
        system, bar, value = given["identifier"].partition("|")
        if not bar or not value.strip() or max(len(system), len(value)) > _MOST:
            paging.refuse_parameter()
        asked = Lookup(org=call.org, identifiers=((system, value),))
        subject = (await self._vault.resolve([asked]))[0]
        found = []
        if subject is not None:
            async with self._pool.acquire() as conn:
                name = await store.person(conn, call.org, subject)
            found = [render.own_patient(str(name))] if name is not None else []
        return fhir(render.searchset(found, self._url, None))

    async def refuse(self, _: Call) -> Response:
        """`GET /fhir/Patient`: refused whatever it asks."""
        raise Refused.of("not-supported", "identifier-in-url")
