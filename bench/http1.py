"""A bare HTTP/1.1 client for load: kept-alive connections, whole requests in, whole answers out.

It guards that the generator costs little beside what it measures. It knows `Content-Length` answers
only, which is what the hub gives, and is no client for anything else.
"""

import asyncio
from collections import deque
from typing import cast


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._got = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request under way."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed"))

    def data_received(self, data: bytes) -> None:
        """Collect until the answer is whole."""
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._got[:end]).lower()
        place = head.find(b"content-length:")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        if len(self._got) < end + 4 + length or self._answer is None:
            return
        body = bytes(self._got[end + 4 : end + 4 + length])
        self._got.clear()
        if not self._answer.done():
            self._answer.set_result((int(head[9:12]), body))

    @property
    def alive(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Write a request; status and body of its answer."""
        if self._transport is None:
            raise ConnectionResetError("closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


class Client:
    """As many connections to one address as are needed at once."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._free: deque[Connection] = deque()

    async def post(self, path: str, head: bytes, body: bytes) -> tuple[int, bytes]:
        """POST with these further header lines; OSError when the connection breaks."""
        request = (
            b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n"
            % (path.encode(), self._host.encode(), len(body))
            + head
            + b"\r\n"
            + body
        )
        connection = await self._take()
        answer = await connection.send(request)
        self._free.append(connection)
        return answer

    async def _take(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if connection.alive:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, self._host, self._port)
        return made
