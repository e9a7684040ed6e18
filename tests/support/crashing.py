"""`python -m tests.support.crashing STEP NTH HOW FLAG NAME`: a service process that dies at a step.

STEP is a step name, NTH counts from 1, HOW is `kill` (-9), `freeze` (SIGSTOP) or `log` (only write
each step to FLAG). FLAG is a file that is written, and synced, at the moment; NAME is what
`python -m services` takes. The product has no switch for any of this.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from services.__main__ import main
from services.kit.steps import OBSERVERS, STEPS

SIGNALS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "log": None}


def observer(step: str, nth: int, how: str, flag: Path) -> Callable[[str], None]:
    """Called with each step; signals this very process when its moment has come."""
    seen = 0

    def observe(name: str) -> None:
        nonlocal seen
        if name != step and how != "log":
            return
        seen += 1
        if how == "log" or seen == nth:
            _write(flag, f"{time.time_ns()} {name}\n")
        number = SIGNALS[how]
        if number is not None and seen == nth:
            os.kill(os.getpid(), number)

    return observe


def _write(flag: Path, line: str) -> None:
    with flag.open("a", encoding="ascii") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    step, nth, how, flag, name = sys.argv[1:]
    assert step in STEPS, step
    OBSERVERS.append(observer(step, int(nth), how, Path(flag)))
    sys.exit(main([name]))
