"""Consent taken back or run out: the keys that nobody may use any more die.

It guards that every dead version that an event names is killed, and all below it; a repeat does
nothing. Which keys die is consent's decision. Runs inside the consumer's transaction.
"""

from collections.abc import Sequence
from typing import Any, Final

from schemas.models import ConsentExpired, ConsentWithdrawn
from services.kit.bus import Received
from services.kit.metrics import Metrics
from services.kit.steps import step
from services.vault import key_rows
from services.vault.keystore import KeyName

TYPES: Final = frozenset({"consent.withdrawn", "consent.expired"})


class KeyKiller:
    """Handles a batch of the case log."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

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
            self._metrics.inc("cauce_keys_destroyed_total", killed)

    async def after(self, received: Sequence[Received]) -> None:
        """Committed."""
        if received:
            step("keys.killed")
