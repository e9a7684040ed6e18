"""The FHIR server of `refugio-sur`: HTTP around `shelter.Shelter`, and its control endpoint."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox.behaviour import changed
from connectors.sandbox.fhir_store import FhirError, Resource, outcome
from connectors.sandbox.shelter import Request, Shelter
from connectors.sandbox.smart import TokenEndpoint

FHIR_JSON = "application/fhir+json"
KINDS = {"Task", "Patient", "ServiceRequest", "Consent"}
INSTANT = re.compile(r"^(eq|ge|gt|le|lt)?(.+)$")


def cut(request: HttpRequest) -> Response:
    """Close the connection under the request: the client sees a reset, never an answer."""
    cycle: Any = request.receive.__self__  # type: ignore[attr-defined] # uvicorn's request cycle
    cycle.transport.abort()
    return Response()


def fhir(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A FHIR JSON answer."""
    return Response(orjson.dumps(body), status, headers, media_type=FHIR_JSON)


class ShelterApi:
    """Routes of the server."""

    def __init__(self, shelter: Shelter, tokens: TokenEndpoint) -> None:
        self.shelter = shelter
        self.tokens = tokens

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/live", self.live),
                Route("/ready", self.live),
                Route("/_control", self.control, methods=["POST", "GET"]),
                Route("/fhir/metadata", self.metadata),
                Route("/fhir/.well-known/smart-configuration", self.smart_configuration),
                Route("/oauth/token", self.token, methods=["POST"]),
                Route("/fhir", self.transaction, methods=["POST"]),
                Route("/fhir/", self.transaction, methods=["POST"]),
                Route("/fhir/{kind}", self.search, methods=["GET"]),
                Route("/fhir/{kind}/_search", self.search, methods=["POST"]),
                Route("/fhir/{kind}", self.create, methods=["POST"]),
                Route("/fhir/{kind}/{rid}", self.read, methods=["GET"]),
                Route("/fhir/{kind}/{rid}", self.update, methods=["PUT"]),
            ],
            exception_handlers={FhirError: _fhir_error},
        )

    async def live(self, _: HttpRequest) -> Response:
        """Alive and, since the journal is loaded before the port opens, ready."""
        return Response("ok")

    async def control(self, request: HttpRequest) -> Response:
        """Read or set the behaviour switches."""
        if request.method == "POST":
            try:
                wanted = orjson.loads(await request.body())
                self.shelter.behaviour = changed(self.shelter.behaviour, wanted)
            except ValueError as error:
                return fhir({"error": str(error)}, 400)
        return fhir(self.shelter.behaviour)

    async def metadata(self, _: HttpRequest) -> Response:
        """CapabilityStatement."""
        interactions = [{"code": code} for code in ("read", "create", "update", "search-type")]
        resources = [{"type": kind, "interaction": interactions} for kind in sorted(KINDS)]
        rest = {"mode": "server", "interaction": [{"code": "transaction"}], "resource": resources}
        return fhir(
            {
                "resourceType": "CapabilityStatement",
                "status": "active",
                "date": "2026-11-01",
                "kind": "instance",
                "fhirVersion": "4.0.1",
                "format": ["json"],
                "implementation": {"description": "Refugio Sur, sandbox"},
                "rest": [rest],
            }
        )

    async def smart_configuration(self, _: HttpRequest) -> Response:
        """SMART discovery."""
        return fhir(
            {
                "token_endpoint": self.tokens.audience,
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["ES384"],
                "grant_types_supported": ["client_credentials"],
                "capabilities": ["client-confidential-asymmetric", "permission-v2"],
            }
        )

    async def token(self, request: HttpRequest) -> Response:
        """OAuth 2 client credentials with `private_key_jwt`."""
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        answer = self.tokens.issue(form)
        if answer is None:
            return fhir({"error": "invalid_client"}, 401)
        return fhir(answer)

    async def transaction(self, request: HttpRequest) -> Response:
        """POST of a transaction Bundle."""
        bundle = await self._body(request)
        if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
            raise FhirError(400, "invalid")
        return await self._write(request, bundle.get("entry", []), transaction=True)

    async def create(self, request: HttpRequest) -> Response:
        """POST of one resource, conditional by If-None-Exist."""
        resource = await self._body(request)
        entry = {"resource": resource, "request": {"method": "POST", "url": _kind(request)}}
        if "if-none-exist" in request.headers:
            entry["request"]["ifNoneExist"] = request.headers["if-none-exist"]
        return await self._write(request, [entry], transaction=False)

    async def update(self, request: HttpRequest) -> Response:
        """PUT of one resource; a stale If-Match is 412."""
        resource = await self._body(request)
        kind, rid = _kind(request), request.path_params["rid"]
        current = self.shelter.store.get(kind, rid)
        wanted = request.headers.get("if-match")
        if wanted and wanted != f'W/"{current["meta"]["versionId"]}"':
            raise FhirError(412, "conflict")
        entry = {"resource": resource, "request": {"method": "PUT", "url": f"{kind}/{rid}"}}
        return await self._write(request, [entry], transaction=False)

    async def read(self, request: HttpRequest) -> Response:
        """GET of one resource."""
        self._authorised(request)
        resource = self.shelter.store.get(_kind(request), request.path_params["rid"])
        return fhir(resource, headers={"ETag": f'W/"{resource["meta"]["versionId"]}"'})

    async def search(self, request: HttpRequest) -> Response:
        """Search by identifier, status, `_lastUpdated`."""
        self._authorised(request)
        query = request.query_params.multi_items()
        if request.method == "POST":
            query += parse_qsl((await request.body()).decode())
        kind = _kind(request)
        found = [r for (k, _), r in self.shelter.store.resources.items() if k == kind]
        for name, value in query:
            found = [resource for resource in found if _matches(resource, name, value)]
        found.sort(key=lambda resource: resource["meta"]["lastUpdated"])
        entries = [{"resource": resource, "search": {"mode": "match"}} for resource in found]
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
        return fhir(bundle | ({"entry": entries} if entries else {}))

    def _authorised(self, request: HttpRequest) -> None:
        if not self.tokens.accepts(request.headers.get("authorization", "")):
            raise FhirError(401, "login")

    async def _body(self, request: HttpRequest) -> Resource:
        self._authorised(request)
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            raise FhirError(400, "structure") from None
        if not isinstance(body, dict):
            raise FhirError(400, "structure")
        return body

    async def _write(
        self, http: HttpRequest, entries: list[dict[str, Any]], *, transaction: bool
    ) -> Response:
        request = Request(
            method=http.method,
            path=http.url.path,
            key=http.headers.get("idempotency-key", ""),
            not_after=_instant(http.headers.get("cauce-not-after")),
            entries=entries,
            transaction=transaction,
        )
        await self.shelter.arrived(request, datetime.now(UTC))
        fault = self._fault()
        await asyncio.sleep(self.shelter.behaviour.slow_ms / 1000)
        if fault == "unavailable":
            raise FhirError(503, "transient")
        if fault == "cut_before":
            return cut(http)
        answer = await self.shelter.perform(request)
        if fault == "commit_then_500":
            raise FhirError(500, "exception")
        if fault == "cut_after":
            return cut(http)
        return fhir(answer, 200 if transaction else 201)

    def _fault(self) -> str:
        behaviour = self.shelter.behaviour
        if not behaviour.fault or behaviour.fault_calls == 0:
            return ""
        if behaviour.fault_calls > 0:
            left = {"fault_calls": behaviour.fault_calls - 1}
            self.shelter.behaviour = changed(behaviour, left)
        return behaviour.fault


