"""The whole state machine by FHIR, natively and by webhook: one table, one outcome, one refusal.

What a party may do is read from `transitions.csv`; how it is written by FHIR from the table of
`wire.md` §5, which stands here a second time so that the hub's own is not believed.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from connectors.fhir_r4.status import task_views
from connectors.sandbox.samples import BASE
from services.gateway.native.commands import COMMANDS
from services.kit.settings import Settings
from services.referral.domain import DRAFT, Transition, machine
from tests.support import servers
from tests.support.bundles import concept
from tests.support.gateway_world import edge
from tests.support.machine import MISSED, OUTCOME, PATHS, REASON, Driver, Ref, Said, driver

pytestmark = pytest.mark.asyncio(loop_scope="module")
PARTIES = ("sender", "recipient")
HUB_ONLY = ("send", "discard", "confirm_delivery", "report_delivery_failure", "expire", "revoke")
NATIVE_ONLY = frozenset({"resend", "give_up"})
Pair = tuple[str, str]
WRITES: Mapping[str, Mapping[Pair, tuple[tuple[str, ...], ...]]] = {
    "recipient": {
        ("received", ""): (("start_review",),),
        ("received", "in-review"): (("start_review",),),
        ("received", "awaiting-information"): (
            ("request_information",),
            ("start_review", "request_information"),
        ),
        ("accepted", ""): (("accept",), ("refuse_cancel",)),
        ("rejected", ""): (("reject",),),
        ("in-progress", ""): (
            ("start_service",),
            ("resume",),
            ("accept", "start_service"),
            ("refuse_cancel",),
        ),
        ("in-progress", "visit-scheduled"): (
            ("schedule",),
            ("reschedule",),
            ("accept", "schedule"),
            ("refuse_cancel",),
        ),
        ("in-progress", "no-show"): (("appointment_missed",),),
        ("on-hold", ""): (("pause",),),
        ("completed", ""): (("complete",), ("accept", "complete")),
        ("failed", ""): (("close_without_service",),),
        ("cancelled", ""): (("confirm_cancel",),),
    },
    "sender": {
        ("requested", ""): (("resubmit",),),
        ("cancelled", ""): (("cancel",),),
        ("entered-in-error", ""): (("mark_error",),),
    },
}
"""`wire.md` §5: what a party writes (status, businessStatus) and the commands it may mean."""
OTHERS: tuple[Pair, ...] = (
    ("draft", ""),
    ("requested", "delivery-failed"),
    ("in-progress", "cancellation-requested"),
    ("cancelled", "consent-withdrawn"),
    ("cancelled", "deadline-passed"),
    ("completed", "visit-scheduled"),
)
"""Writes that are no party's to make."""


@dataclass(frozen=True)
class Move:
    """A transition that a party may make from a state."""

    state: str
    role: str
    row: Transition

    @property
    def codes(self) -> dict[str, str]:
        """The codes it needs; an outcome is told with every completion."""
        told = {"reason": ("reason_code", REASON), "outcome": ("outcome", OUTCOME)}
        told["appointment"] = ("appointment_outcome", MISSED)
        needs = set(self.row.needs - {"consent"})
        needs |= {"outcome"} if self.row.id == "T43" else set()
        return dict(told[name] for name in sorted(needs))

    @property
    def write(self) -> Pair | None:
        """What is written by FHIR for it; None where it is native only or an abort Task."""
        pairs = WRITES[self.role].items()
        return next((pair for pair, paths in pairs if (self.row.command,) in paths), None)


MOVES = tuple(
    Move(state, role, row)
    for (state, _), row in sorted(machine().items())
    for role in PARTIES
    if role in row.actors and state != DRAFT
)


def elements(pair: Pair, codes: Mapping[str, str]) -> dict[str, Any]:
    """The elements of a Task by which a party says this."""
    found: dict[str, Any] = {"status": pair[0]}
    if pair[1]:
        found["businessStatus"] = coded("business-status", pair[1])
    if "reason_code" in codes:
        found["statusReason"] = coded("referral-reason-code", codes["reason_code"])
    if "outcome" in codes:
        outcome = coded("referral-outcome", codes["outcome"])
        found["output"] = [
            {"type": coded("task-output", "outcome"), "valueCodeableConcept": outcome}
        ]
    return found


def coded(system: str, code: str) -> dict[str, Any]:
    return concept(f"{BASE}/CodeSystem/{system}", code)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def drive(settings: Settings, pg: servers.Databases) -> AsyncIterator[Driver]:
    names = ("vault", "consent", "gateway", "referral", "delivery")
    async with edge(settings, pg.admin_dsn, names) as world:
        yield await driver(world)


async def test_the_tables_of_this_test_hold_every_command_and_nothing_of_the_hubs() -> None:
    commands = {move.row.command for move in MOVES}
    assert commands == COMMANDS
    assert not commands & set(HUB_ONLY)
    by_fhir = {
        c for writes in WRITES.values() for paths in writes.values() for p in paths for c in p
    }
    assert by_fhir | NATIVE_ONLY | {"request_cancel"} == COMMANDS
    assert set(PATHS) | {DRAFT} == {state for state, _ in machine()} | {"entered_in_error"}


