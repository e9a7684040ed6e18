"""CPU and memory of processes, as the kernel counts them in /proc.

A part is a process with all its descendants; what those that ended had used is in their parent's
sums. `busy` is everything the machine did, ours or not.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

TICK = 1 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Seconds of CPU so far: the machine's, and each part's."""

    busy: float
    parts: Mapping[str, float]


def look(pids: Mapping[str, int]) -> Moment:
    """The sums of now for these parts, by the pid of their first process."""
    return Moment(busy=_busy(), parts={name: _tree(pid) for name, pid in pids.items()})


def _busy() -> float:
    words = [int(w) for w in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = words
    return (user + nice + system + irq + softirq) * TICK


def _tree(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(_one(member.pid) for member in family)


def _one(pid: int) -> float:
    """Own time and that of ended children."""
    try:
        words = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(word) for word in words[11:15]) * TICK


def resident_mb(pid: int) -> float:
    """Resident memory of one process in MB."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0
