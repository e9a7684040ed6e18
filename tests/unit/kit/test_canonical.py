"""Canonical JSON: the quick way and the reference library agree on every value."""

from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from services.kit.canonical import canonical

TEXT = st.text(max_size=8)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9)
LEAVES = st.none() | st.booleans() | TEXT | NUMBERS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
@example({"\U0001f600": 1, "\uffff": 2})
@example({"a": [1.0, -0.0, 1e21, 1e-7]})
@example([9007199254740991, -9007199254740991])
@example({"\x7f": '\x00\x1f\b\t\n\f\r"\\/\u2028'})
def test_it_gives_what_the_reference_library_gives(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value", [{"n": 2**60}, {"n": float("nan")}, ["\ud800"], {1: 2}, [object()], [float("inf")]]
)
def test_what_has_no_canonical_form_is_refused_and_not_repeated(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^not representable as canonical JSON$"):
        canonical(value)
