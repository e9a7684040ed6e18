"""Bytes → dictionary: every way of being bad JSON has its own rule."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sdk.faults import Faults
from connectors.sdk.strict import Limits, parse_strict
from services.kit.errors import catalogue
from tests.support.bundles import full_bundle


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


BAD = {
    "byte-order-mark": b"\xef\xbb\xbf{}",
    "utf8": b'{"a":"\xff"}',
    "json": b'{"a":',
    "object": b"[]",
    "trailing-data": b"{} {}",
    "depth": nested(41),
    "duplicate-key": b'{"a":{"b":1,"\\u0062":2}}',
    "not-a-number": b'{"a":NaN}',
    "number-range": b'{"a":1e999}',
    "lone-surrogate": b'{"a":"\\ud800"}',
    "nul-character": b'{"a\\u0000":1}',
    "size": b'{"a":"' + b"x" * 1_048_576 + b'"}',
    "entries": json.dumps({"entry": [{}] * 51}).encode(),
}


@pytest.mark.parametrize("rule", BAD)
def test_each_bad_body_has_its_own_rule(rule: Any) -> None:
    with pytest.raises(Faults) as caught:
        parse_strict(BAD[rule])
    (fault,) = caught.value.faults
    assert fault.rule == rule
    assert (fault.code, fault.rule) in catalogue()


@pytest.mark.parametrize(
    "body", [b"-Infinity", b'{"a":9007199254740993}', b'{"a":' + b"9" * 5000 + b"}", b"[" * 100_000]
)
def test_other_hostile_bodies_are_refused(body: Any) -> None:
    with pytest.raises(Faults):
        parse_strict(body)


def test_what_is_just_inside_the_limits_is_taken() -> None:
    assert parse_strict(nested(40))
    assert parse_strict(json.dumps({"entry": [{}] * 50}).encode())
    assert parse_strict(b'{"a":9007199254740991}') == {"a": 2**53 - 1}
    assert parse_strict(b'  {"a":"\\ud83d\\ude00 \\\\u0000"}\n') == {"a": "\U0001f600 \\u0000"}


def test_limits_can_be_narrower() -> None:
    with pytest.raises(Faults):
        parse_strict(b'{"a":[]}', Limits(depth=1))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_dictionary_or_faults(raw: Any) -> None:
    with contextlib.suppress(Faults):
        assert isinstance(parse_strict(raw), dict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_good_json_comes_back_as_it_was(document: Any) -> None:
    kept = "\0" not in json.dumps(document, ensure_ascii=False)
    raw = json.dumps(document).encode()
    if kept and b"\\u0000" not in raw:
        assert parse_strict(raw) == document


def test_it_is_fast() -> None:
    raw = json.dumps(full_bundle()).encode()
    parse_strict(raw)
    best = min(_timed(raw) for _ in range(20))
    assert best < 0.001


def _timed(raw: bytes) -> float:
    start = time.perf_counter()
    parse_strict(raw)
    return time.perf_counter() - start
