"""Canonical JSON (RFC 8785): what is hashed or signed has one form only.

The reference library is exact and slow. orjson gives the same bytes for nearly everything that the
hub signs; where the two could differ (floats, integers of 16 digits and more, keys that UTF-16
sorts otherwise, a null that was NaN) the reference library decides. A test compares them.
"""

import re
from typing import Any

import orjson
import rfc8785

# Begins with a plain set of bytes, which is searched for ten times as fast as an alternative.
_NUMBER = re.compile(rb"[:\[,](?:(?<=\":)|(?<=[\[,]))-?[0-9]+(?:[.eE]|[0-9]{15})")
_WIDE = re.compile(rb"[\xf0-\xf7]")
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def canonical(value: Any) -> bytes:
    """The canonical bytes of a JSON object or array.

    ValueError for a value that JSON does not know, an integer above 2**53 or a NaN among it.
    """
    try:
        quick = orjson.dumps(value, option=_OPTIONS)
    except TypeError:
        return _exact(value)
    if isinstance(value, dict | list) and not _may_differ(quick):
        return quick
    return _exact(value)


def _may_differ(quick: bytes) -> bool:
    if b"null" in quick or _NUMBER.search(quick) is not None:
        return True
    return not quick.isascii() and _WIDE.search(quick) is not None


def _exact(value: Any) -> bytes:
    try:
        return bytes(rfc8785.dumps(value))
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError):
        raise ValueError("not representable as canonical JSON") from None
