"""What is done to a case: once under one key, with its events and its leaf, or not at all.

It guards that a repeat under a key gets the answer of the first time, that a command which is
refused leaves nothing, and that case, events and leaf are one transaction, after which nothing is
refused. Bodies are `api`'s, what an update means to the records `rectifying`'s.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson

from connectors.sdk.amending import Changes as Fields
from schemas.codec import Encoded
from services.gateway.cases import events, rectifying, store
from services.gateway.cases.domain import Case, Command, after
from services.gateway.cases.rectifying import Rectified, Rectifier
from services.gateway.intake import store as submissions
from services.gateway.intake.service import known_answer
from services.kit.errors import Refused
from services.kit.exchange import put_events
from services.kit.leaf import append_leaves
from services.kit.steps import step


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A command as it came: whose, on which case, known by which key, with which content."""

    org: str
    case_ref: UUID
    case_id: str
    """The case as its organisation calls it."""
    command: Command
    key_mac: bytes
    digest: bytes
    fields: Fields | None = field(default=None, repr=False)
    """What an update puts right."""


class Changes:
    """Gives commands to cases."""

    def __init__(
        self, pool: asyncpg.Pool, rectifier: Rectifier, clock: Callable[[], datetime]
    ) -> None:
        self._pool = pool
        self._rectifier = rectifier
        self._clock = clock

    async def give(self, given: Given) -> bytes:
        """The answer; Refused by the rule that forbids it."""
        async with self._pool.acquire() as conn:
            seen = (await submissions.seen(conn, [(given.org, given.key_mac)]))[0]
        if seen is not None and (known := known_answer(seen, given.digest)) is not None:
            return known
        attempt = uuid4()
        await self._reserve(given, attempt)
        try:
            return await self._change(given, attempt)
        except Exception:
            await self._release(attempt)
            raise

    async def _reserve(self, given: Given, attempt: UUID) -> None:
        wanted = submissions.Reservation(
            org=given.org,
            key_mac=given.key_mac,
            digest=given.digest,
            attempt=attempt,
            previous=None,
        )
        async with self._pool.acquire() as conn:
            if attempt not in await submissions.reserve(conn, [wanted]):
                raise Refused.of("in-progress", "running", retry_after=1)

    async def _release(self, attempt: UUID) -> None:
        """Free the key, so that a repeat need not wait; if that fails, time does it."""
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with self._pool.acquire() as conn:
                await submissions.release(conn, [attempt])

    async def _change(self, given: Given, attempt: UUID) -> bytes:
        rectified = None
        if given.fields is not None:
            async with self._pool.acquire() as conn:
                after(await store.read(conn, given.case_ref, given.org), given.command)
            rectified = await self._rectifier.rectify(
                given.org, given.case_ref, attempt, given.fields
            )
            step("case.amended")
        return await self._commit(given, attempt, rectified)

    async def _commit(self, given: Given, attempt: UUID, rectified: Rectified | None) -> bytes:
        conn: Any
        now = self._clock()
        async with self._pool.acquire() as conn, conn.transaction():
            old = await store.lock(conn, given.case_ref, given.org)
            case = after(old, given.command)
            if rectified is not None and not rectified.result.amended:
                return await _finish(conn, given, attempt, old)  # it was right already
            await store.write(conn, given.case_ref, case)
            if rectified is not None:
                await store.changed_by(conn, given.case_ref, attempt)
            answer = await _finish(conn, given, attempt, case)
            categories = () if rectified is None else rectified.categories
            told = (given.org, given.case_ref, given.command, case, now)
            await put_events(conn, _events(given, case, now, rectified))
            await append_leaves(conn, [events.changed_leaf(*told, categories)])
        return answer


def _events(given: Given, case: Case, now: datetime, rectified: Rectified | None) -> list[Encoded]:
    if rectified is None:
        return [events.told(given.org, given.case_ref, given.command, case, now)]
    head = events.head_of(given.org, given.case_ref, case, now)
    return rectifying.updated(rectified, head, now)


async def _finish(conn: Any, given: Given, attempt: UUID, case: Case) -> bytes:
    answer = shown(given.case_id, case)
    if not await store.finish(conn, given.org, given.key_mac, attempt, answer):
        raise Refused.of("in-progress", "running", retry_after=1)
    return answer


def shown(case_id: str, case: Case) -> bytes:
    """A case as its organisation sees it."""
    body: dict[str, Any] = {"id": case_id, "status": case.status, "version": case.version}
    if case.closure_reason is not None:
        body["closure_reason"] = case.closure_reason
    return orjson.dumps(body)
