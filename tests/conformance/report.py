"""What a conformance run has to say: lines as it goes, failures, and a table at its end."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PROFILES = Path(__file__).parent / "profiles"


@dataclass
class Report:
    """Of one part; called with a line, it prints and keeps it."""

    part: str
    data: Path | None = None
    lines: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __call__(self, line: str) -> None:
        """Something that was seen to hold."""
        self.lines.append(line)
        print(f"{self.part}: {line}", flush=True)

    def fail(self, line: str) -> None:
        """Something that does not hold; the part goes on."""
        self.failures.append(line)
        print(f"{self.part}: FAILED {line}", flush=True)

    @property
    def profiles(self) -> Path:
        """Folder of the profiles: the caller's, else ours."""
        return self.data / "profiles" if self.data is not None else PROFILES


def table(reports: Iterable[Report]) -> str:
    """The end of a run."""
    rows = [
        f"{one.part:<12}{'failed' if one.failures else 'ok':<8}{len(one.lines):>5} seen"
        f"{len(one.failures):>5} failed{one.seconds:>8.0f} s"
        for one in reports
    ]
    return "\n".join(rows)
