"""The directory over HTTP: read by every partner, written by its owners, asked for proposals.

It guards that only the owner changes an entry, at the version it saw, and that nothing of what was
looked for is kept. Which services could take a need is `domain`'s to say.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import asyncpg
from starlette.responses import Response

from connectors.sdk.faults import Fault
from schemas.codes import is_code
from services.gateway.directory import store
from services.gateway.directory.domain import Filter, Scene, listed, matches, propose
from services.gateway.directory.models import CapacityBody, EntryBody, NeedsBody
from services.gateway.directory.proposals import shown
from services.gateway.directory.render import native as entry_view
from services.gateway.directory.rules import capacity_faults, entry_faults, needs_faults
from services.gateway.fhir import paging
from services.gateway.fhir.writing import expected_version
from services.gateway.http import Call, native
from services.kit.db import transaction
from services.kit.entry import Entry, Limits
from services.kit.errors import Refused, language
from services.kit.partners import Partners

CODED: Final = {
    "service_type": "service_type",
    "population_type": "population_type",
    "capacity": "capacity_status",
}
_FORMS: Final = {
    "country": re.compile(r"[A-Z]{3}"),
    "admin1": re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}"),
    "language": re.compile(r"[a-z]{2,3}"),
    "org": re.compile(r"[a-z][a-z0-9-]{2,31}"),
}
_TRUTH: Final = {"true": True, "false": False}


class DirectoryApi:
    """Handlers of `/v1/directory`."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        partners: Partners,
        limits: Limits,
        zone: ZoneInfo,
        cursor_key: bytes,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._partners = partners
        self._limits = limits
        self._zone = zone
        self._key = cursor_key
        self._clock = clock

    async def every(self, call: Call) -> Response:
        """`GET /v1/directory/services`."""
        items = call.request.query_params.multi_items()
        given = paging.singles(items)
        wanted, now = read_filter(given), self._clock()
        after = ""
        if "cursor" in given:
            after = str(paging.unseal(given["cursor"], call.org, self._key)[0])
        most = paging.count(given.get("limit"))
        found = [
            entry
            for entry in listed(await self._partners.all())
            if entry.id > after and matches(entry, wanted, now, self._limits)
        ]
        page, rest = found[:most], found[most:]
        following = None
        if rest:
            sealed = paging.seal([page[-1].id], call.org, self._key)
            kept = [(name, value) for name, value in items if name != "cursor"]
            following = f"/v1/directory/services?{urlencode([*kept, ('cursor', sealed)])}"
        services = [entry_view(entry, now, self._limits) for entry in page]
        return native({"services": services, "next": following})

    async def read(self, call: Call) -> Response:
        """`GET /v1/directory/services/{id}`."""
        return self._shown(await self._known(call))

    async def write(self, call: Call) -> Response:
        """`PUT /v1/directory/services/{id}`."""
        await self._own(call)
        version = expected_version(call.request.headers.get("if-match"))
        body = await call.read(EntryBody)
        _refuse(entry_faults(body))
        return await self._change(call, body.record(), version)

    async def write_capacity(self, call: Call) -> Response:
        """`PUT /v1/directory/services/{id}/capacity`; without If-Match the last word counts."""
        await self._own(call)
        if_match = call.request.headers.get("if-match")
        version = None if if_match is None else expected_version(if_match)
        body = await call.read(CapacityBody)
        _refuse(capacity_faults(body))
        return await self._change(call, body.model_dump(mode="json"), version)

    async def propose(self, call: Call) -> Response:
        """`POST /v1/directory/proposals`."""
        body = await call.read(NeedsBody)
        _refuse(needs_faults(body))
        scene = Scene(
            source=call.caller.partner,
            partners=await self._partners.all(),
            now=self._clock(),
            zone=self._zone,
            limits=self._limits,
        )
        lang = language(call.request.headers.get("accept-language"))
        return native(shown(propose(body.needs(), scene), scene, lang))

    async def _known(self, call: Call) -> Entry:
        wanted = call.request.path_params["id"]
        entries = listed(await self._partners.all())
        found = next((entry for entry in entries if entry.id == wanted), None)
        if found is None:
            raise Refused.of("not-found", "resource")
        return found

    async def _own(self, call: Call) -> None:
        if (await self._known(call)).org != call.org:
            raise Refused.of("forbidden", "owner")

    async def _change(self, call: Call, changed: dict[str, Any], expected: int | None) -> Response:
        entry_id, now = call.request.path_params["id"], self._clock()
        async with transaction(self._pool) as conn:
            before = await store.lock(conn, entry_id)
            if before is None or before.org != call.org:
                raise Refused.of("not-found", "resource")
            if expected is not None and expected != before.version:
                raise Refused.of("conflict", "version")
            await store.write(conn, entry_id, changed, now)
            await store.announce(conn, [entry_id], self._limits, now)
            after = await store.lock(conn, entry_id)
        self._partners.forget()
        assert after is not None  # noqa: S101 -- locked above
        return self._shown(after)

    def _shown(self, entry: Entry) -> Response:
        body = entry_view(entry, self._clock(), self._limits)
        return native(body, headers={"etag": f'W/"{entry.version}"'})


def _refuse(faults: Iterable[Fault]) -> None:
    found: Sequence[Fault] = list(faults)
    if found:
        raise Refused(found)


def read_filter(given: dict[str, str]) -> Filter:
    """The filter in a query; Refused by `parameter` for anything not understood."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in ("limit", "cursor"):
            continue
        values[name] = _value(name, value)
    return Filter(**values)


def _value(name: str, value: str) -> Any:
    if name in CODED and is_code(CODED[name], value):
        return value
    if name in _FORMS and _FORMS[name].fullmatch(value):
        return value
    if name in ("open_now", "stale") and value in _TRUTH:
        return _TRUTH[value]
    if name == "age" and value.isascii() and value.isdigit() and int(value[:4]) <= 120:
        return int(value)
    raise Refused.of("not-supported", "parameter")
