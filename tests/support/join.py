"""What two recipients receive, recorded in front of each, and attempts to join it.

A recorder stands before a recipient's server and keeps every header, path and leaf value that
reaches it; what the recipient reads at the hub is added. `shared` is the plain join; `linked` is
an attack by codes, sizes and whatever values two messages have in common.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import orjson
from aiohttp import web

UUIDS: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DAY: Final = re.compile(r"^\d{4}(-\d{2}(-\d{2}(T00:00:00-05:00)?)?)?$|^\d{1,4}$")
"""Calendar days, bare or as their first instant in the cell (which says no more); versions of a
referral and numbers of a subscription's events, which are small.
"""
INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)")
"""An instant finer than a second: two recipients have some in common by chance."""
USUAL: Final = 0.95
TOLD: Final = "/told"
"""Where a recipient's subscription is told."""
TRANSPORT: Final = frozenset(
    {"content-length", "transfer-encoding", "connection", "date", "webhook-timestamp"}
)
"""Headers of the connection itself. `Date` and `webhook-timestamp` are the hub's clock, in seconds:
when a message arrives, which is left open. Sizes are clues of the attack below."""
VERSION: Final = re.compile(r'W/"\d+"')
"""An ETag that is a version number."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One request that a recipient got, or one answer that it was given."""

    headers: Mapping[str, str]
    path: str
    body: Any
    size: int


@dataclass(kw_only=True)
class Recorder:
    """Everything one recipient has seen."""

    org: str
    messages: list[Message] = field(default_factory=list)

    def values(self) -> set[str]:
        """Every leaf value, header value, path segment, and every id inside any of them."""
        found: set[str] = set()
        for one in self.messages:
            texts = [*leaves(_told(one.body)), *_parts(one.path)]
            headers = {k: v for k, v in one.headers.items() if k.lower() not in TRANSPORT}
            texts += [v for v in headers.values() if not VERSION.fullmatch(v)]
            for text in texts:
                found.add(text)
                found.update(UUIDS.findall(text))
        return found

    def contents(self) -> Iterator[Message]:
        """Bundles that brought a referral or changed one."""
        for one in self.messages:
            if isinstance(one.body, dict) and one.body.get("type") == "transaction":
                yield one


def _told(body: Any) -> Any:
    """A notification without the time when it was made, in seconds: as `Date`, when it arrives."""
    if isinstance(body, dict) and body.get("resourceType") == "Bundle":
        return {name: value for name, value in body.items() if name != "timestamp"}
    return body


def _parts(path: str) -> Iterator[str]:
    """Segments of a path and, of its query, each value and the system and value of a token."""
    parsed = urlsplit(path)
    yield from parsed.path.split("/")
    for _, value in parse_qsl(parsed.query):
        yield from (value, *value.split("|"))


def leaves(node: Any) -> Iterator[str]:
    """The leaf values of a JSON document; keys are FHIR's."""
    if isinstance(node, dict):
        for value in node.values():
            yield from leaves(value)
    elif isinstance(node, list):
        for value in node:
            yield from leaves(value)
    elif isinstance(node, str):
        yield node
    elif node is not None and not isinstance(node, bool):
        yield str(node)


@asynccontextmanager
async def listening(recorder: Recorder) -> AsyncIterator[str]:
    """A server of a recipient that only listens; answers its address."""

    async def take(request: web.Request) -> web.Response:
        _keep(recorder, request.headers, request.path_qs, await request.read())
        return web.Response(status=204)

    app = web.Application(client_max_size=1 << 22)
    app.router.add_route("*", "/{tail:.*}", take)
    async with _served(app) as base:
        yield base


@asynccontextmanager
async def _served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def recording(recorder: Recorder, upstream: str) -> AsyncIterator[str]:
    """A server in front of `upstream`; answers its address."""
    async with aiohttp.ClientSession() as session:

        async def forward(request: web.Request) -> web.Response:
            raw = await request.read()
            headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
            _keep(recorder, request.headers, request.path_qs, raw)
            if request.path.startswith(TOLD):  # of a subscription, which the server knows not
                return web.Response(status=204)
            url = upstream + request.path_qs
            try:
                async with session.request(
                    request.method, url, data=raw, headers=headers
                ) as answer:
                    body, kind = await answer.read(), answer.content_type
                    return web.Response(body=body, status=answer.status, content_type=kind)
            except aiohttp.ClientError:
                return web.Response(status=502)

        app = web.Application(client_max_size=1 << 22)
        app.router.add_route("*", "/{tail:.*}", forward)
        async with _served(app) as base:
            yield base


def _keep(recorder: Recorder, headers: Mapping[str, str], path: str, raw: bytes) -> None:
    try:
        body = orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError:
        body = raw.decode(errors="replace")
    recorder.messages.append(Message(headers=dict(headers), path=path, body=body, size=len(raw)))


