"""The batched stages of a disclosure, shared by whatever is under way: deliveries and reads.

It guards that a stage carries many at once whoever asked, that each gets its own answer, and that
what must not be tried twice (authorise, release) is not. Their order is the caller's.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import asyncpg

from services.delivery import intents, store
from services.delivery.domain import Task
from services.kit.batcher import Batcher

if TYPE_CHECKING:
    from services.delivery.worker import Parts

In = TypeVar("In")
Out = TypeVar("Out")


class Stages:
    """One of each for a process."""

    def __init__(self, parts: "Parts") -> None:
        window = parts.window_ms
        self.state = batched(parts.referral.read, window)
        self.standing = batched(partial(intents.standing, parts.pool), window)
        self.authorise = batched(parts.authority.authorise, window, retry_singly=False)
        self.release = batched(parts.vault.release, window, retry_singly=False)
        self.record = batched(parts.recorder.record, window)
        self.pulled = batched(partial(_pulled, parts.pool), window)
        self.confirm = batched(parts.confirmer.confirm, window)


async def _pulled(pool: asyncpg.Pool, reads: Sequence[tuple[UUID, str]]) -> list[list[Task]]:
    """By (referral, recipient): what waited for this read and ended with it."""
    ended = await store.pulled(pool, reads)
    return [[t for t in ended if (t.referral_ref, t.to_org) == pair] for pair in reads]


def batched(
    call: Callable[[Sequence[In]], Awaitable[Sequence[Out]]],
    window_ms: float,
    *,
    retry_singly: bool = True,
) -> Batcher[In, Out]:
    """A batcher over a call that takes ≤ 64 items and answers each, in order."""

    async def handle(items: Sequence[In]) -> Sequence[Out | BaseException]:
        return list(await call(items))

    return Batcher(handle, window_ms, retry_singly=retry_singly)
