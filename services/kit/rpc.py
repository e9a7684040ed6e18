"""Ports between processes: one generic adapter, `POST /<Protocol>/<method>`.

It guards that a caller is a service of this cell (a short token under that service's own secret)
and that values arrive as the port's types or not at all. Bytes travel as base64 in JSON, inside a
Unix socket or mTLS; texts of errors do not travel.
"""

import base64
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

import aiohttp
from pydantic import ConfigDict, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.kit.crypto import constant_equal, hmac_sha256
from services.kit.db import Unavailable, is_infrastructure_fault

P = TypeVar("P")
TOKEN_SECONDS: Final = 30
_CONFIG: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
Verify = Callable[[str], str | None]
"""Token → name of the calling service, or None."""
_CALLER: Final[ContextVar[str | None]] = ContextVar("caller", default=None)


def caller() -> str | None:
    """Which service's call is being answered; None for a call from within the process."""
    return _CALLER.get()


class PortError(Exception):
    """The other side could not answer this call, and repeating it will not help."""


@dataclass(frozen=True, slots=True)
class Method:
    """How a method's argument and answer cross."""

    argument: TypeAdapter[Any]
    answer: TypeAdapter[Any]


@cache
def methods(protocol: type) -> dict[str, Method]:
    """The methods of a port and their adapters."""
    found = {}
    for name, function in vars(protocol).items():
        if name.startswith("_") or not callable(function):
            continue
        hints = get_type_hints(function)
        found[name] = Method(
            TypeAdapter(_as_list(hints["items"]), config=_CONFIG),
            TypeAdapter(hints["return"], config=_CONFIG),
        )
    return found


def _as_list(hint: Any) -> Any:
    """`Sequence[X]` as `list[X]`; what arrives is a list."""
    return list[get_args(hint)[0]] if get_origin(hint) is Sequence else hint  # type: ignore[misc]


def make_service_token(name: str, secret: bytes, now: float | None = None) -> str:
    """A token by which service `name` calls; good for 30 s."""
    until = str(int((time.time() if now is None else now) + TOKEN_SECONDS))
    mac = hmac_sha256(secret, b"port", name.encode(), until.encode())
    return f"{name}.{until}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def verifier(secret_of: Callable[[str], bytes], callers: frozenset[str]) -> Verify:
    """Accepts tokens of these callers only; their secrets are read by name."""

    def verify(token: str) -> str | None:
        name, _, rest = token.partition(".")
        until, _, _ = rest.partition(".")
        if name not in callers or not until.isdigit() or int(until) < time.time():
            return None
        expected = make_service_token(name, secret_of(name), int(until) - TOKEN_SECONDS)
        return name if constant_equal(token.encode(), expected.encode()) else None

    return verify


def server_routes(protocol: type, implementation: object, verify: Verify) -> list[Route]:
    """Routes that answer calls of `protocol` by `implementation`."""
    return [
        Route(
            f"/{protocol.__name__}/{name}",
            _endpoint(getattr(implementation, name), method, verify),
            methods=["POST"],
        )
        for name, method in methods(protocol).items()
    ]


def _endpoint(
    call: Callable[[Any], Awaitable[Any]], method: Method, verify: Verify
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        name = verify(token) if scheme == "Bearer" else None
        if name is None:
            return Response(status_code=401)
        _CALLER.set(name)
        try:
            items = method.argument.validate_json(await request.body())
        except ValidationError:
            return Response(status_code=400)
        try:
            result = await call(items)
        except PermissionError:
            return Response(status_code=403)
        except Exception as error:
            if is_infrastructure_fault(error):
                return Response(status_code=503)
            raise
        return Response(method.answer.dump_json(result), media_type="application/json")

    return answer


class Client:
    """Calls a port in another process; methods appear by name."""

    def __init__(
        self, protocol: type, url: str, token: Callable[[], str], timeout_seconds: float
    ) -> None:
        self._protocol = protocol
        self._url = url
        self._token = token
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    def __getattr__(self, name: str) -> Callable[[Sequence[Any]], Awaitable[Any]]:
        method = methods(self._protocol).get(name)
        if method is None:
            raise AttributeError(name)

        async def call(items: Sequence[Any]) -> Any:
            return await self._call(name, method, items)

        return call

    async def _call(self, name: str, method: Method, items: Sequence[Any]) -> Any:
        body = method.argument.dump_json(list(items))
        base = "http://port" if self._url.startswith("unix:") else self._url
        headers = {"authorization": f"Bearer {self._token()}", "content-type": "application/json"}
        try:
            async with self._open().post(
                f"{base}/{self._protocol.__name__}/{name}", data=body, headers=headers
            ) as response:
                status, content = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(self._protocol.__name__) from error
        if status in (502, 503, 504):
            raise Unavailable(self._protocol.__name__)
        if status != 200:
            raise PortError(f"{self._protocol.__name__}.{name}: {status}")
        return method.answer.validate_json(content)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector: aiohttp.BaseConnector
            if self._url.startswith("unix:"):
                connector = aiohttp.UnixConnector(path=self._url.removeprefix("unix:"), limit=64)
            else:
                connector = aiohttp.TCPConnector(limit=64)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def client(
    protocol: type[P], url: str, token: Callable[[], str], timeout_seconds: float = 5.0
) -> P:
    """A port in the process at `url` (`unix:PATH` or `http…`); raises Unavailable, PortError."""
    return cast("P", Client(protocol, url, token, timeout_seconds))
