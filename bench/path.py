"""The main path under load: the generator's figures beside the CPU of every part in its window."""

import asyncio
import sys
from dataclasses import asdict
from typing import Any

import asyncpg
import orjson

from bench import cpu
from bench.load import Plan
from bench.world import World

GENERATOR = "generator"


async def measure(world: World, plan: Plan) -> dict[str, Any]:
    """Run one load; `cpu` is measured from the end of the warm-up to the end of sending."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 22,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipes")
    process.stdin.write(orjson.dumps(asdict(plan)) + b"\n")
    await process.stdin.drain()
    await _line(process.stdout, "began")
    await asyncio.sleep(plan.warm_seconds)
    pids = world.pids() | {GENERATOR: process.pid}
    before, commits = cpu.look(pids), await _commits(plan.dsn)
    await asyncio.sleep(plan.seconds)
    after, commits = cpu.look(pids), await _commits(plan.dsn) - commits
    await _line(process.stdout, "ended")
    figures: dict[str, Any] = orjson.loads(await process.stdout.readline())
    await process.wait()
    referrals = figures["rate"] * plan.seconds
    return figures | {
        "cpu": _shares(before, after, referrals, plan.seconds),
        "transactions_per_referral": commits / referrals if referrals else None,
    }


async def _commits(dsn: str) -> int:
    """Transactions committed so far in all databases of the server."""
    conn = await asyncpg.connect(dsn)
    await conn.execute("select pg_stat_clear_snapshot()")
    number = await conn.fetchval("select sum(xact_commit) from pg_stat_database")
    await conn.close()
    return int(number)


async def _line(stream: asyncio.StreamReader, key: str) -> None:
    line = await stream.readline()
    if not line or key not in orjson.loads(line):
        raise RuntimeError("the generator ended; its reason stands above")


def _shares(
    before: cpu.Moment, after: cpu.Moment, referrals: float, seconds: float
) -> dict[str, Any]:
    """CPU ms per referral by part; `explained` is the parts' share of what the machine did."""
    used = {name: after.parts[name] - before.parts[name] for name in after.parts}
    busy, whole = after.busy - before.busy, sum(used.values())
    each = 1000 / referrals if referrals else 0.0
    return {
        "ms_per_referral": {name: value * each for name, value in used.items()},
        "ms_per_referral_all": whole * each,
        "busy_ms_per_referral": busy * each,
        "explained": whole / busy if busy else 0.0,
        "busy_cores": busy / seconds,
    }
