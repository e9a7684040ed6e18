"""`python -m tests.crash --full`: every step with every part killed, then the judgement.

`--frozen`: a second copy of the hub runs, and the first is frozen at every step until it is taken
for dead. Without either, what `make test` does: every step once. Exit status 0 only without a
violation and with every step reached.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from services.kit.steps import STEPS
from tests.support.crash_rig import Point, Rig, covering_points, every_point, running_rig
from tests.support.crash_traffic import Traffic

JUDGE_EVERY = 28
TRIES = 3
SHOWN = 5
"""Violations of each rule that are written out."""


def walk(
    rig: Rig, traffic: Traffic, points: Sequence[Point], *, frozen: bool = False
) -> list[Point]:
    """Strike at each point while traffic runs; answers the points that were never reached."""
    missed: list[Point] = []
    for n, point in enumerate(points):
        begun = time.monotonic()
        nth = 1 + n % 3
        reached = any(
            rig.freeze(point.step, traffic) if frozen else rig.strike(point, traffic, nth=nth)
            for _ in range(TRIES)
        )
        if not reached:
            missed.append(point)
        took = time.monotonic() - begun
        sys.stdout.write(f"{point.step:22} {point.part:9} {took:5.1f} s {reached}\n")
        sys.stdout.flush()
    return missed


def main(words: Sequence[str]) -> int:
    """Walk, judge in between, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--full", action="store_true", help="each step with each part")
    parser.add_argument("--frozen", action="store_true", help="freeze the hub at each step")
    parser.add_argument("--step", nargs="*", default=STEPS, help="these steps alone")
    parser.add_argument("--part", help="this part alone")
    options = parser.parse_args(words)
    points = every_point() if options.full or options.part else covering_points()
    points = [p for p in points if p.step in options.step]
    points = [p for p in points if options.part in (None, p.part)]
    if options.frozen:
        points = [Point(step, "hub") for step in dict.fromkeys(p.step for p in points)]
    failed = False
    with running_rig() as rig:
        copy = rig.start_copy() if options.frozen else None
        for seed, start in enumerate(range(0, len(points), JUDGE_EVERY), start=1):
            traffic = rig.traffic(seed, withdraw_at=copy)
            with traffic:
                missed = walk(
                    rig, traffic, points[start : start + JUDGE_EVERY], frozen=options.frozen
                )
            violations = rig.judged(traffic)
            failed = failed or bool(missed or violations)
            sys.stdout.write(f"never reached: {missed}\n")
            shown: Counter[str] = Counter()
            for violation in violations:
                shown[violation.rule] += 1
                if shown[violation.rule] <= SHOWN:
                    sys.stdout.write(f"  {violation.rule}: {violation.about}\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