def _kind(request: HttpRequest) -> str:
    kind = str(request.path_params["kind"])
    if kind not in KINDS:
        raise FhirError(404, "not-supported")
    return kind


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise FhirError(400, "value") from None


def _matches(resource: Resource, name: str, value: str) -> bool:
    if name == "identifier":
        system, bar, code = value.partition("|")
        pairs = [(i.get("system", ""), i.get("value")) for i in resource.get("identifier", [])]
        return (system, code) in pairs if bar else any(v == value for _, v in pairs)
    if name == "_lastUpdated":
        match = INSTANT.match(value)
        assert match is not None  # noqa: S101 - the pattern takes any text
        limit = _instant(match[2])
        at = datetime.fromisoformat(resource["meta"]["lastUpdated"])
        if limit is None:
            raise FhirError(400, "value")
        sign = match[1] or "eq"
        return {"ge": at >= limit, "gt": at > limit, "le": at <= limit, "lt": at < limit}.get(
            sign, at == limit
        )
    if name == "status":
        return resource.get("status") in value.split(",")
    if name == "_count":
        return True
    raise FhirError(400, "not-supported")


async def _fhir_error(_: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, FhirError)  # noqa: S101 - registered for that type alone
    detail = error.code if error.code == "not-after" else ""
    return fhir(outcome("conflict" if detail else error.code, detail), error.status)
