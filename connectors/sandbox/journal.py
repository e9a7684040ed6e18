"""A partner's durable store.

One append-only file of JSON lines, fsynced before anything is answered.

Writers that arrive while a flush runs share the next one (group commit). A line torn by a crash
is the last one and is dropped at load; nothing that was answered is ever torn. Judges read the
same file with `read` after the process was killed.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

Record = dict[str, Any]


def read(path: Path) -> Iterator[Record]:
    """Every whole record of a journal, in the order of its commits."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n"):
        if not line:
            continue
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            return


class Journal:
    """Appends records and returns when they are on disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._cut_torn_tail()
        self._file = path.open("ab", buffering=0)
        self._pending: list[bytes] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._flushing: asyncio.Task[None] | None = None

    def _cut_torn_tail(self) -> None:
        if not self._path.exists():
            return
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.truncate(self._path, whole)

    def records(self) -> Iterator[Record]:
        """What the journal holds now."""
        return read(self._path)

    async def append(self, *records: Record) -> None:
        """Write and fsync; returns only then."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.extend(orjson.dumps(record) for record in records)
        self._waiters.append(waiter)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await waiter

    async def _flush(self) -> None:
        try:
            while self._pending:
                lines, self._pending = self._pending, []
                waiters, self._waiters = self._waiters, []
                data = b"\n".join(lines) + b"\n"
                try:
                    await asyncio.to_thread(self._write, data)
                except OSError as error:
                    _settle(waiters, error)
                else:
                    _settle(waiters, None)
        finally:
            self._flushing = None

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing may be pending."""
        self._file.close()


def _settle(waiters: list[asyncio.Future[None]], error: OSError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
