"""Judge of withdrawals: what the recipient did, against the moment consent ended.

Witnesses are the recipient's journal (`effect`, `erasure`, `call`), the consent tables and the
custody log. Pure but for `judge`, which reads them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from tests.support.withdrawal_world import World

EFFECT_DELAY: Final = timedelta(seconds=2)
LEAF_STEP: Final = timedelta(milliseconds=1)
"""A leaf's time is cut to it."""
STEPS: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
BAR: Final = 40


@dataclass(frozen=True, kw_only=True)
class Disclosure:
    """One intent: when it was authorised and what became of it."""

    case_ref: UUID
    referral_ref: UUID
    at: datetime
    state: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything the judgement rests on."""

    ended: Mapping[UUID, datetime]
    """Case → time under the exclusive lock, right before the withdrawal was committed."""
    case_of_key: Mapping[str, UUID]
    """Idempotency key at the recipient → case, of content and of requests to erase."""
    disclosures: Sequence[Disclosure]
    journal: Sequence[Mapping[str, Any]]
    leaves: Mapping[UUID, Sequence[Mapping[str, Any]]]
    tasks: Sequence[tuple[UUID, str, str]]
    """(case, kind, state) of every task of the queue."""
    outcomes: Mapping[str, int]
    """Leaf kind and rule → how many leaves, of content and its intents."""
    live_keys: int
    """Keys of withdrawn cases that still open something."""
    cases: Sequence[UUID]


@dataclass(kw_only=True)
class Judged:
    """What was found."""

    withdrawals: int = 0
    late: list[float] = field(default_factory=list)
    """Seconds from withdrawal to the recipient's effect, where that came after."""
    asked: list[float] = field(default_factory=list)
    """Seconds from withdrawal to the first request to erase, where nothing was disturbed."""
    before: int = 0
    never: int = 0
    modes: Counter[str] = field(default_factory=Counter)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def report(self) -> str:
        """Counts, histograms and violations, as text."""
        met = f"effect before {self.before}, after {len(self.late)}, never {self.never}"
        lines = [
            f"withdrawals {self.withdrawals}: {met}",
            *(f"  {mode}: {count}" for mode, count in sorted(self.modes.items())),
            *(f"  {kind}: {count}" for kind, count in sorted(self.outcomes.items())),
            "recipient's effect - withdrawal (s), effects after it:",
            *histogram(self.late),
            "request to erase arrives - withdrawal (s), nothing disturbed:",
            *histogram(self.asked),
            f"violations {len(self.violations)}",
            *self.violations[:20],
        ]
        return "\n".join(lines)


