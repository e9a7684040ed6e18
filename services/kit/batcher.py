"""Natural batching: whoever comes while a batch is under way travels in the next one.

It guards that one flight at a time carries at most `max_items`, that each caller gets its own
answer or its own error, and that one bad item never spoils its neighbours: a failed batch is tried
again item by item.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Batcher(Generic[In, Out]):
    """`await batcher(item)`; `handle` answers a list of results or exceptions, in order.

    `retry_singly` False is for handlers whose effects must not be tried twice.
    """

    def __init__(
        self,
        handle: Callable[[Sequence[In]], Awaitable[Sequence[Out | BaseException]]],
        window_ms: float,
        max_items: int = 64,
        *,
        retry_singly: bool = True,
    ) -> None:
        self._handle = handle
        self._window = window_ms / 1000
        self._max = max_items
        self._retry_singly = retry_singly
        self._waiting: list[tuple[In, asyncio.Future[Out]]] = []
        self._full = asyncio.Event()
        self._flight: asyncio.Task[None] | None = None

    async def __call__(self, item: In) -> Out:
        """The answer to this item; raises what `handle` answered or raised for it."""
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._max:
            self._full.set()
        if self._flight is None:
            self._flight = asyncio.create_task(self._fly())
        return await future

    async def _fly(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                taken = self._waiting[: self._max]
                del self._waiting[: self._max]
                if len(self._waiting) < self._max:
                    self._full.clear()
                # A caller that gave up before take-off is not carried.
                live = [(item, future) for item, future in taken if not future.done()]
                if live:
                    await self._carry(live)
        finally:
            self._flight = None
            for _, future in self._waiting:  # only when the flight itself was cancelled
                future.cancel()
            self._waiting.clear()

    async def _gather(self) -> None:
        if self._window > 0 and not self._full.is_set():
            try:
                await asyncio.wait_for(self._full.wait(), self._window)
            except TimeoutError:
                return

    async def _carry(self, batch: list[tuple[In, asyncio.Future[Out]]]) -> None:
        try:
            answers = await self._try([item for item, _ in batch])
            if isinstance(answers, Exception) and len(batch) > 1 and self._retry_singly:
                singly: list[Out | BaseException] = []
                for item, _ in batch:
                    answer = await self._try([item])
                    singly.append(answer if isinstance(answer, Exception) else answer[0])
                answers = singly
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        for position, (_, future) in enumerate(batch):
            _settle(future, answers if isinstance(answers, Exception) else answers[position])

    async def _try(self, items: list[In]) -> Sequence[Out | BaseException] | Exception:
        try:
            answers = await self._handle(items)
        except Exception as error:  # noqa: BLE001 -- handed to the callers
            return error
        if len(answers) != len(items):
            return RuntimeError("a batch must answer each of its items")
        return answers


def _settle(future: "asyncio.Future[Out]", answer: Out | BaseException) -> None:
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
