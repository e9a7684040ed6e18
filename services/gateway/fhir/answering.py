"""How a resource is answered: entity tags, what has not changed, how much the caller prefers.

It guards that a write and a read of one version carry the same tag, and that nothing is left out of
an answer but what the caller asked to be left out. There is no Last-Modified: seconds would join
what two recipients were shown at one moment (decision 0009); `meta.lastUpdated` is finer and own.
"""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from services.gateway.http import Call, fhir
from services.kit.errors import Refused, language

_DONE: Final = {"es": "Hecho.", "en": "Done.", "pt": "Feito."}
_METHODS: Final = frozenset({"GET", "HEAD"})


def resource(
    call: Call, body: Mapping[str, Any], status: int = 200, *, url: str | None = None
) -> Response:
    """A resource by its version, whole or as the caller prefers; `url` when it was just made."""
    tag = f'W/"{version}"' if (version := body.get("meta", {}).get("versionId")) else None
    headers = {"etag": tag} if tag else {}
    if url is not None:
        headers["location"] = f"{url}/{body['resourceType']}/{body['id']}"
    if call.request.method in _METHODS:
        if tag is not None and _matches(call.request.headers.get("if-none-match"), tag):
            return Response(status_code=304, headers={**headers, "cache-control": "no-store"})
        return fhir(dict(body), status, headers)
    return _written(call, body, status, headers)


def _matches(header: str | None, tag: str) -> bool:
    """Whether If-None-Match names this version (weak comparison, RFC 9110 §13.1.2)."""
    plain = tag.removeprefix("W/")
    given = [part.strip().removeprefix("W/") for part in (header or "").split(",")]
    return "*" in given or plain in given


def _written(
    call: Call, body: Mapping[str, Any], status: int, headers: Mapping[str, str]
) -> Response:
    """The answer to a write."""
    wanted = _preference(call)
    if wanted == "minimal":
        return Response(status_code=status, headers={**headers, "cache-control": "no-store"})
    if wanted == "OperationOutcome":
        lang = language(call.request.headers.get("accept-language"))
        issue = {
            "severity": "information",
            "code": "informational",
            "details": {"text": _DONE[lang]},
        }
        return fhir({"resourceType": "OperationOutcome", "issue": [issue]}, status, headers)
    return fhir(dict(body), status, headers)


def _preference(call: Call) -> str:
    """What `Prefer: return=` asks for; a whole resource otherwise."""
    for part in call.request.headers.get("prefer", "").split(","):
        for one in part.split(";"):
            name, _, value = one.strip().partition("=")
            if name.strip().lower() == "return" and value.strip('" ') in (
                "minimal",
                "OperationOutcome",
            ):
                return value.strip('" ')
    return "representation"


def refuse_conditional_create(call: Call) -> None:
    """A create that depends on a search is refused by name, never done without looking."""
    if "if-none-exist" in call.request.headers:
        raise Refused.of("not-supported", "parameter", "If-None-Exist")