def histogram(values: Sequence[float]) -> list[str]:
    """Bars, the number of values and the largest."""
    edges = [*STEPS[1:], float("inf")]
    counts = [0] * len(edges)
    for value in values:
        counts[next(i for i, edge in enumerate(edges) if value <= edge)] += 1
    most = max([*counts, 1])
    lines = [
        f"  {low:4.2f}-{high:<5.2f}{count:5d} {'#' * round(BAR * count / most)}"
        for low, high, count in zip(STEPS, edges, counts, strict=True)
    ]
    if values:
        ranked = sorted(values)
        half, top = ranked[len(ranked) // 2], ranked[int(len(ranked) * 0.99)]
        lines.append(f"  n {len(values)}  p50 {half:.3f}  p99 {top:.3f}  max {ranked[-1]:.3f}")
    return lines


def judged(facts: Facts, modes: Mapping[UUID, str]) -> Judged:
    """The judgement."""
    found = Judged(
        withdrawals=len(facts.ended), modes=Counter(modes.values()), outcomes=facts.outcomes
    )
    _never_withdrawn(found, facts)
    _effects(found, facts)
    _authorised_late(found, facts)
    _erased(found, facts)
    _asked(found, facts, modes)
    _nothing_waits(found, facts)
    return found


def _never_withdrawn(found: Judged, facts: Facts) -> None:
    for case_ref in facts.cases:
        if case_ref not in facts.ended:
            found.violations.append(f"case {case_ref}: its consent was never withdrawn")


def _effects(found: Judged, facts: Facts) -> None:
    first: dict[UUID, datetime] = {}
    for record in facts.journal:
        case_ref = facts.case_of_key.get(record.get("key", ""))
        if record["kind"] != "effect" or case_ref is None or case_ref not in facts.ended:
            continue
        at = datetime.fromisoformat(record["at"])
        if not any(_is_content(r) for r in record["resources"]):
            continue
        first.setdefault(case_ref, at)
        after = (at - facts.ended[case_ref]).total_seconds()
        if after > 0:
            found.late.append(after)
        if after > EFFECT_DELAY.total_seconds():
            found.violations.append(f"case {case_ref}: effect {after:.3f} s after the withdrawal")
    found.never = len(facts.ended.keys() - first.keys())
    found.before = sum(at <= facts.ended[case] for case, at in first.items())


def _is_content(resource: Mapping[str, Any]) -> bool:
    codes = [c.get("code") for c in resource.get("code", {}).get("coding", [])]
    return resource["resourceType"] != "Task" or "erase" not in codes


def _authorised_late(found: Judged, facts: Facts) -> None:
    for one in facts.disclosures:
        ended = facts.ended.get(one.case_ref)
        if ended is not None and one.at > ended + LEAF_STEP:
            found.violations.append(f"case {one.case_ref}: authorised after the withdrawal")
        if one.state == "open":
            found.violations.append(f"case {one.case_ref}: an intent without outcome")


def _erased(found: Judged, facts: Facts) -> None:
    """Whatever reached the recipient is gone there, and every past recipient has answered."""
    held: dict[tuple[str, str], str] = {}
    for record in facts.journal:
        if record["kind"] == "effect":
            held |= {
                (r["resourceType"], r["id"]): record["key"]
                for r in record["resources"]
                if _is_content(r)
            }
        for kind, rid in record.get("removed", ()):
            held.pop((kind, rid), None)
    left = {facts.case_of_key.get(key) for key in held.values()} & facts.ended.keys()
    found.violations += [f"case {case}: the recipient still holds something" for case in left]
    reached = {
        one.case_ref
        for one in facts.disclosures
        if one.state != "not_sent" and one.case_ref in facts.ended
    }
    for case_ref in sorted(reached, key=str):
        kinds = [leaf["kind"] for leaf in facts.leaves.get(case_ref, ())]
        if "erasure_requested" not in kinds or "erasure_reported" not in kinds:
            found.violations.append(f"case {case_ref}: no request to erase, or no answer to it")


def _asked(found: Judged, facts: Facts, modes: Mapping[UUID, str]) -> None:
    first: dict[UUID, datetime] = {}
    for record in facts.journal:
        case_ref = facts.case_of_key.get(record.get("key", ""))
        if record["kind"] == "call" and record["path"] == "/fhir/Task" and case_ref is not None:
            first.setdefault(case_ref, datetime.fromisoformat(record["at"]))
    for case_ref, at in first.items():
        if case_ref in facts.ended and modes.get(case_ref) == "calm":
            found.asked.append((at - facts.ended[case_ref]).total_seconds())


def _nothing_waits(found: Judged, facts: Facts) -> None:
    for case_ref, kind, state in facts.tasks:
        if state in ("queued", "claimed", "held"):
            found.violations.append(f"case {case_ref}: {kind} still {state}")
        kinds = {leaf["kind"] for leaf in facts.leaves.get(case_ref, ())}
        if kind == "content" and state == "suppressed" and "suppressed" not in kinds:
            found.violations.append(f"case {case_ref}: suppressed without a leaf")
    if facts.live_keys:
        found.violations.append(f"{facts.live_keys} keys of withdrawn cases are alive")


async def judge(
    world: World, journal: Iterable[Mapping[str, Any]], modes: Mapping[UUID, str]
) -> Judged:
    """Read the witnesses and judge."""
    return judged(await gather(world, list(journal)), modes)


async def gather(world: World, journal: Sequence[Mapping[str, Any]]) -> Facts:
    """What the witnesses say."""
    rows = await world.admin.fetch(
        "select case_ref, at, body from custody.leaf where case_ref is not null order by id"
    )
    leaves: dict[UUID, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        leaves[row["case_ref"]].append(orjson.loads(row["body"]))
    ended = {
        case_ref: datetime.fromisoformat(leaf["time"])
        for case_ref, found in leaves.items()
        for leaf in found
        if leaf["kind"] == "withdrawn"
    }
    tasks = await world.admin.fetch("select task_id, case_ref, kind, state from delivery.task")
    intents = await world.admin.fetch(
        "select case_ref, referral_ref, at, state from delivery.intent"
    )
    cases = await world.admin.fetch("select case_ref from gateway.case_file")
    return Facts(
        ended=ended,
        case_of_key={str(t["task_id"]): t["case_ref"] for t in tasks},
        disclosures=[Disclosure(**dict(row)) for row in intents],
        journal=journal,
        leaves=leaves,
        tasks=[(t["case_ref"], t["kind"], t["state"]) for t in tasks],
        outcomes=_outcomes(leaves),
        live_keys=await _live_keys(world, list(ended)),
        cases=[row["case_ref"] for row in cases],
    )


def _outcomes(leaves: Mapping[UUID, Sequence[Mapping[str, Any]]]) -> Mapping[str, int]:
    kinds = ("disclosed", "not_sent", "unknown", "suppressed")
    found = (leaf for of_case in leaves.values() for leaf in of_case if leaf["kind"] in kinds)
    return Counter(f"{leaf['kind']} {leaf.get('rule', '')}" for leaf in found)


async def _live_keys(world: World, cases: list[UUID]) -> int:
    conn = await asyncpg.connect(world.pg.vault_admin_dsn)
    try:
        live: int = await conn.fetchval(
            "select count(*) from keys.data_key where case_ref = any($1) and wrapped is not null",
            cases,
        )
        return live
    finally:
        await conn.close()
