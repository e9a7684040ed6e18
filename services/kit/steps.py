"""Names of the steps of the main path, announced as they are passed.

It guards that the list of places where a process may be killed is closed and known to the type
checker: a crash test walks through `STEPS`. In the product nobody listens.
"""

from collections.abc import Callable
from typing import Final, Literal, get_args

StepName = Literal[
    "accept.reserved",
    "accept.resolved",
    "accept.put",
    "accept.committed",
    "accept.kept",
    "relay.taken",
    "relay.sent",
    "relay.acked",
    "bus.handled",
    "bus.committed",
    "referral.handled",
    "referral.applied",
    "delivery.queued",
    "delivery.claimed",
    "delivery.authorised",
    "delivery.released",
    "delivery.calling",
    "delivery.called",
    "delivery.recorded",
    "delivery.confirmed",
    "withdraw.committed",
    "revoke.handled",
    "erasure.queued",
    "erasure.sent",
    "erasure.recorded",
    "announcement.sent",
    "notice.queued",
    "notice.sent",
    "notice.recorded",
    "subscription.noted",
    "subscription.sent",
    "command.given",
    "hook.taken",
    "hook.remembered",
    "case.amended",
    "amendment.queued",
    "keys.killed",
    "custody.sequenced",
    "custody.signed",
]
STEPS: Final[tuple[str, ...]] = get_args(StepName)
OBSERVERS: Final[list[Callable[[str], None]]] = []
"""Called with the name of each step passed, in order; empty in the product."""


def step(name: StepName) -> None:
    """Say that this step has been passed."""
    for observer in OBSERVERS:
        observer(name)
