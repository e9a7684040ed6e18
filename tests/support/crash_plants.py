"""Faults planted in a hub process of a test, each of which must turn the judge red."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from connectors.sdk.http import Http
from services.delivery import amendments, announcing, authority, notifying, worker
from services.delivery.domain import Outcome
from services.kit.leaf import Leaf, append_leaves

LATE_SECONDS = 5.0
"""Longer than any grant, so that a call under it comes first."""


def no_key() -> None:
    """No idempotency key goes to the partner."""
    send = Http.send

    async def keyless(self: Http, *args: Any, headers: Any, **rest: Any) -> Any:
        kept = {name: value for name, value in headers.items() if name != "Idempotency-Key"}
        return await send(self, *args, headers=kept, **rest)

    Http.send = keyless  # type: ignore[method-assign]


def early_outcome() -> None:
    """The outcome is recorded before the call."""
    call = worker.Worker._call

    async def recorded_first(self: Any, task: Any, *rest: Any) -> None:
        granted = next(one for one in rest if isinstance(one, authority.Authorised))
        outcome = Outcome(
            result="disclosed", rule="taken", task=task, grant_ref=granted.grant.grant_ref
        )
        await self._done(outcome)
        await call(self, task, *rest)

    worker.Worker._call = recorded_first  # type: ignore[method-assign, assignment]


def late_leaf() -> None:
    """The leaf of an intent is written some time after the transaction of the intent."""
    late: list[Leaf] = []
    authorise = authority.Authority.authorise

    async def held_back(_: Any, leaves: Sequence[Leaf]) -> None:
        late.extend(leaves)

    async def then_written(self: Any, asks: Any) -> Any:
        answers = await authorise(self, asks)
        asyncio.get_running_loop().create_task(written(self._pool))
        return answers

    async def written(pool: Any) -> None:
        await asyncio.sleep(LATE_SECONDS)
        leaves, late[:] = list(late), []
        async with pool.acquire() as conn, conn.transaction():
            await append_leaves(conn, leaves)

    setattr(authority, "append_leaves", held_back)  # noqa: B010 -- a name the module only imports
    authority.Authority.authorise = then_written  # type: ignore[method-assign]


def old_stays() -> None:
    """Delivery does not hear of what was put right."""

    async def deaf(*_: Any) -> None:
        return None

    amendments.record = deaf  # type: ignore[assignment]


def new_mark() -> None:
    """Each announcement of a referral has an id of its own, a repeat too."""
    sent = announcing.Announcer.sent

    def marked(self: Any, mark: Any, state: Any) -> Any:
        return replace(sent(self, mark, state), mark=uuid4())

    announcing.Announcer.sent = marked  # type: ignore[method-assign]


def done_first() -> None:
    """A note counts as told before it is."""
    send = notifying.Notifier._send

    async def recorded_first(self: Any, queued: Any, partner: Any) -> Any:
        await self._end((queued.notification_id, "done", "taken", timedelta()))
        return await send(self, queued, partner)

    notifying.Notifier._send = recorded_first  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    "no-key": no_key,
    "early-outcome": early_outcome,
    "late-leaf": late_leaf,
    "new-mark": new_mark,
    "done-first": done_first,
    "old-stays": old_stays,
}


def plant(name: str) -> None:
    """Plant a fault in this process; `-` plants none."""
    if name != "-":
        PLANTS[name]()
