"""Every refusal, on each of its surfaces: right, in three languages, echoing and keeping nothing.

One play of all cases serves the tests: each changed request is sent between two digests of all
tables and topics (once in each language: as many rows of refusals, and no other change; what does
not touch one another some at once); when all were refused, each request is sent unchanged, and
accepted.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest
from starlette.routing import compile_path

from services.console.local import plan
from services.console.local.place import Place
from services.gateway.documents.refusals import applying
from services.kit.errors import catalogue
from services.kit.settings import Settings
from tests.support.hub import Hub, running_hub
from tests.support.refusals import (
    ALLOWED_HEADERS,
    LANGUAGES,
    Answer,
    Case,
    Played,
    TokenRequest,
    expected,
    full,
    play,
    play_together,
    send,
    simple,
)
from tests.support.refusals_directory import DIRECTORY_CASES, prepare_directory
from tests.support.refusals_fhir import FHIR_CASES, prepare_subscriptions
from tests.support.refusals_fuzz import MARK, assert_no_echo, fuzzed
from tests.support.refusals_native import NATIVE_CASES, NATIVE_DRIVEN, elsewhere, natively
from tests.support.refusals_native_referrals import (
    NATIVE_REFERRAL_CASES,
    prepare_native_referrals,
)
from tests.support.refusals_rules import DRIVEN, RULED, prepare_cases
from tests.support.refusals_task import TASK_CASES, prepare_referrals
from tests.support.refusals_wire import WIRE, use_jti
from tests.support.refusals_world import (
    Digest,
    World,
    content,
    digest,
    quiet,
    registered,
    world,
)
from tests.support.servers import Databases, Kafka
from tests.support.surface import operations

pytestmark = pytest.mark.timeout(300)
AT_ONCE = 16
TOGETHER = (*WIRE, *NATIVE_CASES)
"""Cases that do not touch one another: some are played at once."""
STILL = (*RULED, *TASK_CASES, *FHIR_CASES, *DIRECTORY_CASES, *NATIVE_REFERRAL_CASES)
"""Cases that need no state to be driven to."""
LAST = (*DRIVEN, *NATIVE_DRIVEN)
ALL = (*TOGETHER, *STILL, *LAST)
OF_NO_OPERATION = {("not-found", "path"), ("not-supported-method", "method")}


@dataclass
class DryRuns:
    """Submissions that were only tried, between two digests."""

    answers: list[Answer]
    before: Digest
    after: Digest


@dataclass
class Play:
    """The whole run."""

    cases: dict[str, Played]
    content_before: dict[str, str]
    content_after: dict[str, str]
    dry_runs: DryRuns


@pytest.fixture(scope="module")
def keys(pg: Databases) -> dict[str, bytes]:
    """Keys of the registered partners."""
    return asyncio.run(registered(pg))


@pytest.fixture(scope="module")
def edge(secrets: Place, settings: Settings, keys: dict[str, bytes]) -> Iterator[Hub]:
    """Vault and hub."""
    with running_hub(secrets, settings, (plan.VAULT, plan.HUB)) as running:
        yield running


@pytest.fixture(scope="module")
def played(edge: Hub, pg: Databases, kafka: Kafka, keys: dict[str, bytes]) -> Play:
    """All cases."""
    return asyncio.run(_play(edge, pg, kafka, keys))


async def _play(edge: Hub, pg: Databases, kafka: Kafka, keys: dict[str, bytes]) -> Play:
    done: dict[str, Played] = {}
    async with world(edge, pg, kafka, keys) as w:
        await use_jti(w)
        await prepare_cases(w)
        await prepare_referrals(w)
        await prepare_subscriptions(w)
        await prepare_directory(w)
        await prepare_native_referrals(w)
        requests = {case.name: case.make(w, number) for number, case in enumerate(ALL)}
        await quiet(w)
        before, last = await content(w), None
        for case in STILL:
            done[case.name] = await play(w, case, requests[case.name], last)
            last = done[case.name].after
        for start in range(0, len(TOGETHER), AT_ONCE):
            some = TOGETHER[start : start + AT_ONCE]
            assert last is not None
            played = await play_together(w, some, [requests[case.name] for case in some], last)
            done |= {case.name: one for case, one in zip(some, played, strict=True)}
            last = played[0].after
        dry_runs = await _try(w, last)
        after = await content(w)
        for case in LAST:
            await quiet(w)
            done[case.name] = await play(w, case, requests[case.name])
        for start in range(0, len(ALL), AT_ONCE):
            some = ALL[start : start + AT_ONCE]
            answers = await asyncio.gather(*(send(w, requests[case.name]) for case in some))
            for case, answer in zip(some, answers, strict=True):
                done[case.name].accepted = answer
    return Play(done, before, after, dry_runs)


async def _try(w: World, before: Digest | None) -> DryRuns:
    """Dry runs of good and of refused submissions, by FHIR and natively."""
    assert before is not None
    answers = []
    for number, make in enumerate((full(), simple(), natively(full()), natively(simple()))):
        for wrong in (False, True):
            request = make(w, 30_000 + number)
            request.headers.setdefault("Content-Type", "application/fhir+json")
            request.path = "/v1/validate"
            if wrong:
                request.body["zzqx"] = 1
            answers.append(await send(w, request))
    return DryRuns(answers, before, await digest(w))


@pytest.mark.parametrize("surface", ["fhir", "native"])
def test_every_row_has_a_case_on_each_surface_it_is_marked_for(surface: str) -> None:
    marks = {"native": {"native", "both"}, "fhir": {"fhir", "both", "auth"}}[surface]
    cases = [case for case in ALL if (case.shape == "native") == (surface == "native")]
    wanted = {key for key, row in catalogue().items() if row.surface in marks}
    played_elsewhere = set(elsewhere()) if surface == "native" else set()
    assert {(case.code, case.rule) for case in cases} | played_elsewhere == wanted
    assert {row.surface for row in catalogue().values()} == {"fhir", "native", "both", "auth"}


def test_what_is_played_elsewhere_is_named_there() -> None:
    for (code, _), path in elsewhere().items():
        assert f'"{code}"' in path.read_text(encoding="utf-8"), (code, path)


def test_no_two_cases_have_one_name() -> None:
    assert len({case.name for case in ALL}) == len(ALL)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_one_change_is_refused_and_without_it_the_request_is_accepted(
    case: Case, played: Play
) -> None:
    found = played.cases[case.name]
    for lang in LANGUAGES:
        answer = found.refused[lang]
        assert answer.body == expected(case, answer, lang)
        assert answer.status == catalogue()[case.code, case.rule].http
        assert set(answer.headers) <= ALLOWED_HEADERS
        assert ("retry-after" in answer.headers) == case.retry_after
    assert found.before.changed(found.after) == []
    kept = [f"{one.code}/{one.rule}" for one in found.peers if one.kept for _ in LANGUAGES]
    new = list(found.after.refusals[len(found.before.refusals) :])
    assert sorted(reasons for _, reasons in new) == sorted((reason,) for reason in kept)
    assert found.after.refusals[: len(found.before.refusals)] == found.before.refusals
    assert found.accepted is not None
    assert found.accepted.status < 300, found.accepted.raw


def test_every_refusal_is_told_of_in_the_document_of_its_operation(played: Play) -> None:
    known = [(one, compile_path(one.path)[0]) for one in operations()]
    for case in ALL:
        request = played.cases[case.name].changed
        path = "/oauth/token" if isinstance(request, TokenRequest) else request.path.split("?")[0]
        found = [one for one, at in known if one.method == request.method and at.match(path)]
        told = {(row.code, row.rule) for row in applying(found[0])} if found else OF_NO_OPERATION
        assert (case.code, case.rule) in told, case.name


def test_english_readers_get_another_text(played: Play) -> None:
    for case in ALL:
        found = played.cases[case.name].refused
        assert found["en"].raw not in (found["es"].raw, found["pt"].raw)


def test_not_one_record_of_a_topic_is_new_or_changed(played: Play) -> None:
    assert played.content_before == played.content_after
    assert any(value for value in played.content_before.values())


def test_a_dry_run_tells_all_and_leaves_no_trace(played: Play) -> None:
    runs = played.dry_runs
    assert [answer.status for answer in runs.answers] == [200] * 8
    assert [answer.body["valid"] for answer in runs.answers] == [True, False] * 4
    assert runs.before.changed(runs.after) == []
    assert runs.before.refusals == runs.after.refusals


def test_nothing_unforeseen_was_logged(played: Play, edge: Hub) -> None:
    assert "unforeseen" not in edge.log(plan.HUB)


def test_of_300_random_changes_none_is_an_error_of_ours_or_echoed(
    played: Play, edge: Hub, pg: Databases, kafka: Kafka, keys: dict[str, bytes]
) -> None:
    statuses = asyncio.run(_fuzz(edge, pg, kafka, keys))
    assert statuses[200] > 0
    assert statuses[201] > 0
    assert statuses[400] > 50
    assert statuses[422] > 50
    assert not [status for status in statuses if status >= 500]
    assert MARK not in edge.log(plan.HUB)


async def _fuzz(edge: Hub, pg: Databases, kafka: Kafka, keys: dict[str, bytes]) -> Counter[int]:
    statuses: Counter[int] = Counter()
    random = Random(20_260)
    async with world(edge, pg, kafka, keys) as w:
        for number in range(300):
            request = fuzzed(random, w, 5000 + number, native=number % 3 == 0)
            answer = await send(w, request)
            statuses[answer.status] += 1
            assert_no_echo(request, answer)
    return statuses
