import asyncio
from collections.abc import Sequence

import pytest

from services.kit.batcher import Batcher


async def test_what_comes_during_a_flight_travels_together_in_the_next() -> None:
    seen: list[list[int]] = []

    async def handle(items: Sequence[int]) -> list[int]:
        seen.append(list(items))
        await asyncio.sleep(0.01)
        return [i * 2 for i in items]

    batcher: Batcher[int, int] = Batcher(handle, window_ms=0)
    first = asyncio.create_task(batcher(0))
    await asyncio.sleep(0.005)
    rest = await asyncio.gather(*(batcher(i) for i in range(1, 10)))
    assert (await first, rest) == (0, [i * 2 for i in range(1, 10)])
    assert seen == [[0], list(range(1, 10))]


async def test_no_flight_carries_more_than_its_limit_and_never_two_fly_at_once() -> None:
    flying = 0
    sizes = []

    async def handle(items: Sequence[int]) -> Sequence[int]:
        nonlocal flying
        flying += 1
        assert flying == 1
        sizes.append(len(items))
        await asyncio.sleep(0)
        flying -= 1
        return items

    batcher: Batcher[int, int] = Batcher(handle, window_ms=5, max_items=64)
    assert await asyncio.gather(*(batcher(i) for i in range(200))) == list(range(200))
    assert max(sizes) == 64
    assert sum(sizes) == 200


async def test_a_failed_batch_is_tried_item_by_item_so_that_only_the_bad_one_fails() -> None:
    async def handle(items: Sequence[int]) -> Sequence[int]:
        if 3 in items:
            raise ValueError
        return items

    batcher: Batcher[int, int] = Batcher(handle, window_ms=1)
    answers = await asyncio.gather(*(batcher(i) for i in range(6)), return_exceptions=True)
    assert [a for a in answers if isinstance(a, int)] == [0, 1, 2, 4, 5]
    assert isinstance(answers[3], ValueError)


async def test_an_answer_that_is_an_exception_is_raised_for_its_item_alone() -> None:
    async def handle(items: Sequence[int]) -> Sequence[int | BaseException]:
        return [KeyError() if i == 1 else i for i in items]

    batcher: Batcher[int, int] = Batcher(handle, window_ms=1)
    answers = await asyncio.gather(batcher(0), batcher(1), return_exceptions=True)
    assert answers[0] == 0
    assert isinstance(answers[1], KeyError)


async def test_a_handler_that_answers_too_little_fails_its_callers_loudly() -> None:
    async def handle(_: Sequence[int]) -> Sequence[int]:
        return []

    batcher: Batcher[int, int] = Batcher(handle, window_ms=0)
    with pytest.raises(RuntimeError):
        await batcher(1)


async def test_a_caller_that_gave_up_is_not_carried() -> None:
    seen: list[int] = []

    async def handle(items: Sequence[int]) -> Sequence[int]:
        seen.extend(items)
        return items

    batcher: Batcher[int, int] = Batcher(handle, window_ms=20)
    gone = asyncio.create_task(batcher(1))
    stays = asyncio.create_task(batcher(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 2
    assert seen == [2]
