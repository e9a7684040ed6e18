"""The public surface as an OpenAPI 3.1 document, made from the operations that the router has.

It guards that the document says what is served: methods, paths, parameters, scopes and refusals
come from `Operation`, shapes from the models, texts from the refusal catalogue. What an operation
does is left to its part.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from services.gateway.auth.domain import SCOPES_OF_ROLE, allowed
from services.gateway.documents import shapes
from services.gateway.documents.coded import coded
from services.gateway.documents.references import needed, without_null
from services.gateway.documents.refusals import Row, applying, example_name, examples, kind_of
from services.gateway.documents.requests import request_of
from services.gateway.operation import ETAG, IF_NONE_MATCH, PREFER, Operation, Parameter

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{model}"
_SECURITY: Final = "smart"
JSON: Final = "application/json"
_MORE_HEADERS: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    409: ("Retry-After",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
_REFUSAL_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "fhir": ("X-Request-Id", "Content-Language"),
    "native": ("X-Request-Id", "Content-Language"),
    "oauth": (),
    "registry": (),
}


def document(operations: Sequence[Operation], public_url: str, version: str) -> Json:
    """The whole document; `public_url` is where partners reach the hub."""
    schemas = _models(operations)
    shared = _together(schemas.defs, _fhir(operations), shapes.SCHEMAS)
    paths = _paths(operations, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cauce",
            "version": version,
            "description": (
                "Referrals between agencies, exactly as far as a person's consent goes."
                " Every refusal has a stable code, field and rule, and a text in es, en or pt"
                " by Accept-Language; it never repeats what was sent."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": public_url, "description": "This hub"}],
        "security": [{_SECURITY: []}],
        "tags": [{"name": t, "description": t} for t in sorted({o.tag for o in operations})],
        "paths": paths,
        "components": {
            "schemas": _used(paths, shared),
            "headers": shapes.HEADERS,
            "examples": examples(operations),
            "securitySchemes": {_SECURITY: _security(public_url)},
        },
    }


def operation_id(operation: Operation) -> str:
    """A stable name of an operation: method and path in words."""
    words = re.sub(r"[^A-Za-z0-9]+", " ", operation.path).split()
    slash = ["slash"] if operation.path.endswith("/") else []
    return "_".join([operation.method.lower(), *words, *slash])


def _security(public_url: str) -> Json:
    scopes = allowed(SCOPES_OF_ROLE)
    return {
        "type": "oauth2",
        "description": (
            "SMART Backend Services: client_credentials with private_key_jwt (ES384 or RS384);"
            " the assertion lives 5 minutes at most and each jti counts once. No client secret"
            " exists."
        ),
        "flows": {
            "clientCredentials": {
                "tokenUrl": f"{public_url}/oauth/token",
                "scopes": {
                    f"system/{name}.{letter}": f"{_LETTERS[letter]} {name}"
                    for name, letters in sorted(scopes.items())
                    for letter in letters
                },
            }
        },
    }


_LETTERS: Final = {"c": "create", "r": "read", "u": "change", "d": "delete", "s": "search"}


class _Models:
    """Schemas of every model that an operation names, as sent and as received."""

    def __init__(self, wanted: Iterable[tuple[type[BaseModel], JsonSchemaMode]]) -> None:
        found, whole = models_json_schema(list(wanted), ref_template=_REF)
        self.of: Mapping[Any, Json] = found
        sent = [schema for (_, mode), schema in found.items() if mode == "validation"]
        self.defs: Json = coded(without_null(whole.get("$defs", {}), sent))


def _models(operations: Iterable[Operation]) -> _Models:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
    for one in operations:
        if isinstance(one.request, type):
            wanted[one.request, "validation"] = None
        if isinstance(one.response, type):
            wanted[one.response, "serialization"] = None
    return _Models(wanted)


def _together(*parts: Mapping[str, Json]) -> Json:
    """All of them; ValueError where one name would stand for two things."""
    made = {name: schema for part in parts for name, schema in part.items()}
    if len(made) != sum(map(len, parts)):
        raise ValueError("two schemas of the OpenAPI document have one name")
    return made


def _used(paths: Json, shared: Json) -> Json:
    """Of the shared schemas, those that a path needs."""
    return {name: shared[name] for name in needed(paths, shared)}


def _fhir(operations: Iterable[Operation]) -> Json:
    names = {c for one in operations for c in (one.request, one.response) if isinstance(c, str)}
    known = sorted(names | {"OperationOutcome"})
    return {shapes.fhir_name(name): shapes.resource(name) for name in known}


def _paths(operations: Iterable[Operation], models: _Models) -> Json:
    paths: dict[str, Json] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, models)
    return paths


def _operation(one: Operation, models: _Models) -> Json:
    made: Json = {
        "operationId": operation_id(one),
        "summary": one.summary,
        "tags": [one.tag],
        "security": [] if one.for_anyone else [{_SECURITY: [f"system/{s}" for s in one.scopes]}],
        "parameters": [*_path_parameters(one), *_query_parameters(one), *_header_parameters(one)],
        "responses": _responses(one, models),
    }
    body = _body(one, models)
    if body is not None:
        for media, content in body.items():
            if (example := request_of(one, media)) is not None:
                content["example"] = example
        made["requestBody"] = {"required": True, "content": body}
    return made


def _path_parameters(one: Operation) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": shapes.PATH_NAMES[name],
            "schema": shapes.path_schema(one.path, name),
        }
        for name in re.findall(r"\{(\w+)\}", one.path)
    ]


def _query_parameters(one: Operation) -> list[Json]:
    formats = (shapes.FORMAT,) if kind_of(one) == "fhir" and not one.for_anyone else ()
    return [_parameter("query", known) for known in (*one.query, *formats)]


def _header_parameters(one: Operation) -> list[Json]:
    languages = () if kind_of(one) == "registry" else (shapes.ACCEPT_LANGUAGE,)
    return [_parameter("header", known) for known in (*one.headers, *languages)]


def _parameter(where: str, parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": where,
        "required": parameter.required,
        "description": parameter.text,
        "schema": dict(parameter.schema),
    }


def _body(one: Operation, models: _Models) -> Json | None:
    if one.form:
        return {"application/x-www-form-urlencoded": {"schema": _form(one.form)}}
    if one.method == "PATCH":
        return {"application/json-patch+json": {"schema": _ref("JsonPatch")}}
    if isinstance(one.request, str):
        schema = _ref(shapes.fhir_name(one.request))
        return {media: {"schema": schema} for media in ("application/fhir+json", JSON)}
    if one.request is not None:
        return {"application/json": {"schema": models.of[one.request, "validation"]}}
    if one.method in ("POST", "PUT") and not one.path.split("/")[-1].startswith("$"):
        # a dry run reports even of what is no object
        return {media: {"schema": {}} for media in ("application/fhir+json", JSON)}
    return None


def _form(parameters: Iterable[Parameter]) -> Json:
    known = tuple(parameters)
    return {
        "type": "object",
        "properties": {p.name: {**p.schema, "description": p.text} for p in known},
        "required": [p.name for p in known if p.required],
        "additionalProperties": False,
    }


def _responses(one: Operation, models: _Models) -> Json:
    found: Json = {}
    if one.status < 400:
        found[str(one.status)] = _success(one, models)
    if IF_NONE_MATCH in one.headers:
        text = "Not changed since the ETag of If-None-Match"
        found["304"] = {"description": text, "headers": _of(ETAG)}
    by_status: dict[int, list[Row]] = {}
    for row in applying(one):
        by_status.setdefault(row.http, []).append(row)
    for status, rows in sorted(by_status.items()):
        found[str(status)] = _refusal(one, rows)
    found["500"] = {"description": "Unforeseen; nothing is said but the request id"}
    return found


def _success(one: Operation, models: _Models) -> Json:
    kind = kind_of(one)
    headers = _of(*one.sends, *(() if kind in ("registry", "oauth") else ("X-Request-Id",)))
    made: Json = {"description": one.summary, "headers": headers}
    if one.status == 204:
        return made
    match kind:
        case "registry":
            content = {shapes.REGISTRY_TYPE: {"schema": shapes.registry_answer(one.path)}}
        case "oauth":
            content = {"application/json": {"schema": _ref("Token")}}
        case "fhir":
            content = {"application/fhir+json": {"schema": _fhir_answer(one)}}
        case _:
            is_model = isinstance(one.response, type)
            schema = models.of[one.response, "serialization"] if is_model else {"type": "object"}
            content = {"application/json": {"schema": schema}}
    return {**made, "content": content}


def _refusal(one: Operation, rows: Sequence[Row]) -> Json:
    kind, status = kind_of(one), rows[0].http
    more = _MORE_HEADERS.get(status, ()) if kind in ("fhir", "native") else ()
    headers = _of(*_REFUSAL_HEADERS[kind], *more)
    media, schema = shapes.REFUSALS[kind]
    told = ", ".join(sorted({f"`{row.code}`/`{row.rule}`" for row in rows}))
    content: Json = {"schema": _ref(schema)}
    if kind != "registry":
        names = [example_name(kind, rows[0], lang) for lang in ("es", "en", "pt")]
        content["examples"] = {n: {"$ref": f"#/components/examples/{n}"} for n in names}
    return {
        "description": f"Refused: {told}",
        "headers": headers,
        "content": {media: content},
        "x-refusals": [{"code": row.code, "rule": row.rule} for row in rows],
    }


def _of(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _ref(name: str) -> Json:
    return {"$ref": _REF.format(model=name)}


def _fhir_answer(one: Operation) -> Json:
    if not isinstance(one.response, str):
        return {"type": "object"}
    names = (one.response, "OperationOutcome") if PREFER in one.headers else (one.response,)
    found = [_ref(shapes.fhir_name(name)) for name in names]
    return found[0] if len(found) == 1 else {"oneOf": found}