async def test_every_move_of_a_party_comes_to_the_same_by_every_surface(drive: Driver) -> None:
    ways = [(move, way) for move in MOVES for way in ways_of(move)]
    refs = await drive.make([move.state for move, _ in ways])
    said = await drive.all(go(drive, one, *way) for one, way in zip(refs, ways, strict=True))
    wrong = [
        (m.row.id, m.state, w, s) for (m, w), s in zip(ways, said, strict=True) if s.http >= 300
    ]
    assert wrong == []
    seen = await drive.all(drive.seen(one) for one in refs)
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for (move, way), one, found in zip(ways, refs, seen, strict=True):
        expect(move, one, found)
        same = first.setdefault((move.state, move.row.command), found)
        assert found == same, (move.row.id, move.state, way)


def ways_of(move: Move) -> tuple[str, ...]:
    """By which surfaces a move can be made."""
    command = move.row.command
    abort = command == "request_cancel" or (command == "cancel" and move.write is not None)
    fhir = ("patch", "put") if move.write is not None else ()
    assert fhir or abort or command in NATIVE_ONLY
    return ("native", "hook", *fhir, *(("abort",) if abort else ()))


async def go(drive: Driver, one: Ref, move: Move, way: str) -> Said:
    """Make the move."""
    command, codes = move.row.command, move.codes
    if way == "native":
        return await drive.native(one, move.role, command, codes)
    if way == "hook":
        return await drive.hook(one, move.role, command, codes)
    if way == "abort":
        return await drive.abort(one)
    assert move.write is not None
    written = elements(move.write, codes)
    if way == "patch":
        return await drive.patch(one, move.role, written)
    return await drive.put(one, move.role, written, await drive.task(one, move.role))


def expect(move: Move, one: Ref, found: Mapping[str, Any]) -> None:
    """What the table says of this move, whatever the surface."""
    row = move.row
    target = "scheduled" if row.target == "before_cancel" else row.target
    (event,) = found["events"]
    assert event["type"] == row.event
    if row.event == "referral.status_changed":
        told = (event["transition"], event["from_status"], event["to_status"], event["synthesised"])
        assert told == (row.id, move.state, target, False)
    for role in PARTIES:
        view = found[role]["view"]
        assert (view["status"], view["version"]) == (target, one.version + 1)
        assert found[role]["task"]["status"] == task_views()[target].task_status
        assert found[role]["steps"][-1]["version"] == one.version + 1


async def test_what_is_not_a_partys_to_do_is_refused_by_every_surface(drive: Driver) -> None:
    refs = dict(zip(PATHS, await drive.make([*PATHS]), strict=True))
    before = await drive.digest()
    tried = [
        (("native", state, role, name), refuse(state, role, name), drive.native, refs[state])
        for state in PATHS
        for role in PARTIES
        for name in (*sorted(COMMANDS), *(c for c in HUB_ONLY if (state, c) in machine()))
    ]
    tried += [(("hook", *key[1:]), rule, drive.hook, one) for key, rule, _, one in tried]
    tried = [case for case in tried if case[1] is not None]
    codes = {"reason_code": REASON, "outcome": OUTCOME, "appointment_outcome": MISSED}
    said = await drive.all(do(one, key[2], key[3], codes) for key, _, do, one in tried)
    wrong = [
        (key, found, rule)
        for (key, rule, _, _), found in zip(tried, said, strict=True)
        if found != rule
    ]
    assert wrong == []
    assert await drive.digest() == before


def refuse(state: str, role: str, command: str) -> Said | None:
    """How a command is refused; None where it may be given."""
    if command in HUB_ONLY:
        return Said(422, "code-invalid", "not-in-list")
    row = machine().get((state, command))
    if row is None:
        return Said(422, "illegal-transition", "from-state")
    return None if role in row.actors else Said(422, "illegal-transition", "not-yours")


async def test_what_is_written_by_fhir_is_the_move_it_stands_for_or_nothing(drive: Driver) -> None:
    refs = dict(zip(PATHS, await drive.make([*PATHS]), strict=True))
    before = await drive.digest()
    codes = {"reason_code": REASON, "outcome": OUTCOME}
    written = {pair for writes in WRITES.values() for pair in writes} | {*OTHERS}
    said: dict[tuple[str, str, str, Pair], Said] = {}
    for state, one in refs.items():
        for role in PARTIES:
            shown = await drive.task(one, role)
            for way in ("patch", "put"):
                pairs = [
                    p for p in sorted(written) if not path_of(state, role, meant(state, p, way))
                ]
                asked = [elements(pair, codes) for pair in pairs]
                answers = await drive.all(
                    drive.patch(one, role, a) if way == "patch" else drive.put(one, role, a, shown)
                    for a in asked
                )
                for pair, answer in zip(pairs, answers, strict=True):
                    said[way, state, role, pair] = answer
    wrong = [
        (key, found)
        for key, found in said.items()
        if found != answered(key[1], key[2], meant(key[1], key[3], key[0]))
    ]
    assert wrong == []
    assert await drive.digest() == before


