"""Follows the partner's journal: which referrals it has, and which it has answered at the hub.

The load is gated on what the partner itself has on its disk, never on what the hub says. A referral
is known there by the recipient's own id of its Task.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import orjson

LOOK_SECONDS = 0.01
TASK_SYSTEM = "/NamingSystem/task"


@dataclass(frozen=True, slots=True)
class Seen:
    """The partner has stored the referral (`effect`), or the hub took its `answer`."""

    kind: Literal["effect", "answer"]
    task: str
    at: float


async def follow(path: Path) -> AsyncIterator[list[Seen]]:
    """Whatever is appended from now on, every few milliseconds; never ends."""
    with path.open("rb") as file:
        file.seek(0, 2)
        rest = b""
        while True:
            lines = (rest + file.read()).split(b"\n")
            rest = lines.pop()
            yield [seen for line in lines if (seen := _seen(line)) is not None]
            await asyncio.sleep(LOOK_SECONDS)


def _seen(line: bytes) -> Seen | None:
    if line.startswith(b'{"kind":"call"'):
        return None
    record = orjson.loads(line)
    kind = record["kind"]
    for resource in record.get("resources", ()):
        if resource["resourceType"] != "Task" or kind not in ("effect", "answer"):
            continue
        if kind == "effect" and resource["meta"]["versionId"] != "1":
            continue  # later content of a referral that was counted
        own = next(i for i in resource["identifier"] if i["system"].endswith(TASK_SYSTEM))
        return Seen(kind, own["value"], datetime.fromisoformat(record["at"]).timestamp())
    return None
