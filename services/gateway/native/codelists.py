"""`GET /v1/codelists`: the code lists with their labels, as a partner's system shows them.

It guards that what is read is what the hub checks against: both are `schemas/codes.csv`.
"""

import hashlib
from functools import cache
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response
from starlette.routing import Route

from schemas.codes import CODELIST_VERSION, code_lists, label
from services.gateway.http import Call, Surface, native
from services.gateway.operation import ETAG, IF_NONE_MATCH, NOT_FOUND, Operation
from services.kit.errors import Refused


class Labelled(BaseModel):
    """One code with its label in each language."""

    model_config = ConfigDict(frozen=True)

    code: str
    es: str
    en: str
    pt: str


class Listed(BaseModel):
    """One list; a `closed` one does not grow within an event version."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    closed: bool
    codes: tuple[Labelled, ...]


class Overview(BaseModel):
    """The names of the lists there are."""

    model_config = ConfigDict(frozen=True)

    version: int
    codelists: tuple[str, ...]


LISTS: Final = Operation(
    method="GET",
    path="/v1/codelists",
    summary="Names and version of the code lists",
    tag="codelists",
    headers=(IF_NONE_MATCH,),
    sends=(ETAG,),
    response=Overview,
)
LIST: Final = Operation(
    method="GET",
    path="/v1/codelists/{enum}",
    summary="Codes of one list in order, with labels in Spanish, English and Portuguese",
    tag="codelists",
    headers=(IF_NONE_MATCH,),
    sends=(ETAG,),
    response=Listed,
    refusals=(NOT_FOUND,),
)


@cache
def _overview() -> tuple[bytes, str]:
    return _tagged({"version": CODELIST_VERSION, "codelists": sorted(code_lists())})


@cache
def _listed(name: str) -> tuple[bytes, str]:
    found = code_lists()[name]
    codes = [
        {"code": code, **{lang: label(name, code, lang) for lang in ("es", "en", "pt")}}
        for code in found.by_code
    ]
    return _tagged(
        {"name": name, "version": CODELIST_VERSION, "closed": found.closed, "codes": codes}
    )


def _tagged(body: dict[str, Any]) -> tuple[bytes, str]:
    raw = orjson.dumps(body)
    return raw, f'"{hashlib.sha256(raw).hexdigest()[:32]}"'


def _answer(call: Call, found: tuple[bytes, str]) -> Response:
    """The list, or 304 where the caller has it already."""
    raw, tag = found
    headers = {"etag": tag, "cache-control": "private, max-age=300"}
    known = call.request.headers.get("if-none-match", "")
    if tag in (one.strip().removeprefix("W/") for one in known.split(",")):
        return Response(status_code=304, headers=headers)
    return native(raw, 200, headers)


async def _all(call: Call) -> Response:
    return _answer(call, _overview())


async def _one(call: Call) -> Response:
    name = call.request.path_params["enum"]
    if name not in code_lists():
        raise Refused.of("not-found", "resource")
    return _answer(call, _listed(name))


def codelist_routes(surface: Surface) -> list[Route]:
    """The routes of this part."""
    return [surface.route(LISTS, _all), surface.route(LIST, _one)]
