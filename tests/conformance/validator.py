"""HAPI's instance validator as a filter that is asked one resource at a time."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.conformance import java

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One error: where, the validator's own message id, and its words."""

    at: str
    id: str
    text: str

    def __str__(self) -> str:
        return f"{self.at}: {self.text} [{self.id}]"


@dataclass(frozen=True)
class Validator:
    """A running validator."""

    process: subprocess.Popen[str]

    def errors(self, resource: Json, profile: str | None = None) -> list[Finding]:
        """What it finds wrong, against the base or one profile."""
        asked, answered = _pipe(self.process.stdin), _pipe(self.process.stdout)
        asked.write(json.dumps({"resource": resource, "profile": profile}) + "\n")
        asked.flush()
        line = answered.readline()
        assert line, "the validator has ended"
        return [
            Finding(at=e["at"] or "", id=e["id"] or "", text=e["text"])
            for e in json.loads(line)["errors"]
        ]


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def running_validator(profiles: Path) -> Iterator[Validator]:
    """The validator with these profiles; killed at the end."""
    process = subprocess.Popen(
        java.command("Validator", java.VALIDATOR, str(profiles)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    try:
        yield Validator(process)
    finally:
        process.kill()
        process.communicate()
