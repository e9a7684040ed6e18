"""Follows the partner's journal: which referrals it has, and which it has answered at the hub.

The load is gated on what the partner itself has on its disk, never on what the hub says. A referral
is known there by the recipient's own id of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bench.paths import Seen

LOOK_SECONDS = 0.01


async def follow(path: Path, read: Callable[[bytes], Seen | None]) -> AsyncIterator[list[Seen]]:
    """What is appended from now on, every few milliseconds; never ends."""
    with path.open("rb") as file:
        file.seek(0, 2)
        rest = b""
        while True:
            lines = (rest + file.read()).split(b"\n")
            rest = lines.pop()
            yield [seen for line in lines if (seen := read(line)) is not None]
            await asyncio.sleep(LOOK_SECONDS)
