"""The one HTTP client with which the hub calls partners.

It guards what leaves: the address is checked and pinned before connecting, no redirect is
followed, nothing is written after the deadline (tested when the bytes go to the socket), an
answer is cut at 64 kB, and a failure says whether the partner may have received the request. What
is sent, and what an answer means, are left to the connectors.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from aiohttp.connector import Connection

from connectors.sdk.egress import Network, check_url, is_allowed, is_literal, is_private
from connectors.sdk.errors import Refuse, Retry

MAX_ANSWER: Final = 64 * 1024
CONNECTIONS: Final = 256


@dataclass(slots=True)
class Attempt:
    """One request under way: its deadline (monotonic seconds) and whether bytes went out."""

    deadline: float
    written: bool = False
    late: bool = False
    on_write: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A partner's answer; the body is hostile input and never shown."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


_attempt: ContextVar[Attempt] = ContextVar("attempt")


class _Request(aiohttp.ClientRequest):
    """A request that tests its deadline when its bytes go to the socket."""

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        attempt = _attempt.get()
        if attempt.on_write is not None:
            attempt.on_write()
        if time.monotonic() >= attempt.deadline:
            attempt.late = True
            _abort(conn)
            return
        attempt.written = True
        await super().write_bytes(writer, conn, content_length)

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        attempt = _attempt.get()
        if time.monotonic() >= attempt.deadline:
            attempt.late = True
            raise aiohttp.ClientConnectionError
        attempt.written = attempt.written or not self.body
        return await super().send(conn)


def _abort(conn: Connection) -> None:
    protocol, transport = conn.protocol, conn.transport
    if protocol is not None:
        protocol.set_exception(aiohttp.ClientConnectionError())
    if transport is not None:
        transport.abort()


class PinnedResolver(AbstractResolver):
    """Resolves a name once and gives the connector only addresses that were checked."""

    def __init__(self, private: Sequence[Network]) -> None:
        self._private = private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of a host; Refuse when any of them is not allowed."""
        found = await addresses(host, port, family)
        if not all(is_allowed(text, self._private) for text, _ in found):
            raise Refuse("address-not-allowed", "connector.base_url")
        return [
            ResolveResult(
                hostname=host,
                host=text,
                port=port,
                family=fam,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for text, fam in found
        ]

    async def close(self) -> None:
        """Nothing is kept."""


async def addresses(host: str, port: int, family: int = socket.AF_UNSPEC) -> list[tuple[str, int]]:
    """(address, family) of a host; OSError when it has none."""
    loop = asyncio.get_running_loop()
    rows = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return [(str(row[4][0]), int(row[0])) for row in rows]


class Http:
    """Calls to partners over pinned addresses, one pool of connections for all of them."""

    def __init__(self, private: Sequence[Network], *, seconds: float = 2.0) -> None:
        self._private = private
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None
        self._checked: set[str] = set()

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        deadline: float | None = None,
        on_write: Callable[[], None] | None = None,
    ) -> Answer:
        """Send one request; Retry tells whether it may have arrived, Refuse that it may not go.

        `deadline` is in seconds of `time.monotonic`: nothing is written from then on.
        `on_write` is called right before the deadline is looked at and the first byte goes out.
        """
        limit = time.monotonic() + self._seconds
        attempt = Attempt(deadline=min(limit, deadline or limit), on_write=on_write)
        token = _attempt.set(attempt)
        try:
            async with asyncio.timeout(self._seconds):
                await self._check(url)
                return await self._exchange(method, url, headers, body)
        except (TimeoutError, aiohttp.ClientError, OSError, ssl.SSLError) as error:
            _refused_address(error)
            rule = "deadline-passed" if attempt.late else "partner-unreachable"
            raise Retry(rule, unknown=attempt.written) from None
        finally:
            _attempt.reset(token)

    async def _check(self, url: str) -> None:
        origin = "/".join(url.split("/", 3)[:3])
        if origin in self._checked:
            return
        host, port, secure = check_url(url, self._private)
        literal = host if is_literal(host) else None
        if literal is not None and not is_allowed(literal, self._private):
            raise Refuse("address-not-allowed", "connector.base_url")
        if not secure or port != 443:
            found = [literal] if literal else [a for a, _ in await addresses(host, port)]
            if not all(is_private(address, self._private) for address in found):
                raise Refuse("address-not-allowed", "connector.base_url")
        if literal is not None:
            self._checked.add(origin)

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        session = self._open()
        async with session.request(
            method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            content = await _capped(answer)
            return Answer(status=answer.status, headers=answer.headers.copy(), body=content)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS, resolver=PinnedResolver(self._private), ttl_dns_cache=10
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                request_class=_Request,
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},  # a small answer cannot become a large one
                skip_auto_headers=("User-Agent",),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._seconds),
                trust_env=False,
            )
        return self._session


def _refused_address(error: BaseException) -> None:
    cause: Any = error
    while cause is not None:
        if isinstance(cause, Refuse):
            raise cause from None
        cause = cause.__cause__ or cause.__context__


async def _capped(answer: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER:
            answer.close()
            raise Retry("answer-too-large", unknown=True)
        chunks.append(chunk)
    return b"".join(chunks)
