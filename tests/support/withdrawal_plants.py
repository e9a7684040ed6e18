"""A hub with faults planted in it that a run of withdrawals must find.

`python -m tests.support.withdrawal_plants all`: deliveries act on a decision taken a second ago
without holding consent still, and past recipients are not asked to delete. The product has no
switch for any of this.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.__main__ import main as run
from services.delivery import authority, erasures

STALE_SECONDS = 1.0


def stale_decision() -> None:
    """The decision is old when it is acted on, and nobody looks again."""
    judge, grant = authority.Authority.judge, authority.Authority._grant

    async def late(self: Any, asks: Any) -> Any:
        judged = await judge(self, asks)
        await asyncio.sleep(STALE_SECONDS)
        return judged

    def blind(self: Any, one: Any, held: Any, before: float) -> Any:
        return grant(self, one, replace(held, version=one.decision.consent_version), before)

    authority.Authority.judge = late  # type: ignore[method-assign]
    authority.Authority._grant = blind  # type: ignore[method-assign]


def no_requests() -> None:
    """Nobody is asked to delete."""

    async def nobody(*_: Any) -> Sequence[erasures.Erasure]:
        return []

    erasures.request = nobody  # type: ignore[assignment]
    erasures.again = nobody  # type: ignore[assignment]


if __name__ == "__main__":
    stale_decision()
    no_requests()
    sys.exit(run(sys.argv[1:]))
