"""`POST /oauth/token` and the two discovery documents of SMART Backend Services."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.auth.domain import SCOPES_OF_ROLE, allowed
from services.gateway.auth.service import Access
from services.gateway.http import read_body
from services.kit.errors import Refused, catalogue, language

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_FORM: Final = 32


def token_endpoint(access: Access) -> Any:
    """The handler; its refusals have the shape of OAuth (`error`) with our rule beside it."""

    async def token(request: Request) -> Response:
        try:
            form = await _form(request)
            body = await access.give(form["client_assertion"], form.get("scope"))
        except Refused as refused:
            return _refusal(refused, request)
        return _json(body, 200)

    return token


async def _form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused.of("invalid_request", "form")
    raw = await read_body(request)
    try:
        pairs = parse_qsl(raw.decode("ascii"), strict_parsing=True, max_num_fields=MAX_FORM)
    except ValueError:
        raise Refused.of("invalid_request", "form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Refused.of("invalid_request", "form")
    if form.get("grant_type") != "client_credentials":
        raise Refused.of("unsupported_grant_type", "grant-type")
    if form.get("client_assertion_type") != ASSERTION_TYPE or "client_assertion" not in form:
        raise Refused.of("invalid_client", "assertion")
    return form


def _refusal(refused: Refused, request: Request) -> Response:
    fault = refused.faults[0]
    text = catalogue()[fault.code, fault.rule].texts[
        language(request.headers.get("accept-language"))
    ]
    body = {"error": fault.code, "error_rule": fault.rule, "error_description": text}
    if fault.field:
        body["error_field"] = fault.field
    return _json(body, refused.http)


def _json(body: Mapping[str, Any], status: int) -> Response:
    headers = {"cache-control": "no-store", "pragma": "no-cache"}
    raw = orjson.dumps(body)
    return Response(raw, status_code=status, media_type="application/json", headers=headers)


def smart_configuration(public_url: str) -> dict[str, Any]:
    """`GET /fhir/.well-known/smart-configuration`."""
    scopes = {f"system/{name}.{letters}" for name, letters in allowed(SCOPES_OF_ROLE).items()}
    return {
        "token_endpoint": f"{public_url}/oauth/token",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES384", "RS384"],
        "scopes_supported": sorted(scopes),
        "capabilities": ["client-confidential-asymmetric", "permission-v2"],
    }
