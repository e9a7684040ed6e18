"""A service process that dies, or kills another, at a step of the path.

`python -m tests.support.crashing STEP NTH HOW FLAG NAME`: one plan. STEP is a step name, NTH counts
from 1, HOW is `kill` (-9), `freeze` (SIGSTOP) or `log` (only write each step to FLAG). FLAG is a
file that is written, and synced, at the moment; NAME is what `python -m services` takes.

`python -m tests.support.crashing @FILE PLANT NAME`: the plan is read from FILE, which may change
while the process runs (`Plan.write`); it may name another process as the victim. PLANT is `-` or a
fault of `tests.support.crash_plants`. The product has no switch for any of this.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from services.__main__ import main
from services.kit.steps import OBSERVERS, STEPS

SIGNALS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "log": None}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """At the nth passing of `step`, `victim` (a pid; 0: who passes) is killed or frozen, once."""

    step: str
    nth: int = 1
    how: str = "kill"
    victim: int = 0
    flag: str

    def write(self, file: Path) -> None:
        """Put the plan in force; what was counted for an older one is forgotten."""
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self)), encoding="ascii")
        temporary.replace(file)

    @classmethod
    def read(cls, file: Path) -> Self:
        """The plan in force."""
        return cls(**json.loads(file.read_text(encoding="ascii")))


class Planned:
    """Observer of steps under the plan of a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._inode = 0
        self._plan: Plan | None = None
        self._seen = 0

    def __call__(self, name: str) -> None:
        """Called with each step."""
        plan = self._current()
        if plan is None or name != plan.step:
            return
        self._seen += 1
        if self._seen >= plan.nth and _claim(Path(plan.flag)):
            with suppress(ProcessLookupError):
                os.kill(plan.victim or os.getpid(), SIGNALS[plan.how] or 0)

    def _current(self) -> Plan | None:
        try:
            inode = self._file.stat().st_ino
        except FileNotFoundError:
            return None
        if inode != self._inode:
            self._plan, self._inode, self._seen = Plan.read(self._file), inode, 0
        return self._plan


def _claim(flag: Path) -> bool:
    """Whether we are the first: several processes follow one plan."""
    try:
        handle = os.open(flag, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    os.fsync(handle)
    os.close(handle)
    return True


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
    words = sys.argv[1:]
    if words[0].startswith("@"):
        from tests.support.crash_plants import plant

        plant(words[1])
        OBSERVERS.append(Planned(Path(words[0][1:])))
    else:
        at, count, manner, mark, _ = words
        assert at in STEPS, at
        OBSERVERS.append(observer(at, int(count), manner, Path(mark)))
    sys.exit(main([words[-1]]))