def meant(state: str, pair: Pair, way: str) -> Pair:
    """What a write says: in a whole Task, a businessStatus left as it was read says nothing."""
    view = task_views()[state]
    kept = way == "put" and pair[1] == view.business_status and pair[0] != view.task_status
    return (pair[0], "") if kept else pair


def path_of(state: str, role: str, pair: Pair) -> tuple[str, ...] | None:
    """The commands that a write means in a state; None where it means none."""
    for path in WRITES[role].get(pair, ()):
        at = state
        for command in path:
            row = machine().get((at, command))
            if row is None or role not in row.actors:
                break
            at = row.target
        else:
            return path
    return None


def answered(state: str, role: str, pair: Pair) -> Said:
    """The answer to a write that means no move."""
    view = task_views()[state]
    if pair[0] == view.task_status and pair[1] in ("", view.business_status):
        return Said(200)
    other = WRITES["sender" if role == "recipient" else "recipient"]
    theirs = pair in other and pair not in WRITES[role]
    return Said(422, "illegal-transition", "not-yours" if theirs else "from-state")


async def test_what_skips_steps_takes_each_and_says_so(drive: Driver) -> None:
    skips = [
        (state, pair, path)
        for state in PATHS
        for pair in WRITES["recipient"]
        if (path := path_of(state, "recipient", pair)) and len(path) == 2
    ]
    assert len(skips) == 10
    refs = await drive.make([state for state, _, _ in skips])
    codes = {"reason_code": REASON, "outcome": OUTCOME}
    for (state, pair, path), one in zip(skips, refs, strict=True):
        needed = codes if path[-1] in ("complete", "request_information") else {}
        said = await drive.patch(one, "recipient", elements(pair, needed))
        assert said.http == 200, (state, pair, said)
        seen = await drive.seen(one)
        first, last = seen["events"]
        assert first["transition"] == machine()[state, path[0]].id
        assert (first["synthesised"], last.get("synthesised", False)) == (True, False)
        assert last["type"] == machine()[machine()[state, path[0]].target, path[1]].event
        for role in PARTIES:
            assert seen[role]["view"]["version"] == one.version + 2


async def test_an_abort_asks_for_what_the_state_allows_or_is_refused(drive: Driver) -> None:
    states = [s for s in PATHS if not {"cancel", "request_cancel"} & commands_of(s, "sender")]
    refs = await drive.make(states)
    before = await drive.digest()
    said = await drive.all(drive.abort(one) for one in refs)
    assert {*said} == {Said(422, "illegal-transition", "from-state")}
    theirs = await drive.all(drive.abort(one, "recipient") for one in refs)
    assert {s.http for s in theirs} == {403}
    assert await drive.digest() == before


def commands_of(state: str, role: str) -> set[str]:
    return {m.row.command for m in MOVES if (m.state, m.role) == (state, role)}


async def test_a_move_without_its_code_or_on_an_old_version_is_none(
    drive: Driver,
) -> None:
    refs = dict(zip(PATHS, await drive.make([*PATHS]), strict=True))
    before = await drive.digest()
    cases: list[tuple[str, Move, Ref, Said]] = []
    for move in MOVES:
        one = refs[move.state]
        stale = replace(one, version=one.version + 1)
        bare = replace(move, row=replace(move.row, needs=frozenset()))
        for way in ways_of(move):
            if way != "abort":
                cases.append((way, move, stale, STALE[way]))
                lacking = sorted(move.row.needs & {*LACKING})
                cases += [(way, bare, one, Said(422, *LACKING[need])) for need in lacking]
    said = await drive.all(go(drive, one, move, way) for way, move, one, _ in cases)
    wrong = [
        (way, move.row.id, move.state, found)
        for (way, move, _, expected), found in zip(cases, said, strict=True)
        if found != expected
    ]
    assert wrong == []
    assert await drive.digest() == before


STALE = {
    "native": Said(409, "conflict", "expected-version"),
    **{way: Said(412, "conflict", "version") for way in ("hook", "patch", "put")},
}
LACKING = {
    "reason": ("reason-required", "status-reason"),
    "outcome": ("outcome-required", "output"),
}


async def test_a_move_that_rests_on_consent_is_none_once_it_is_taken_back(drive: Driver) -> None:
    moves = [move for move in MOVES if "consent" in move.row.needs]
    assert {move.row.id for move in moves} == {"T05", "T08", "T09", "T14", "T46"}
    refs = await drive.make([move.state for move in moves])
    await drive.all(drive.take_back(one) for one in refs)
    before = await drive.digest()
    for move, one in zip(moves, refs, strict=True):
        for way in ways_of(move):
            said = await go(drive, one, move, way)
            assert said == Said(403, "suppressed", "consent"), (move.row.id, way, said)
    assert await drive.digest() == before
