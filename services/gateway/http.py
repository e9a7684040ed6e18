"""How the public surface speaks HTTP: media types, sizes, languages, and every refusal.

It guards that each error is from the catalogue, as an OperationOutcome under `/fhir` and as a
problem document (RFC 9457) under `/v1`, with a request id of ours, that nothing submitted is
echoed, and that what we did not foresee says nothing at all.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from connectors.sdk.faults import Faults
from connectors.sdk.strict import DEFAULT, parse_strict
from services.gateway.auth.service import Access, Caller
from services.gateway.bodies import M, read
from services.gateway.operation import NATIVE_PATHS, Operation
from services.kit.db import is_infrastructure_fault
from services.kit.errors import Refused, language, outcome, problem
from services.kit.logs import Log

FHIR_JSON: Final = "application/fhir+json"
BODY_TYPES: Final = frozenset({FHIR_JSON, "application/json"})
PATCH_TYPES: Final = frozenset({"application/json-patch+json"})
JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
_READABLE: Final = frozenset({FHIR_JSON, "application/json", "application/*", "*/*"})
METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]

Body = dict[str, Any] | bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request by an authenticated partner."""

    request: Request
    caller: Caller

    @property
    def org(self) -> str:
        """The calling organisation."""
        return self.caller.partner.org

    async def body(self, types: frozenset[str] = BODY_TYPES) -> bytes:
        """The whole body, of one of these media types and not too large."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in types:
            raise Refused.of("media-type", "media-type")
        return await read_body(self.request)

    async def read(self, model: type[M]) -> M:
        """The body of a native request as a model; Faults with every place that is wrong."""
        return read(model, parse_strict(await self.body(frozenset({JSON}))))


Handler = Callable[[Call], Awaitable[Response]]


async def read_body(request: Request) -> bytes:
    """The body, cut off with a refusal once it is too large."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > DEFAULT.size:
            raise Refused.of("too-large", "size")
        parts.append(part)
    return b"".join(parts)


def fhir(body: Body, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A FHIR answer."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    more = {"cache-control": "no-store", **(headers or {})}
    return Response(raw, status_code=status, media_type=FHIR_JSON, headers=more)


def native(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of the native surface: JSON bytes as they are, or what `orjson` can write."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    more = {"cache-control": "no-store", **(headers or {})}
    return Response(raw, status_code=status, media_type=JSON, headers=more)


class Surface:
    """Makes routes of operations and their handlers, and keeps the operations for the document."""

    def __init__(self, access: Access, log: Log, canonical_base: str) -> None:
        self._access = access
        self._log = log
        self._base = canonical_base
        self.operations: list[Operation] = []

    def route(self, operation: Operation, handler: Handler) -> Route:
        """A route for partners with a token that has the operation's scopes."""

        async def authenticated(request: Request) -> Response:
            caller = await self._access.require(request.headers.get("authorization"))
            _check_accept(request)
            for scope in operation.scopes:
                caller.require(*scope.split("."))
            _check_query(request, operation)
            return await handler(Call(request, caller))

        return self._routed(operation, authenticated)

    def open_route(
        self, operation: Operation, handler: Callable[[Request], Awaitable[Response]]
    ) -> Route:
        """A route for anyone."""
        return self._routed(operation, handler)

    def _routed(
        self, operation: Operation, handler: Callable[[Request], Awaitable[Response]]
    ) -> Route:
        self.operations.append(operation)

        async def endpoint(request: Request) -> Response:
            return await self._guarded(request, handler)

        return Route(operation.path, endpoint, methods=[operation.method])

    def rest(self, routes: Sequence[Route]) -> Route:
        """Answers what none of `routes` does: 405 where only the method is wrong, else 404."""

        async def nothing(request: Request) -> Response:
            rule = "method" if _other_method(routes, request) else "path"
            raise Refused.of("not-supported-method" if rule == "method" else "not-found", rule)

        async def endpoint(request: Request) -> Response:
            return await self._guarded(request, nothing)

        return Route("/{rest:path}", endpoint, methods=METHODS)

    async def _guarded(
        self, request: Request, handler: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        request_id = str(uuid4())
        try:
            answer = await handler(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:  # noqa: BLE001 -- nothing unforeseen is shown
            answer = self._error(error, request, request_id)
        answer.headers["x-request-id"] = request_id
        return answer

    def _error(self, error: Exception, request: Request, request_id: str) -> Response:
        if isinstance(error, Faults):
            error = Refused(error.faults)
        elif is_infrastructure_fault(error):
            self._log.warning("unavailable", error)
            error = Refused.of("transient", "unavailable", retry_after=1)
        if not isinstance(error, Refused):
            self._log.error("unforeseen", error)
            return self._unforeseen(request, request_id)
        lang = language(request.headers.get("accept-language"))
        headers: dict[str, str] = {"content-language": lang}
        if error.retry_after is not None:
            headers["retry-after"] = str(error.retry_after)
        if error.http == 401:
            headers["www-authenticate"] = "Bearer"
        if _is_native(request):
            told = problem(error.faults, request_id, lang)
            return native(told, error.http, {**headers, "content-type": PROBLEM})
        return fhir(outcome(error.faults, request_id, lang, self._base), error.http, headers)

    def _unforeseen(self, request: Request, request_id: str) -> Response:
        if _is_native(request):
            told = {"status": 500, "request_id": request_id, "faults": []}
            return native(told, 500, {"content-type": PROBLEM})
        issue = {"severity": "fatal", "code": "exception", "diagnostics": request_id}
        return fhir({"resourceType": "OperationOutcome", "issue": [issue]}, 500)


def _is_native(request: Request) -> bool:
    return request.url.path.startswith(NATIVE_PATHS)


def _check_query(request: Request, operation: Operation) -> None:
    """Refuse any query parameter that the operation does not know."""
    known = {parameter.name for parameter in operation.query}
    if operation.is_fhir:
        known |= {"_format"}
    if set(request.query_params) - known:
        raise Refused.of("not-supported", "parameter")


def _check_accept(request: Request) -> None:
    accept = request.headers.get("accept")
    kinds = {part.partition(";")[0].strip().lower() for part in (accept or "*/*").split(",")}
    if not kinds & _READABLE:
        raise Refused.of("not-acceptable", "accept")
    if request.query_params.get("_format", "json") not in {"json", FHIR_JSON, "application/json"}:
        raise Refused.of("not-acceptable", "accept")


def _other_method(routes: Sequence[Route], request: Request) -> bool:
    return any(route.matches(request.scope)[0] == Match.PARTIAL for route in routes)
