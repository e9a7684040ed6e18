"""Where the reference validator and the hub differ, and why: `differences.csv`, both ways exact.

A difference without a row fails the run, and so does a row without a difference.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

ROWS = Path(__file__).parent / "differences.csv"


@dataclass(frozen=True, kw_only=True)
class Row:
    """`way` is `out` (we emit, it refuses) or `in` (we accept, it refuses)."""

    way: str
    where: str
    change: str
    finding: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One that was seen."""

    way: str
    where: str
    change: str
    finding: str
    text: str = field(compare=False)

    def fits(self, row: Row) -> bool:
        """Whether a row is about it."""
        return (
            self.way == row.way
            and fnmatchcase(self.where, row.where)
            and fnmatchcase(self.change, row.change)
            and fnmatchcase(self.finding, row.finding)
        )


def rows(way: str) -> list[Row]:
    """Known differences of one way."""
    with ROWS.open(encoding="utf-8", newline="") as file:
        return [row for row in (Row(**one) for one in csv.DictReader(file)) if row.way == way]


def problems(way: str, seen: Iterable[Difference]) -> list[str]:
    """What is not as the file says."""
    found, known = list(seen), rows(way)
    new = [
        f"no reason for: {one.where}, {one.change}: {one.text} [{one.finding}]"
        for one in found
        if not any(one.fits(row) for row in known)
    ]
    gone = [
        f"not seen any more: {row.where}, {row.change} [{row.finding}]"
        for row in known
        if not any(one.fits(row) for one in found)
    ]
    return new + gone
