"""Wiring of the generated documents: what partners' tools read, with a token and an ETag."""

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.gateway.admin.http import Desk
from services.gateway.documents.asyncapi import document as asyncapi
from services.gateway.documents.openapi import document as openapi
from services.gateway.http import Call, Handler, Surface, native
from services.gateway.operation import ETAG, IF_NONE_MATCH, NOT_FOUND, Operation
from services.gateway.registry.parameters import OF_PATH
from services.kit.staff import StaffMember

TAG: Final = "documents"
OPENAPI: Final = Operation(
    method="GET",
    path="/docs/openapi.json",
    summary="This surface as an OpenAPI 3.1 document",
    tag=TAG,
    headers=(IF_NONE_MATCH,),
    sends=(ETAG,),
)
ASYNCAPI: Final = Operation(
    method="GET",
    path="/docs/asyncapi.json",
    summary="Topics and webhooks as an AsyncAPI 3.0 document",
    tag=TAG,
    headers=(IF_NONE_MATCH,),
    sends=(ETAG,),
)
REGISTRY: Final = tuple(
    Operation(
        method="GET",
        path=path,
        summary=summary,
        tag="schemas",
        query=OF_PATH[path],
        refusals=(NOT_FOUND,) if "{" in path else (),
    )
    for path, summary in (
        ("/schemas/ids/{schema_id}", "A released schema by its id"),
        ("/subjects", "Every subject of the registry"),
        ("/subjects/{subject}/versions", "Versions of a subject"),
        ("/subjects/{subject}/versions/{version}", "One version of a subject"),
    )
)
"""The registry's reads, whose routes answer in the registry's own form."""


def openapi_of(operations: Sequence[Operation], public_url: str) -> dict[str, Any]:
    """The OpenAPI document of these operations and the registry's."""
    return openapi((*operations, *REGISTRY), public_url, version("cauce"))


def asyncapi_of(public_url: str) -> dict[str, Any]:
    """The AsyncAPI document."""
    return asyncapi(public_url, version("cauce"))


def routes(surface: Surface, public_url: str) -> list[Route]:
    """Both documents, each made once, when it is first asked for."""
    return [
        surface.route(OPENAPI, _serve(lambda: openapi_of(surface.operations, public_url))),
        surface.route(ASYNCAPI, _serve(lambda: asyncapi_of(public_url))),
    ]


def admin_routes(surface: Surface, public_url: str, desk: Desk) -> list[Route]:
    """The same documents for people."""

    async def show_openapi(_: Request, __: StaffMember) -> dict[str, Any]:
        return openapi_of(surface.operations, public_url)

    async def show_asyncapi(_: Request, __: StaffMember) -> dict[str, Any]:
        return asyncapi_of(public_url)

    return [
        desk.route("GET", "/admin/documents/openapi", "partner.read", show_openapi),
        desk.route("GET", "/admin/documents/asyncapi", "partner.read", show_asyncapi),
    ]


def _serve(make: Callable[[], dict[str, Any]]) -> Handler:
    @cache
    def made() -> tuple[bytes, str]:
        raw = orjson.dumps(make())
        return raw, f'W/"{sha256(raw).hexdigest()[:32]}"'

    async def get(call: Call) -> Response:
        raw, tag = made()
        headers = {"etag": tag, "cache-control": "private, no-cache"}
        if call.request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return native(raw, 200, headers)

    return get
