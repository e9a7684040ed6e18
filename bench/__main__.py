"""`python -m bench`: measure this machine with everything on it.

Starts an installation of its own, measures the main path and its parts, prints a table and writes
the figures as JSON. Only figures of one run compare with one another.
"""

import argparse
import asyncio
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench import against, cpu, events, path, report, rules
from bench.load import Plan
from bench.world import World, running
from services.console.local import plan as parts

RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of each load that is measured")
    parser.add_argument("--warm", type=float, default=10, help="seconds of load before it")
    parser.add_argument("--repeat", type=int, default=2, help="runs of the sustained load")
    parser.add_argument("--in-flight", type=int, default=256, help="referrals under way at once")
    parser.add_argument("--rates", type=float, nargs="*", help="open loops (default: half, 100)")
    parser.add_argument(
        "--contact", action="store_true", help="with contact, a second delivery on acceptance"
    )
    parser.add_argument("--path-only", action="store_true", help="the main path, sustained, alone")
    parser.add_argument("--against", metavar="REV", help="the main path here and at REV, by turns")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser.parse_args()


class Bench:
    """One run over one installation."""

    def __init__(self, world: World, options: argparse.Namespace) -> None:
        self._world = world
        self._options = options
        self._loads = 0

    async def run(self) -> dict[str, Any]:
        """Every figure."""
        options = self._options
        sustained = [await self._load(in_flight=options.in_flight) for _ in range(options.repeat)]
        result: dict[str, Any] = {"sustained": sustained, "memory_mb": self._memory()}
        if options.path_only:
            return result
        half = max(run["rate"] for run in sustained) / 2
        rates = options.rates or [half, *([100.0] if half > 100 else [])]
        result["half_load"] = [await self._load(rate=round(rate, 1)) for rate in rates]
        result["events"] = await events.measure(self._world)
        return result

    async def _load(self, *, in_flight: int = 64, rate: float = 0.0) -> dict[str, Any]:
        """One load; each numbers its people anew."""
        options, settings = self._options, self._world.settings
        self._loads += 1
        what = f"{rate:.0f}/s" if rate else f"{in_flight} under way"
        say(f"load {self._loads}: {what}, {options.warm:.0f} + {options.seconds:.0f} s")
        found = await path.measure(
            self._world,
            Plan(
                host="127.0.0.1",
                port=settings.public_port,
                key_file=str(self._world.sender_key),
                journal=str(self._world.journal),
                dsn=self._world.dsn,
                first=self._loads * 500_000,
                warm_seconds=options.warm,
                seconds=options.seconds,
                in_flight=in_flight,
                rate=rate,
                contact=options.contact,
            ),
        )
        say(f"load {self._loads}: {found['rate']:.0f}/s, answers {found['statuses']}")
        return found

    def _memory(self) -> dict[str, float]:
        pids = self._world.pids()
        return {name: cpu.resident_mb(pids[name]) for name in (parts.VAULT, parts.HUB)}


def say(line: str) -> None:
    """A line of progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def compare(options: argparse.Namespace) -> None:
    """Measure a revision and the files here by turns; print the ratios."""
    of_each = ("--seconds", str(options.seconds), "--warm", str(options.warm))
    load = ("--in-flight", str(options.in_flight))
    found = against.compare(options.against, options.repeat, (*of_each, *load))
    text = orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
    print(text if options.json else against.table(found))


def main() -> None:
    """Measure, write, print."""
    options = arguments()
    if options.against:
        compare(options)
        return
    own = {k: v for k, v in os.environ.items() if k.startswith("CAUCE_")}
    with running(own, say) as world:
        result = asyncio.run(Bench(world, options).run())
    if not options.path_only:
        say("decisions and custody tree")
        result |= rules.measure()
    result["machine"] = {"cores": os.cpu_count(), "system": platform.platform()}
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    target.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    if options.json or options.path_only:
        print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    else:
        print(report.table(result))
    say(f"figures in {target}")


if __name__ == "__main__":
    main()
