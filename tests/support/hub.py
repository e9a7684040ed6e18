"""Vault, hub and sandbox partners of a test as the real processes, on the run's servers.

A test that wants a crash starts the process through `tests.support.crashing`, which kills or
freezes it at a step; the product itself has no switch for it.
"""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from services.console.local import plan, processes
from services.console.local.bootstrap import ready
from services.console.local.place import Place
from services.kit.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Hub:
    """The processes of one installation; `place` must hold the secrets and the partners' files."""

    place: Place
    settings: Settings

    def command(self, name: str, crash: Sequence[str] = ()) -> processes.Command:
        """How a part is started; `crash` are the words of `tests.support.crashing`."""
        command = plan.commands(self.place, self.settings)[name]
        argv = list(command.argv)
        if crash:
            argv = [sys.executable, "-m", "tests.support.crashing", *crash, argv[-1]]
        return replace(command, argv=argv, dies_with_us=True)

    def start(self, *names: str, crash: Sequence[str] = ()) -> None:
        """Start parts and wait until each is ready."""
        for name in names:
            processes.start(self.place, self.command(name, crash))
        for name in names:
            self.wait_ready(name)

    def wait_ready(self, name: str, timeout: float = 30) -> None:
        """Wait until a part answers /ready."""
        host, port = plan.ready_address(self.settings, name)
        processes.wait_until(self.place, name, lambda: ready(host, port), timeout=timeout)

    def alive(self, name: str) -> bool:
        """Whether the part's process runs (a frozen one does)."""
        return processes.find(self.place, name) is not None

    def kill(self, name: str) -> None:
        """Kill -9 and wait until it is gone."""
        processes.kill(self.place, name)

    def stop(self, *names: str) -> None:
        """Stop parts cleanly."""
        for name in names:
            processes.stop(self.place, name)

    def freeze(self, name: str) -> None:
        """Stop the part's clock: it keeps its locks and connections and does nothing."""
        self._signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let a frozen part go on."""
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: int) -> None:
        process = processes.find(self.place, name)
        assert process is not None, f"{name} does not run"
        process.send_signal(number)

    def log(self, name: str) -> str:
        """What a part has written so far."""
        return (self.place.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")


@contextmanager
def running_hub(
    place: Place, settings: Settings, names: Sequence[str] = plan.OURS
) -> Iterator[Hub]:
    """The named parts, ready; all of them are stopped at the end, frozen ones too."""
    plan.make_partner_files(place)
    hub = Hub(place=place, settings=settings)
    try:
        hub.start(*(name for name in (plan.VAULT, plan.REFUGIO, plan.ONG) if name in names))
        hub.start(*(name for name in (plan.HUB,) if name in names))
        yield hub
    finally:
        for name in reversed(plan.OURS):
            process = processes.find(place, name)
            if process is not None:
                process.send_signal(signal.SIGCONT)
            processes.stop(place, name, timeout=5)
