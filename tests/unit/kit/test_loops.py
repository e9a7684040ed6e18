"""Background loops begin again after a fault, and end when they are told to."""

import asyncio

from services.kit.runtime import Host, Runtime
from services.kit.settings import Settings


async def test_a_loop_ends_when_told_to_even_if_its_cleaning_up_fails() -> None:
    host = Host("test", Settings())
    begun = 0

    async def loop() -> None:
        nonlocal begun
        begun += 1
        try:
            await asyncio.sleep(60)
        finally:
            raise TimeoutError

    task = asyncio.create_task(host._forever(Runtime(host, "relay"), loop))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 1)
    assert begun == 1
