"""The outbound client on a real socket: deadlines, redirects, large answers, what is unknown."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from connectors.sdk.egress import private_networks
from connectors.sdk.errors import Refuse, Retry
from connectors.sdk.http import MAX_ANSWER, Http

LOOPBACK = private_networks("127.0.0.0/8")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(handle: Serve) -> AsyncIterator[tuple[str, list[bytes]]]:
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            got.append(await reader.read(65536))
            await handle(reader, writer)
        finally:
            writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = made.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/fhir", got
    finally:
        made.close()


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    made = Http(LOOPBACK, seconds=0.5)
    yield made
    await made.close()


async def says(text: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(text)
    await writer.drain()


async def test_nothing_is_written_once_the_deadline_has_passed(http: Http) -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", writer)

    async with server(handle) as (url, got):
        with pytest.raises(Retry, match="deadline-passed") as caught:
            await http.send("POST", url, headers={}, body=b"x", deadline=time.monotonic())
        assert not caught.value.unknown
        await asyncio.sleep(0.05)
        assert b"".join(got) == b""


async def test_a_deadline_that_passes_while_the_body_waits_stops_it(http: Http) -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", writer)

    async with server(handle) as (url, got):
        await http.send("POST", url, headers={}, body=b"warm")
        deadline = time.monotonic() + 0.05
        time.sleep(0.06)  # noqa: ASYNC251 -- a process that was frozen
        with pytest.raises(Retry) as caught:
            await http.send("POST", url, headers={}, body=b"belated", deadline=deadline)
        assert not caught.value.unknown
        assert b"belated" not in b"".join(got)


async def test_an_answer_that_never_comes_is_unknown(http: Http) -> None:
    async def handle(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)

    async with server(handle) as (url, got):
        begun = time.monotonic()
        with pytest.raises(Retry) as caught:
            await http.send("POST", url, headers={}, body=b"content")
        assert caught.value.unknown
        assert time.monotonic() - begun < 1
        assert b"content" in b"".join(got)


async def test_a_port_that_nobody_listens_on_is_known_not_sent(http: Http) -> None:
    with pytest.raises(Retry, match="partner-unreachable") as caught:
        await http.send("POST", "http://127.0.0.1:9/fhir", headers={}, body=b"x")
    assert not caught.value.unknown


async def test_a_redirect_is_not_followed(http: Http) -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
        await says(head, writer)

    async with server(handle) as (url, got):
        answer = await http.send("POST", url, headers={}, body=b"x")
        assert answer.status == 307
        assert len(got) == 1


async def test_an_answer_is_cut_at_its_limit(http: Http) -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = MAX_ANSWER + 1
        await says(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"a" * size, writer)

    async with server(handle) as (url, _):
        with pytest.raises(Retry, match="answer-too-large"):
            await http.send("GET", url, headers={})


async def test_loopback_is_refused_unless_it_is_listed() -> None:
    http = Http(private_networks("10.0.0.0/8"))
    try:
        with pytest.raises(Refuse, match="address-not-allowed"):
            await http.send("GET", "http://127.0.0.1:9/fhir", headers={})
        with pytest.raises(Refuse, match="address-not-allowed"):
            await http.send("GET", "http://localhost:9/fhir", headers={})
    finally:
        await http.close()
