"""Random changes to a referral: values, shapes, bytes and headers, each with a mark to look for."""

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

import orjson

from tests.support.refusals import Answer, Request, full, simple
from tests.support.refusals_native import natively
from tests.support.refusals_world import World

MARK = "zzqxmark"
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**53, 1.5, "", " ", MARK, MARK * 2000, f"urn:uuid:{MARK}",
    f"2026-13-{MARK}",
    [], {}, [[]], [MARK], {MARK: MARK}, {"coding": [{"system": MARK, "code": MARK}]},
    {"reference": f"Patient/{MARK}"}, {"extension": [{"url": MARK, "valueString": MARK}]},
    f"<div>{MARK}</div>", f"../../{MARK}", f"{MARK}' or 1=1 --", "\u202e" + MARK, "\x7f\x01" + MARK,
)  # fmt: skip
HEADERS = ("Idempotency-Key", "Accept-Language", "Prefer", "X-Request-Id", "If-None-Exist")


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value in a document."""
    keys = node if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], dict | list):
            yield from places(node[key])


def fuzzed(random: Random, world: World, number: int, *, native: bool = False) -> Request:
    """A referral with one to three random changes."""
    make = random.choice((full(), simple(), full(minor=True)))
    request: Request = (natively(make) if native else make)(world, number)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        random.choice((_value, _value, _value, _remove, _add, _move, _header))(random, request)
    if random.random() < 0.15:
        _bytes(random, request)
    return request


def _value(random: Random, request: Request) -> None:
    node, key = random.choice(list(places(request.body)))
    node[key] = copy.deepcopy(random.choice(VALUES))


def _remove(random: Random, request: Request) -> None:
    node, key = random.choice(list(places(request.body)))
    del node[key]


def _add(random: Random, request: Request) -> None:
    node, _ = random.choice(list(places(request.body)))
    value = copy.deepcopy(random.choice(VALUES))
    if isinstance(node, dict):
        node[random.choice((MARK, "_birthDate", "extension", "contained", "meta", "id"))] = value
    else:
        node.append(value)


def _move(random: Random, request: Request) -> None:
    """A value of one place stands in another."""
    found = list(places(request.body))
    (node, key), (other, there) = random.choice(found), random.choice(found)
    node[key] = copy.deepcopy(other[there])


def _header(random: Random, request: Request) -> None:
    request.headers[random.choice(HEADERS)] = random.choice((MARK, MARK * 40, f"{MARK};q=x", "es"))


def _bytes(random: Random, request: Request) -> None:
    raw = bytearray(orjson.dumps(request.body))
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(raw))
        raw[at : at + random.choice((0, 1))] = random.choice((b"\x00", b"\xff", b"{", b'"', b"]"))
    request.body = bytes(raw)


def assert_no_echo(request: Request, answer: Answer) -> None:
    """Neither the mark nor anything of the person is in the answer."""
    told = answer.raw.decode() + repr(answer.headers)
    assert MARK not in told
    person = {"Leocadia", "Prudencia", "5550142", "5550199", "000123", "pasaportes", "Aleros"}
    assert not [word for word in person if word in told]
