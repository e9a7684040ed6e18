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
from bench.paths import FHIR, TOLD, WAYS, WEBHOOK, Way
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
    parser.add_argument(
        "--path", choices=WAYS, help="this path alone, sustained (see bench/README.md)"
    )
    parser.add_argument("--path-only", action="store_true", help="the same as --path fhir")
    parser.add_argument("--against", metavar="REV", help="the path here and at REV, by turns")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    if options.path_only:
        options.path = options.path or FHIR.name
    return options


class Bench:
    """One run over one installation."""

    def __init__(self, world: World, options: argparse.Namespace) -> None:
        self._world = world
        self._options = options
        self._loads = 0

    async def run(self) -> dict[str, Any]:
        """Every figure."""
        options = self._options
        way = WAYS[options.path or FHIR.name]
        sustained = await self._sustained(way)
        result: dict[str, Any] = {"sustained": sustained, "memory_mb": self._memory()}
        if options.path:
            return result
        half = max(run["rate"] for run in sustained) / 2
        rates = options.rates or [half, *([100.0] if half > 100 else [])]
        result["half_load"] = [await self._load(way, rate=round(rate, 1)) for rate in rates]
        for other in (WEBHOOK, TOLD):
            result[other.name] = await self._sustained(other)
        result["events"] = await events.measure(self._world)
        return result

    async def _sustained(self, way: Way) -> list[dict[str, Any]]:
        """The closed loop of a path, as often as was asked."""
        self._world.prepare(way)
        flight = self._options.in_flight
        return [await self._load(way, in_flight=flight) for _ in range(self._options.repeat)]

    async def _load(self, way: Way, *, in_flight: int = 64, rate: float = 0.0) -> dict[str, Any]:
        """One load; each numbers its people anew."""
        options, settings = self._options, self._world.settings
        self._loads += 1
        what = f"{way.name}, " + (f"{rate:.0f}/s" if rate else f"{in_flight} under way")
        say(f"load {self._loads}: {what}, {options.warm:.0f} + {options.seconds:.0f} s")
        found = await path.measure(
            self._world,
            Plan(
                way=way.name,
                host="127.0.0.1",
                port=settings.public_port,
                key_file=str(self._world.sender_key),
                journal=str(self._world.journal(way)),
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
    load = ("--in-flight", str(options.in_flight), "--path", options.path or FHIR.name)
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
    if not options.path:
        say("decisions and custody tree")
        result |= rules.measure()
    result["machine"] = {"cores": os.cpu_count(), "system": platform.platform()}
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    target.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    if options.json or options.path:
        print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    else:
        print(report.table(result))
    say(f"figures in {target}")


if __name__ == "__main__":
    main()
