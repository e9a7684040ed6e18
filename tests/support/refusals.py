"""One refusal: a request that is accepted, the one change to it, and what must come back.

`play` sends the changed request in each language between two digests, and later the unchanged one.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import uuid4

import orjson

from connectors.sandbox.people import person
from connectors.sandbox.samples import BASE, Sample
from connectors.sdk.faults import Fault
from services.kit.errors import Language, catalogue, outcome, problem
from tests.support.bundles import full_bundle
from tests.support.refusals_world import ASSERTION_TYPE, Digest, World, digest

LARGE = 100_000
LANGUAGES: tuple[Language, ...] = ("es", "en", "pt")


@dataclass
class Request:
    """A request of a partner; a body that is no bytes is sent as JSON."""

    method: str
    path: str
    org: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    """Takes the place of the organisation's token; empty: none is sent."""

    def wire(self, world: World) -> tuple[str, dict[str, str], bytes | None]:
        """URL, headers and body."""
        token = world.tokens[self.org] if self.token is None else self.token
        headers = {"Authorization": token and f"Bearer {token}"} if token else {}
        if self.body is not None:
            native = self.path.startswith("/v1/")
            headers["Content-Type"] = f"application/{'' if native else 'fhir+'}json"
        raw = self.body if isinstance(self.body, bytes | None) else orjson.dumps(self.body)
        return world.url + self.path, headers | self.headers, raw


@dataclass
class TokenRequest:
    """A request for a token; the assertion is signed when it is sent."""

    org: str
    claims: dict[str, Any]
    signer: str
    form: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"

    def wire(self, world: World) -> tuple[str, dict[str, str], bytes | None]:
        """URL, headers and body."""
        form = {"client_assertion": world.sign(self.signer, self.claims), **self.form}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return f"{world.url}/oauth/token", headers | self.headers, urlencode(form).encode()


AnyRequest = Request | TokenRequest
Make = Callable[[World, int], Any]
Change = Callable[[World, Any], None]
Drive = Callable[[World, Any], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def as_it_is(world: World, request: AnyRequest) -> AsyncIterator[None]:
    """No state to be driven to."""
    yield


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the catalogue on the wire; `kept` tells that the refusal is remembered."""

    name: str
    code: str
    rule: str
    field: str
    make: Make
    change: Change
    kept: bool = False
    drive: Drive = as_it_is
    shape: Literal["fhir", "native", "oauth"] = "fhir"
    retry_after: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """The JSON."""
        return orjson.loads(self.raw)


@dataclass
class Played:
    """A case after the run."""

    refused: dict[Language, Answer]
    changed: AnyRequest
    before: Digest
    after: Digest
    peers: tuple[Case, ...]
    """The cases played between the same two digests, this one among them."""
    accepted: Answer | None = None


async def send(world: World, request: AnyRequest, lang: str | None = None) -> Answer:
    """One request."""
    url, headers, raw = request.wire(world)
    if lang is not None:
        headers = {**headers, "Accept-Language": lang}
    data = BytesIO(raw) if raw is not None and len(raw) > LARGE else raw
    async with world.session.request(request.method, url, data=data, headers=headers) as answer:
        found = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, found, await answer.read())


async def play(
    world: World, case: Case, request: AnyRequest, before: Digest | None = None
) -> Played:
    """Send the changed request once in each language between two digests."""
    changed = copy.deepcopy(request)
    async with case.drive(world, request):
        case.change(world, changed)
        before = before or await digest(world)
        refused = await _in_each_language(world, changed)
        after = await digest(world)
    return Played(refused, changed, before, after, (case,))


async def play_together(
    world: World, cases: Sequence[Case], requests: Sequence[AnyRequest], before: Digest
) -> list[Played]:
    """Play cases that need no state, at once, between two digests."""
    changed = [copy.deepcopy(request) for request in requests]
    for case, request in zip(cases, changed, strict=True):
        case.change(world, request)
    refused = await asyncio.gather(*(_in_each_language(world, request) for request in changed))
    after = await digest(world)
    return [
        Played(answers, request, before, after, tuple(cases))
        for answers, request in zip(refused, changed, strict=True)
    ]


async def _in_each_language(world: World, request: AnyRequest) -> dict[Language, Answer]:
    return {lang: await send(world, request, lang) for lang in LANGUAGES}


ALLOWED_HEADERS = frozenset(
    {
        "content-type", "content-length", "content-language", "cache-control", "x-request-id",
        "retry-after", "www-authenticate", "pragma",
    }
)  # fmt: skip


def expected(case: Case, answer: Answer, lang: Language) -> Any:
    """The one body this refusal may have: ours from end to end, so nothing is echoed."""
    row = catalogue()[case.code, case.rule]
    if case.shape == "oauth":
        body = {"error": case.code, "error_rule": case.rule, "error_description": row.texts[lang]}
        return body | ({"error_field": case.field} if case.field else {})
    request_id = answer.headers["x-request-id"]
    if case.shape == "native":
        return problem([Fault(case.code, case.field, case.rule)], request_id, lang)
    return outcome([Fault(case.code, case.field, case.rule)], request_id, lang, BASE)


# --- requests that are accepted ---------------------------------------------------------------


def seeded(number: int, **changes: Any) -> Any:
    """An invented person of one's own for a case."""
    return {"person": person(40_000 + number), **changes}


def full(**changes: Any) -> Make:
    """`POST /fhir` with everything the hub reads, to the legal service."""
    return lambda world, n: Request(
        "POST", "/fhir", "ong-norte", full_bundle(**seeded(n, **changes))
    )


def simple(org: str = "ong-norte", **changes: Any) -> Make:
    """`POST /fhir` with the usual elements, to the shelter."""
    return lambda world, n: Request(
        "POST", "/fhir", org, Sample(**seeded(n, org=org, **changes)).bundle()
    )


def token_request(org: str = "ong-norte") -> Make:
    """`POST /oauth/token`."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "scope": "system/Task.rs",
    }
    return lambda world, n: TokenRequest(org, world.claims(org), org, dict(form))


# --- changes ----------------------------------------------------------------------------------


def in_body(change: Callable[[Any], None]) -> Change:
    """A change to the JSON."""
    return lambda world, request: change(request.body)


def in_bytes(change: Callable[[bytes], bytes]) -> Change:
    """A change to the bytes of the body."""

    def apply(world: World, request: Any) -> None:
        request.body = change(orjson.dumps(request.body))

    return apply


def header(name: str, value: str) -> Change:
    """Another header."""
    return lambda world, request: request.headers.__setitem__(name, value)


def path(suffix: str) -> Change:
    """More of a path or a query."""
    return lambda world, request: setattr(request, "path", request.path + suffix)


def method(name: str) -> Change:
    """Another method."""
    return lambda world, request: setattr(request, "method", name)


def claim(name: str, value: Any) -> Change:
    """Another claim; a callable gets the world. None removes it."""

    def apply(world: World, request: Any) -> None:
        given = value(world) if callable(value) else value
        if given is None:
            del request.claims[name]
        else:
            request.claims[name] = given

    return apply


def form(name: str, value: str) -> Change:
    """Another field of the form."""
    return lambda world, request: request.form.__setitem__(name, value)


def new_key() -> str:
    """An idempotency key."""
    return str(uuid4())
