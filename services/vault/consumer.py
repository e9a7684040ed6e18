"""Consent taken back or run out: the keys that nobody may use any more die.

It guards that every dead version that an event names is killed, and all below it; a repeat does
nothing. Which keys die is consent's decision. Runs inside the consumer's transaction.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from schemas.models import ConsentExpired, ConsentWithdrawn
from services.kit.bus import Received
from services.kit.leaf import Leaf, leaf
from services.kit.metrics import Metrics
from services.kit.steps import step
from services.vault import key_rows, leaves
from services.vault.keystore import KeyName

TYPES: Final = frozenset({"consent.withdrawn", "consent.expired"})


class KeyKiller:
    """Handles a batch of the case log."""

    def __init__(self, metrics: Metrics, clock: Callable[[], datetime]) -> None:
        self._metrics = metrics
        self._clock = clock
        self.killed = asyncio.Event()
        """Set when leaves may be waiting."""

    async def handle(self, conn: Any, received: Sequence[Received]) -> None:
        """Kill what these events name."""
        names = [
            KeyName(event.case_ref, key.purpose, key.key_version)
            for event in (r.event for r in received)
            if isinstance(event, ConsentWithdrawn | ConsentExpired)
            for key in event.dead_keys
        ]
        if names:
            killed = await key_rows.kill_keys(conn, names)
            await leaves.write(conn, [self._leaf(name) for name in killed])
            self._metrics.inc("cauce_keys_destroyed_total", len(killed))

    def _leaf(self, name: KeyName) -> Leaf:
        return leaf(
            "key_destroyed",
            self._clock(),
            actor="vault",
            case_ref=name.case_ref,
            purpose=name.purpose,
            key_version=name.version,
        )

    async def after(self, received: Sequence[Received]) -> None:
        """Committed."""
        if received:
            step("keys.killed")
            self.killed.set()
