"""The generator, a process of its own so that its cost is counted apart.

`python -m bench.load` reads one JSON object (see `Plan`) from standard input and prints one JSON
object with what happened. Closed loop: a number of referrals is always under way, a new one goes
out when the partner has answered one. Open loop: referrals go out at a fixed rate, whatever
happens to them. Which of the sender's referrals is which of the recipient's only the hub's tables
tell; they are asked when the load is over.
"""

import asyncio
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import orjson
import uvloop

from bench.http1 import Client
from bench.journal import follow
from bench.paths import WAYS, Kind, made
from connectors.sandbox.smart import TokenClient

SCOPE = "system/Task.crus system/ServiceRequest.crs system/Consent.crus system/Patient.cr"
PATIENCE_SECONDS = 30.0
TASK = re.compile(rb'(?:Task/|"referral":\{"id":")([0-9a-f-]{36})')
PAIRS = """
select a.alias::text as sent, b.alias::text as received
  from gateway.alias a join gateway.alias b using (kind, referral_ref)
 where a.kind = 'task' and a.org = 'ong-norte' and b.org = $1"""
TOKEN_SECONDS = 200.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do; `rate` 0 is the closed loop with `in_flight`."""

    way: str
    host: str
    port: int
    key_file: str
    journal: str
    dsn: str
    first: int
    warm_seconds: float
    seconds: float
    in_flight: int = 64
    rate: float = 0.0
    contact: bool = False


@dataclass
class Ledger:
    """Moments in seconds of the wall clock: by the sender's Task, and by the recipient's."""

    tried: int = 0
    sent: dict[str, float] = field(default_factory=dict)
    accepted: dict[str, float] = field(default_factory=dict)
    seen: dict[Kind, dict[str, float]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    doubled: int = 0


class Generator:
    """Sends, follows the partner, keeps the ledger."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._way = WAYS[plan.way]
        self._template = self._way.body(("contact",) if plan.contact else ())
        self._client = Client(plan.host, plan.port)
        self.ledger = Ledger(seen={kind: {} for kind in self._way.kinds})
        self._next = plan.first
        self._room = asyncio.Semaphore(plan.in_flight)
        self._token = b""
        self._sends: set[asyncio.Task[None]] = set()

    async def run(self) -> dict[str, Any]:
        """Warm up, measure, wait for the rest; answers the figures."""
        await self._sign_in()
        background = [asyncio.create_task(self._keep_token()), asyncio.create_task(self._watch())]
        began = time.time()
        print(orjson.dumps({"began": began}).decode(), flush=True)
        until = began + self._plan.warm_seconds + self._plan.seconds
        await (self._open(until) if self._plan.rate else self._closed(until))
        print(orjson.dumps({"ended": time.time()}).decode(), flush=True)
        await self._drain()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        return self._figures(began + self._plan.warm_seconds, until, await self._pairs())

    async def _pairs(self) -> dict[str, str]:
        """The sender's id of a Task → the recipient's."""
        conn = await asyncpg.connect(self._plan.dsn)
        rows = await conn.fetch(PAIRS, self._way.recipient)
        await conn.close()
        return {row["sent"]: row["received"] for row in rows}

    async def _sign_in(self) -> None:
        base = f"http://{self._plan.host}:{self._plan.port}"
        client = TokenClient("ong-norte", f"{base}/oauth/token", Path(self._plan.key_file), SCOPE)
        async with aiohttp.ClientSession() as session:
            token = await client.token(session)
        self._token = b"Authorization: Bearer " + token.encode()

    async def _keep_token(self) -> None:
        while True:
            await asyncio.sleep(TOKEN_SECONDS)
            await self._sign_in()

    async def _watch(self) -> None:
        ledger = self.ledger
        async for batch in follow(Path(self._plan.journal), self._way.seen):
            for seen in batch:
                moments = ledger.seen[seen.kind]
                if seen.task in moments:
                    ledger.doubled += 1
                    continue
                moments[seen.task] = seen.at
                if seen.kind == self._way.last:
                    self._room.release()

    async def _closed(self, until: float) -> None:
        while (left := until - time.time()) > 0:
            try:
                await asyncio.wait_for(self._room.acquire(), left)
            except TimeoutError:
                return
            self._begin()

    def _begin(self) -> None:
        self._next += 1
        sending = asyncio.create_task(self._send(self._next))
        self._sends.add(sending)
        sending.add_done_callback(self._sends.discard)

    async def _open(self, until: float) -> None:
        begun, sent = time.time(), 0
        while (now := time.time()) < until:
            for _ in range(int((now - begun) * self._plan.rate) - sent):
                sent += 1
                self._begin()
            await asyncio.sleep(0.002)

    async def _send(self, number: int) -> None:
        kind, key = self._way.content_type.encode(), str(uuid4()).encode()
        head = self._token + b"\r\nContent-Type: %s\r\nAccept: %s\r\n" % (kind, kind)
        head += b"Idempotency-Key: %s\r\n" % key
        body = made(self._template, number)
        ledger, sent = self.ledger, time.time()
        ledger.tried += 1
        try:
            status, answer = await self._client.post(self._way.post_to, head, body)
        except OSError as error:
            await self._lost(type(error).__name__)
            return
        task = TASK.search(answer) if status in (200, 201) else None
        if task is None:
            if str(status) not in ledger.statuses:
                sys.stderr.write(answer.decode()[:2000] + "\n")
            await self._lost(str(status))
            return
        ledger.statuses[str(status)] += 1
        name = task[1].decode()
        ledger.sent[name], ledger.accepted[name] = sent, time.time()

    async def _lost(self, status: str) -> None:
        """Not accepted: its place is free, a little later."""
        self.ledger.statuses[status] += 1
        await asyncio.sleep(0.1)
        self._room.release()

    async def _drain(self) -> None:
        """Wait until everything accepted has arrived, or nothing has moved for a while."""
        ledger, moved, known = self.ledger, time.time(), -1
        arrived = ledger.seen[self._way.last]
        while self._sends or len(ledger.accepted) > len(arrived):
            if len(arrived) != known:
                known, moved = len(arrived), time.time()
            if time.time() - moved > PATIENCE_SECONDS / 2:
                break
            await asyncio.sleep(0.05)

    def _figures(self, start: float, end: float, pairs: dict[str, str]) -> dict[str, Any]:
        ledger, plan = self.ledger, self._plan
        arrived = ledger.seen[self._way.last]
        counted = [at for at in arrived.values() if start <= at < end]
        mine = [task for task, at in ledger.sent.items() if start <= at < end]
        ms = {"accepted_by_hub": _quantiles(_times(ledger.sent, ledger.accepted, mine, None))}
        for kind, moments in ledger.seen.items():
            ms[f"{kind}_by_partner"] = _quantiles(_times(ledger.sent, moments, mine, pairs))
        return {
            "plan": {
                "way": plan.way,
                "rate": plan.rate,
                "in_flight": plan.in_flight,
                "seconds": plan.seconds,
            },
            "rate": len(counted) / (end - start),
            "sent": ledger.tried,
            "accepted": len(ledger.accepted),
            **{kind: len(moments) for kind, moments in ledger.seen.items()},
            "lost": len(ledger.accepted) - len(arrived),
            "doubled": ledger.doubled,
            "statuses": dict(ledger.statuses),
            "ms": ms,
        }


def _times(
    start: dict[str, float],
    end: dict[str, float],
    tasks: list[str],
    pairs: dict[str, str] | None,
) -> list[float]:
    """Milliseconds from one moment to the other, sorted; what never came is left out."""
    other = {task: task if pairs is None else pairs.get(task, "") for task in tasks}
    return sorted((end[other[t]] - start[t]) * 1000 for t in tasks if other[t] in end)


def _quantiles(times: list[float]) -> dict[str, float] | None:
    if not times:
        return None
    return {
        "p50": times[len(times) // 2],
        "p99": times[min(len(times) - 1, int(len(times) * 0.99))],
        "max": times[-1],
    }


def main() -> None:
    """Run the plan on standard input."""
    plan = Plan(**orjson.loads(sys.stdin.readline()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(Generator(plan).run())
    print(orjson.dumps(figures).decode(), flush=True)


if __name__ == "__main__":
    main()
