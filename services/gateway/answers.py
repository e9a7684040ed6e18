"""One path for what a party commands, whatever the surface it came by.

It guards that a repeat under one key changes nothing, and that a rule of the state machine becomes
the same refusal everywhere. Reading an answer is each surface's, deciding the state machine's.
"""

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from connectors.sdk.steps import Step
from services.kit.crypto import hmac_sha256, uuid4_from
from services.kit.errors import Refused
from services.kit.ports.referral import Applied, Command, Referral, ReferralState

REFUSALS: Final = {
    "not-found": ("not-found", "resource"),
    "version-conflict": ("conflict", "version"),
    "not-your-command": ("illegal-transition", "not-yours"),
    "illegal-transition": ("illegal-transition", "from-state"),
    "reason-required": ("reason-required", "status-reason"),
    "outcome-required": ("outcome-required", "output"),
    "consent-not-valid": ("suppressed", "consent"),
}
"""Rule of the state machine → row of the refusal catalogue."""


class Answers:
    """Gives the commands of a party."""

    def __init__(self, referral: Referral, index_key: bytes) -> None:
        self._referral = referral
        self._index_key = index_key

    async def give(
        self,
        *,
        org: str,
        role: str,
        state: ReferralState,
        steps: Sequence[Step],
        key: str | None,
        expected: int | None,
    ) -> Applied:
        """The state after the steps, all or none; Refused by the rule that forbids one."""
        parts = (b"command", org.encode(), state.referral_ref.bytes, (key or str(uuid4())).encode())
        commands = [
            Command(
                command_id=uuid4_from(hmac_sha256(self._index_key, *parts, str(place).encode())),
                referral_ref=state.referral_ref,
                command=step.command,
                actor_org=org,
                actor_role=role,
                expected_version=expected if place == 0 else None,
                reason_code=step.reason_code,
                outcome=step.outcome,
                appointment_outcome=step.appointment_outcome,
                synthesised=step.synthesised,
            )
            for place, step in enumerate(steps)
        ]
        applied = (await self._referral.apply([commands]))[0]
        if applied.rule is not None:
            raise Refused.of(*REFUSALS.get(applied.rule, REFUSALS["illegal-transition"]))
        return applied
