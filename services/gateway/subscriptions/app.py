"""`/fhir/Subscription`: create, read, update, delete, search, `$status`, `$events`.

It guards that a subscriber reaches its own subscriptions alone and changes only the version it has
read. What a subscription may say is `domain`'s, calling it is delivery's.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
from starlette.responses import Response
from starlette.routing import Route

from connectors.fhir_r4 import notification
from connectors.fhir_r4.notification import Happened, Standing
from connectors.sdk.egress import Network
from connectors.sdk.strict import parse_strict
from services.gateway.fhir import answering, paging, render, writing
from services.gateway.fhir.operations import COUNT, CURSOR, TAG
from services.gateway.http import Call, Surface, fhir
from services.gateway.intake.keys import MAX_KEY, normal
from services.gateway.operation import (
    ETAG,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    NOT_FOUND,
    PREFER,
    VERSIONED,
    Operation,
    Parameter,
)
from services.gateway.refusals import of_codes
from services.gateway.subscriptions import domain, store
from services.gateway.subscriptions.domain import Row
from services.kit.aliases import alias
from services.kit.crypto import hmac_sha256
from services.kit.errors import Refused

MOST: Final = 20
"""Subscriptions of one partner."""
_PATH: Final = "/fhir/Subscription"
_LAST: Final = 2**62
_NUMBER: Final = {"type": "integer", "minimum": 0}
_INVALID: Final = (
    ("subscription-invalid", "filter"),
    ("subscription-invalid", "content"),
    ("subscription-invalid", "endpoint"),
    ("code-invalid", "not-in-list"),
    ("required", "element"),
    ("unsupported", "element"),
    ("unsupported", "extension"),
    ("value-invalid", "due-past"),
    ("value-invalid", "fixed-value"),
    *of_codes("fhir", "structure"),
)


def _known(method: str, path: str) -> tuple[tuple[str, str], ...]:
    """What one that is not there answers; to end it once more answers as before."""
    if "{id}" not in path:
        return ()
    return (NOT_FOUND,) if method == "DELETE" else (NOT_FOUND, ("gone", "resource"))


def _operation(method: str, path: str, summary: str, letter: str, **more: Any) -> Operation:
    refusals = (*more.pop("refusals", ()), *_known(method, path))
    return Operation(
        method=method,
        path=path,
        summary=summary,
        tag=TAG,
        scopes=(f"Subscription.{letter}",),
        refusals=refusals,
        **more,
    )


CREATE: Final = _operation(
    "POST",
    _PATH,
    "Subscribe to changes of one's own Tasks (rest-hook, ids only)",
    "c",
    request="Subscription",
    response="Subscription",
    status=201,
    headers=(IDEMPOTENCY_KEY, PREFER),
    sends=(ETAG, "Location"),
    refusals=(*_INVALID, ("value-invalid", "idempotency-key")),
)
SEARCH: Final = _operation(
    "GET",
    _PATH,
    "The caller's own subscriptions",
    "s",
    query=(Parameter("status", "requested, active, error or off"), COUNT, CURSOR),
    response="Bundle",
)
READ: Final = _operation(
    "GET",
    f"{_PATH}/{{id}}",
    "One subscription and how it stands",
    "r",
    headers=(IF_NONE_MATCH,),
    sends=(ETAG,),
    response="Subscription",
)
UPDATE: Final = _operation(
    "PUT",
    f"{_PATH}/{{id}}",
    "Change a subscription, or begin again after an error: a new handshake follows",
    "u",
    request="Subscription",
    response="Subscription",
    headers=(IF_MATCH, PREFER),
    sends=(ETAG,),
    refusals=(*_INVALID, *VERSIONED),
)
DELETE: Final = _operation("DELETE", f"{_PATH}/{{id}}", "End a subscription", "d", status=204)
STATUS: Final = _operation(
    "GET",
    f"{_PATH}/{{id}}/$status",
    "How a subscription stands, and how many events it has had",
    "r",
    response="Bundle",
)
EVENTS: Final = _operation(
    "GET",
    f"{_PATH}/{{id}}/$events",
    "Events of the last 30 days by number",
    "r",
    query=(
        Parameter("eventsSinceNumber", "First number; 1 when absent", _NUMBER),
        Parameter("eventsUntilNumber", "Last number", _NUMBER),
        Parameter("content", "id-only, which is all there is"),
    ),
    response="Bundle",
)


class Subscriptions:
    """Handlers of the seven operations."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        public_url: str,
        base: str,
        private: tuple[Network, ...],
        index_key: bytes,
        alias_key: bytes,
        cursor_key: bytes,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._url = f"{public_url}/fhir"
        self._base = base
        self._private = private
        self._index_key = index_key
        self._alias_key = alias_key
        self._cursor_key = cursor_key
        self._clock = clock

    async def create(self, call: Call) -> Response:
        """`POST`."""
        answering.refuse_conditional_create(call)
        wanted = self._read(call, await call.body(), created=True)
        key = self._key(call)
        async with self._pool.acquire() as conn, conn.transaction():
            if await store.count(conn, call.org) >= MOST:
                raise Refused.of("throttled", "rate")
            row = await store.insert(conn, uuid4(), call.org, wanted, key)
        return answering.resource(call, domain.shown(row, self._base), 201, url=self._url)

    def _read(self, call: Call, raw: bytes, *, created: bool) -> domain.Wanted:
        partner = call.caller.partner
        rules = domain.Rules(
            org=partner.org,
            base=self._base,
            origins=domain.origins(partner),
            private=self._private,
            now=self._clock(),
        )
        return domain.read(parse_strict(raw), rules, created=created)

    def _key(self, call: Call) -> bytes | None:
        header = call.request.headers.get("idempotency-key")
        if header is None:
            return None
        text = normal(header)
        if not text or len(text) > MAX_KEY:
            raise Refused.of("value-invalid", "idempotency-key")
        return hmac_sha256(self._index_key, b"subscription", call.org.encode(), text.encode())

    async def search(self, call: Call) -> Response:
        """`GET` of all."""
        items = call.request.query_params.multi_items()
        given = paging.singles(items)
        limit, after = paging.count(given.get("_count")), None
        if "_cursor" in given:
            after = UUID(paging.unseal(given["_cursor"], call.org, self._cursor_key)[0])
        if given.get("status", "active") not in ("requested", "active", "error", "off"):
            paging.refuse_parameter()
        async with self._pool.acquire() as conn:
            rows = await store.page(conn, call.org, after, limit)
        found = [
            domain.shown(row, self._base)
            for row in rows
            if given.get("status") in (None, domain.status_of(row))
        ]
        cursor = None
        if len(rows) == limit:
            cursor = paging.seal([str(rows[-1].subscription_id)], call.org, self._cursor_key)
        url = f"{self._url}/Subscription"
        following = paging.next_link(url, items, cursor)
        return fhir(render.searchset(found, paging.link(url, items), following))

    async def read(self, call: Call) -> Response:
        """`GET` of one."""
        return answering.resource(call, domain.shown(await self._own(call), self._base))

    async def _own(self, call: Call) -> Row:
        try:
            name = UUID(call.request.path_params["id"])
        except ValueError:
            raise Refused.of("not-found", "resource") from None
        async with self._pool.acquire() as conn:
            row, deleted = await store.find(conn, name, call.org)
        if row is None:
            raise Refused.of(*(("gone", "resource") if deleted else ("not-found", "resource")))
        return row

    async def update(self, call: Call) -> Response:
        """`PUT`."""
        row = await self._own(call)
        version = writing.expected_version(call.request.headers.get("if-match"))
        raw = await call.body()
        if parse_strict(raw).get("id") != str(row.subscription_id):
            raise Refused.of("value-invalid", "fixed-value", "Subscription.id")
        wanted = self._read(call, raw, created=False)
        async with self._pool.acquire() as conn, conn.transaction():
            new = await store.update(conn, row.subscription_id, call.org, version, wanted)
        if new is None:
            raise Refused.of("conflict", "version")
        return answering.resource(call, domain.shown(new, self._base))

    async def delete(self, call: Call) -> Response:
        """`DELETE`; once more answers the same."""
        try:
            row = await self._own(call)
        except Refused as error:
            if error.faults[0].code != "gone":
                raise
        else:
            async with self._pool.acquire() as conn:
                await store.delete(conn, row.subscription_id, call.org)
        return Response(status_code=204)

    def _standing(self, row: Row) -> Standing:
        return Standing(
            subscription=row.subscription_id,
            url=self._url,
            base=self._base,
            status=domain.status_of(row),
            last_number=row.last_number,
        )

    async def status(self, call: Call) -> Response:
        """`$status`."""
        row = await self._own(call)
        told = {
            **notification.status_of(self._standing(row), "query-status"),
            "id": str(row.subscription_id),
        }
        return fhir(
            render.searchset([told], f"{self._url}/Subscription/{told['id']}/$status", None)
        )

    def _task(self, referral_ref: UUID | None, org: str) -> UUID | None:
        if referral_ref is None:
            return None
        return alias(self._alias_key, "task", referral_ref, org)

    async def events(self, call: Call) -> Response:
        """`$events`."""
        given = paging.singles(call.request.query_params.multi_items())
        if given.get("content", "id-only") != "id-only":
            paging.refuse_parameter()
        since, until = _number(given, "eventsSinceNumber", 1), _number(given, "eventsUntilNumber")
        row = await self._own(call)
        async with self._pool.acquire() as conn:
            found = await store.events(conn, row.subscription_id, since, until, domain.CAP_EVENTS)
        happened = [
            Happened(
                number=event.number,
                at=_instant(event.at),
                task=self._task(event.referral_ref, call.org),
            )
            for event in found
        ]
        return fhir(
            notification.notification(
                self._standing(row),
                "query-event",
                happened,
                at=_instant(self._clock()),
                entry=uuid4(),
            )
        )


def _number(given: dict[str, str], name: str, default: int = _LAST) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 0 < len(text) <= 18:
        paging.refuse_parameter()
    return int(text)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def routes(surface: Surface, subscriptions: Subscriptions) -> list[Route]:
    """What partners reach."""
    return [
        surface.route(CREATE, subscriptions.create),
        surface.route(SEARCH, subscriptions.search),
        surface.route(STATUS, subscriptions.status),
        surface.route(EVENTS, subscriptions.events),
        surface.route(READ, subscriptions.read),
        surface.route(UPDATE, subscriptions.update),
        surface.route(DELETE, subscriptions.delete),
    ]
