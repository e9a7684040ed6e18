"""Shapes of the OpenAPI document that no model of ours has: FHIR, refusals, OAuth, registry."""

from collections.abc import Mapping
from typing import Any, Final

from services.gateway.operation import Parameter

Json = dict[str, Any]

REGISTRY_TYPE: Final = "application/vnd.schemaregistry.v1+json"
REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "fhir": ("application/fhir+json", "FhirOperationOutcome"),
    "native": ("application/problem+json", "Problem"),
    "oauth": ("application/json", "TokenRefusal"),
    "registry": (REGISTRY_TYPE, "RegistryFault"),
}
"""Kind of an operation → media type and schema of its refusals."""

PATH_NAMES: Final[Mapping[str, str]] = {
    "id": "The caller's own id of the thing",
    "ref": "The caller's own id of the thing",
    "enum": "Name of a code list",
    "org": "The organisation that sends",
    "schema_id": "Id of a released schema",
    "subject": "Name of a subject of the registry",
    "version": "A version, or `latest`",
}
_TEXT: Final = {"type": "string"}


def _object(required: tuple[str, ...], **properties: Any) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


_FAULT: Final = _object(
    ("code", "rule", "field", "text"), code=_TEXT, rule=_TEXT, field=_TEXT, text=_TEXT
)
SCHEMAS: Final[Json] = {
    "Problem": {
        **_object(
            ("status", "request_id", "faults"),
            status={"type": "integer"},
            title=_TEXT,
            request_id={"type": "string", "format": "uuid"},
            faults={"type": "array", "items": _FAULT},
        ),
        "description": "RFC 9457; one entry of `faults` for each thing that is wrong",
    },
    "Token": _object(
        ("access_token", "token_type", "expires_in", "scope"),
        access_token=_TEXT,
        token_type={"type": "string"},
        expires_in={"type": "integer", "maximum": 300},
        scope=_TEXT,
    ),
    "TokenRefusal": _object(
        ("error", "error_rule", "error_description"),
        error=_TEXT,
        error_rule=_TEXT,
        error_description=_TEXT,
        error_field=_TEXT,
    ),
    "RegistryFault": _object(
        ("error_code", "message"), error_code={"type": "integer"}, message=_TEXT
    ),
    "JsonPatch": {
        "type": "array",
        "description": "RFC 6902",
        "items": _object(
            ("op", "path"),
            op={"type": "string", "enum": ["add", "replace", "remove", "test", "move", "copy"]},
            path=_TEXT,
            value={},
        ),
        "minItems": 1,
    },
}
HEADERS: Final[Json] = {
    "Cauce-Effective-At": {
        "description": "When nothing more leaves, where a consent was taken back",
        "schema": {"type": "string", "format": "date-time"},
    },
    "Location": {"description": "Where it is read", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "`Bearer`", "schema": {"type": "string"}},
    "ETag": {"description": "Version of what is answered", "schema": _TEXT},
    "X-Request-Id": {
        "description": "Ours; name it when you ask us about an answer",
        "schema": {"type": "string", "format": "uuid"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the same request may succeed",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Content-Language": {
        "description": "Language of the texts",
        "schema": {"type": "string", "enum": ["es", "en", "pt"]},
    },
}
ACCEPT_LANGUAGE: Final = Parameter(
    "Accept-Language", "Language of texts: es (default), en or pt", {"type": "string"}
)
FORMAT: Final = Parameter(
    "_format",
    "JSON is all there is",
    {"type": "string", "enum": ["json", "application/json", "application/fhir+json"]},
)
_SLUGS: Final = ("/fhir/Organization/", "/fhir/HealthcareService/", "/v1/directory/")


def path_schema(path: str, name: str) -> Json:
    """What a part of a path may look like; what is not there is 404 all the same."""
    if name == "id" and not path.startswith(_SLUGS):
        return {"type": "string", "format": "uuid"}
    if name in ("id", "org", "enum"):
        return {"type": "string", "pattern": "^[a-z][a-z0-9_-]*$"}
    if name == "schema_id":
        return {"type": "integer", "minimum": 1}
    return {"type": "string", "minLength": 1}


def fhir_name(resource_type: str) -> str:
    """Name of a resource's schema; a model of ours may be called like the type."""
    return f"Fhir{resource_type}"


def resource(name: str) -> Json:
    """A FHIR R4B resource by its type; its elements are the guide's business."""
    made: Json = {
        "type": "object",
        "description": f"FHIR R4B {name}",
        "properties": {"resourceType": {"const": name}, "id": _TEXT},
        "required": ["resourceType"],
        "additionalProperties": True,
    }
    if name == "OperationOutcome":
        made["properties"]["issue"] = {"type": "array", "items": {"type": "object"}, "minItems": 1}
        made["required"] = ["resourceType", "issue"]
    if name == "Bundle":
        made["properties"]["type"] = _TEXT
        made["properties"]["entry"] = {"type": "array", "items": {"type": "object"}}
        made["required"] = ["resourceType", "type"]
    return made


def registry_answer(path: str) -> Json:
    """Body of a read of the registry."""
    if path.startswith("/schemas/"):
        return _object(("schema",), schema=_TEXT)
    if path == "/subjects":
        return {"type": "array", "items": _TEXT}
    if path.endswith("/versions"):
        return {"type": "array", "items": {"type": "integer"}}
    integer = {"type": "integer"}
    return _object(
        ("subject", "version", "id", "schema"),
        subject=_TEXT,
        version=integer,
        id=integer,
        schema=_TEXT,
    )
