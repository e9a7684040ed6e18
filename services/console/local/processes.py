"""Processes that we start on this machine and stop again.

It guards that only a process of ours is ever signalled: a pid file holds the pid and the moment
the process began, so a pid that the system has given to another program is left alone.
"""

import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.console.local.place import LocalError, Place

PR_SET_PDEATHSIG = 1
TAIL = 4096  # bytes of a log that are searched for a cause


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to start: its name in pid and log files, argv, environment, and user (None: ours)."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    user: str | None = None
    stop_signal: int = signal.SIGTERM
    dies_with_us: bool = False  # for tests: the kernel kills it when we are killed


def start(place: Place, command: Command) -> int:
    """Start detached with output to its log file; answers the pid."""
    log = place.logs / f"{command.name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            list(command.argv),
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=command.user,
            group=group_of(command.user),
            extra_groups=None if command.user is None else [],
            preexec_fn=_die_with_parent if command.dies_with_us else None,  # noqa: PLW1509
        )
    process.returncode = 0  # from here on the pid file speaks for it, not this object
    _write_pid(place, command, process.pid)
    return process.pid


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def group_of(user: str | None) -> int | None:
    """Primary group of `user`; None for our own."""
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


def _write_pid(place: Place, command: Command, pid: int) -> None:
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        created = 0.0
    record = {"pid": pid, "created": created, "stop": int(command.stop_signal)}
    (place.pids / f"{command.name}.json").write_text(json.dumps(record), encoding="ascii")


def find(place: Place, name: str) -> psutil.Process | None:
    """The live process of that name, or None."""
    try:
        record = json.loads((place.pids / f"{name}.json").read_text(encoding="ascii"))
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["created"]) < 1
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        pass
    return None


def names(place: Place) -> list[str]:
    """Names that have a pid file, in the order in which they were started."""
    files = sorted(place.pids.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    return [file.stem for file in files]


def stop(place: Place, name: str, *, timeout: float = 15) -> bool:
    """Stop by its own signal, after `timeout` seconds by -9; True if there was one to stop."""
    process = find(place, name)
    path = place.pids / f"{name}.json"
    if process is None:
        path.unlink(missing_ok=True)
        return False
    record = json.loads(path.read_text(encoding="ascii"))
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):  # it may end by itself at any moment
        children = process.children(recursive=True)
        process.send_signal(record["stop"])
    for left in _wait_gone([process, *children], timeout):
        with suppress(psutil.NoSuchProcess):
            left.kill()
    _wait_gone([process, *children], 5)
    _reap(process.pid)
    path.unlink(missing_ok=True)
    return True


def kill(place: Place, name: str) -> None:
    """Kill -9 one process of ours and wait until it is gone."""
    process = find(place, name)
    if process is not None:
        process.kill()
        _wait_gone([process], 10)
        _reap(process.pid)


def _wait_gone(waited: Sequence[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Wait until all have ended; answers those that have not.

    One that has ended and is not yet reaped by its parent (often the container's) counts as ended.
    """
    deadline = time.monotonic() + timeout
    alive = list(waited)
    while alive := [process for process in alive if _runs(process)]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.01)
    return []


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def wait_until(
    place: Place, name: str, ready: Callable[[], bool], *, timeout: float, every: float = 0.05
) -> None:
    """Wait until `ready()`; a process that ends before, or the time running out, is an error."""
    deadline = time.monotonic() + timeout
    while not ready():
        if find(place, name) is None:
            raise LocalError(f"{name} ended while starting: {cause(place, name)}")
        if time.monotonic() > deadline:
            raise LocalError(f"{name} is not ready after {timeout:.0f} s: {cause(place, name)}")
        time.sleep(every)


def cause(place: Place, name: str) -> str:
    """The most telling line at the end of a log, and where the rest stands."""
    log = place.logs / f"{name}.log"
    try:
        text = log.read_bytes()[-TAIL:].decode(errors="replace")
    except OSError:
        return f"it wrote no log ({log})"
    if "No space left on device" in text:
        return f"no space left on the disk (see {log})"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [x for x in lines if any(w in x for w in ("ERROR", "FATAL", "Error", "error"))]
    line = (telling or lines or ["it wrote nothing"])[-1]
    return f"{line[:160]} (see {log})"
