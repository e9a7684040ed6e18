"""The read part of the Confluent registry interface over HTTP.

It guards that an unmodified Confluent client of a partner finds the released schemas and that
nobody writes here: a new schema is a release in the repository. Who a token is is asked of
`require`, which raises Refused.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas import registry
from services.gateway.registry.parameters import WrongParameterError, given, page
from services.kit.db import is_infrastructure_fault
from services.kit.errors import Refused

Require = Callable[[str | None], Awaitable[object]]
"""`Authorization` header → the partner; Refused when it is none that may call now."""

Asked = Mapping[str, str]

MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"
METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH")
_LARGEST_ID: Final = 10


def _answer(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type=MEDIA_TYPE)


def _fault(status: int, code: int, message: str) -> Response:
    return _answer({"error_code": code, "message": message}, status)


def _schema(request: Request, _: Asked) -> Any:
    text = str(request.path_params["schema_id"])
    if not (text.isascii() and text.isdigit() and len(text) <= _LARGEST_ID):
        raise registry.NotFoundError(40403, "Schema not found")
    return registry.schema_by_id(int(text))


def _subjects(_: Request, asked: Asked) -> Any:
    start = asked.get("subjectPrefix", "")
    return page((one for one in registry.subjects() if one.startswith(start)), asked)


def _versions(request: Request, asked: Asked) -> Any:
    return page(registry.versions(request.path_params["subject"]), asked)


def _version(request: Request, _: Asked) -> Any:
    return registry.version(request.path_params["subject"], request.path_params["version"])


def registry_routes(require: Require) -> list[Route]:
    """The four reads; any other method is refused in the registry's own form."""

    def route(path: str, read: Callable[[Request, Asked], Any]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                await require(request.headers.get("authorization"))
            except Refused as refused:
                return _fault(refused.http, refused.http, "Not allowed")
            except Exception as error:
                if not is_infrastructure_fault(error):
                    raise
                return _fault(503, 50003, "Unavailable")
            if request.method not in ("GET", "HEAD"):
                return _fault(405, 405, "Read only: schemas are released in the repository")
            try:
                return _answer(read(request, given(path, request.query_params.multi_items())))
            except WrongParameterError:
                return _fault(400, 400, "Unknown parameter")
            except registry.NotFoundError as error:
                return _fault(404, error.error_code, str(error))

        return Route(path, endpoint, methods=list(METHODS))

    return [
        route("/schemas/ids/{schema_id}", _schema),
        route("/subjects", _subjects),
        route("/subjects/{subject}/versions", _versions),
        route("/subjects/{subject}/versions/{version}", _version),
    ]
