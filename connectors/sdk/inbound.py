"""What every inbound mapping is given and what it answers, whatever its format."""

from dataclasses import dataclass
from datetime import datetime

from connectors.sdk.types import Identifier, Submission


@dataclass(frozen=True, slots=True)
class Context:
    """Who sends, when, and the cell's calendar and canonical base."""

    org: str
    now: datetime
    time_zone: str
    canonical_base: str


@dataclass(frozen=True, slots=True, repr=False)
class Mapped:
    """A submission with what the gateway needs beside it.

    `bundle_identifier`, `task_identifier`: candidates for the idempotency key, in this order.
    `entries`: resource types in a Bundle's order, for the answer. `dropped`: paths not kept.
    """

    submission: Submission
    bundle_identifier: Identifier | None
    task_identifier: Identifier | None
    entries: tuple[str, ...]
    dropped: tuple[str, ...]
