"""One step that a party takes with a referral: a command with what it needs, for every format."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One command; `synthesised` when the party skipped the step that it stands for."""

    command: str
    reason_code: str | None = None
    outcome: str | None = None
    appointment_outcome: str | None = None
    synthesised: bool = False
