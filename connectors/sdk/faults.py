"""What is wrong with a partner's message: code, field and rule, never a value.

Guards that a refusal can be shown, logged and counted without showing what was submitted. Texts,
HTTP status and issue codes belong to the refusal catalogue of the services.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One reason: `(code, rule)` is a row of the refusal catalogue, `field` the path."""

    code: str
    field: str
    rule: str


class Faults(Exception):
    """A message that cannot be taken, with every reason found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(sorted({f"{fault.code}/{fault.rule}" for fault in faults})))
        self.faults = tuple(faults)
