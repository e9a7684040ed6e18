"""One path for what a party commands, whatever the surface it came by.

It guards that a repeat under one key changes nothing, that one key is not taken for two things, and
that a rule of the state machine becomes the same refusal everywhere. Reading an answer is each
surface's, deciding the state machine's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid4

from connectors.sdk.steps import Step
from services.kit.crypto import hmac_sha256, uuid4_from
from services.kit.errors import Refused
from services.kit.ports.referral import Applied, Asked, Command, Referral, ReferralState
from services.kit.steps import step

REFUSALS: Final = {
    "not-found": ("not-found", "resource"),
    "version-conflict": ("conflict", "version"),
    "not-your-command": ("illegal-transition", "not-yours"),
    "illegal-transition": ("illegal-transition", "from-state"),
    "reason-required": ("reason-required", "status-reason"),
    "outcome-required": ("outcome-required", "output"),
    "consent-not-valid": ("suppressed", "consent"),
    "key-reused": ("duplicate", "other-content"),
}
"""Rule of the state machine → row of the refusal catalogue."""


@dataclass(frozen=True, slots=True)
class Once:
    """Under which key something counts once, and the keyed digest of its content."""

    key: str = field(repr=False)
    digest: bytes = field(repr=False)


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
        once: Once | None,
        expected: int | None,
    ) -> Applied:
        """The state after the steps, all or none; Refused by the rule that forbids one."""
        key = once.key if once is not None else str(uuid4())
        commands = [
            Command(
                command_id=self._id(org, state.referral_ref, key, place),
                digest=once.digest if once is not None else None,
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
        step("command.given")
        return _accepted(applied)

    async def repeated(self, org: str, referral_ref: UUID, once: Once) -> bool:
        """Whether this was done before; Refused when something else was, under the same key."""
        asked = Asked(command_id=self._id(org, referral_ref, once.key, 0), digest=once.digest)
        done = (await self._referral.done([asked]))[0]
        return done is not None and _accepted(done) is done

    def _id(self, org: str, referral_ref: UUID, key: str, place: int) -> UUID:
        parts = (b"command", org.encode(), referral_ref.bytes, key.encode(), str(place).encode())
        return uuid4_from(hmac_sha256(self._index_key, *parts))


def _accepted(applied: Applied) -> Applied:
    if applied.rule is not None:
        raise Refused.of(*REFUSALS.get(applied.rule, REFUSALS["illegal-transition"]))
    return applied