def shared(one: Recorder, other: Recorder, codes: frozenset[str]) -> set[str]:
    """Values both have seen, apart from codes of closed lists, calendar days and instants."""
    both = one.values() & other.values()
    known = {value for value in both if value in codes or DAY.match(value)}
    return {value for value in both - known if not INSTANT.fullmatch(value)}


def coincidences(one: Recorder, other: Recorder, reach: int = 40) -> tuple[int, float, float]:
    """How many instants both have seen, what chance gives, and its deviation.

    Chance is read from the same instants, those of one moved by 1 to `reach` milliseconds: were the
    same event told at the same instant to both, more would meet without being moved than with it.
    """
    mine, theirs = _instants(one), _instants(other)
    moved = [
        len(mine & {instant + shift for instant in theirs})
        for shift in range(-reach, reach + 1)
        if shift
    ]
    mean = sum(moved) / len(moved)
    spread = (sum((count - mean) ** 2 for count in moved) / len(moved)) ** 0.5
    return len(mine & theirs), mean, spread


def _instants(recorder: Recorder) -> set[int]:
    """Instants finer than a second, in milliseconds."""
    found = {value for value in recorder.values() if INSTANT.fullmatch(value)}
    return {round(datetime.fromisoformat(value).timestamp() * 1000) for value in found}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """All that one recipient knows of one person, under its own pseudonym."""

    person: int
    """Who it is: for the count of hits alone, the attack does not see it."""
    codes: tuple[str, ...]
    sizes: tuple[int, ...]
    """Of its messages, ascending; the last is a first delivery's, which is the largest."""
    values: frozenset[str]


def profiles(
    recorder: Recorder, person_of: Mapping[str, int], codes: frozenset[str]
) -> list[Profile]:
    """One profile a pseudonym; `person_of` tells from our Task id who it is."""
    messages: dict[str, list[Message]] = defaultdict(list)
    people: dict[str, int] = {}
    for one in recorder.contents():
        of = {e["resource"]["resourceType"]: e["resource"] for e in one.body["entry"]}
        pseudonym = of["Patient"]["identifier"][0]["value"]
        messages[pseudonym].append(one)
        if "Task" in of:
            people[pseudonym] = person_of[of["Task"]["identifier"][0]["value"]]
    found = []
    for pseudonym, mine in messages.items():
        values = frozenset(v for one in mine for v in leaves(one.body))
        known = {v for v in values if v in codes or DAY.match(v)}
        facts = {v for one in mine for v in _about(one) if v in known}
        found.append(
            Profile(
                person=people[pseudonym],
                codes=tuple(sorted(facts)),
                sizes=tuple(sorted({one.size for one in mine})),
                values=values - known,
            )
        )
    return found


def _about(message: Message) -> Iterator[str]:
    """What a message says of the person and of the request."""
    for entry in message.body["entry"]:
        if entry["resource"]["resourceType"] in ("Patient", "ServiceRequest"):
            yield from leaves(entry["resource"])


def linked(one: Sequence[Profile], other: Sequence[Profile], chance: random.Random) -> int:
    """How many people the attack links right: by common values, then codes, then like sizes.

    Codes that nearly everybody of a recipient has tell nobody apart and are left out.
    """
    common = _usual(one) | _usual(other)
    left = [(profile, frozenset(profile.codes) - common) for profile in other]
    mine = list(one)
    chance.shuffle(mine)
    hits = 0
    for profile in mine:
        codes = frozenset(profile.codes) - common
        best = max(left, key=lambda c: (*_alike(profile, codes, *c), chance.random()))
        left.remove(best)
        hits += best[0].person == profile.person
    return hits


def _usual(found: Sequence[Profile]) -> frozenset[str]:
    counts = Counter(code for profile in found for code in profile.codes)
    return frozenset(code for code, count in counts.items() if count > USUAL * len(found))


def _alike(
    one: Profile, codes: frozenset[str], other: Profile, others: frozenset[str]
) -> tuple[int, int, int]:
    sizes = abs(one.sizes[-1] - other.sizes[-1])
    return len(one.values & other.values), -len(codes ^ others), -sizes


def allowed_hits(facts: Iterable[tuple[str, ...]]) -> tuple[float, float]:
    """Expected hits, and their deviation, of who knows the facts of each person and no more.

    Among n people with equal facts a guess links one on average, whatever n is; the number of
    right links of a random assignment has variance 1 for n > 1 and 0 for n = 1.
    """
    classes = Counter(facts)
    spread = sum(1 for count in classes.values() if count > 1)
    return float(len(classes)), float(spread) ** 0.5
