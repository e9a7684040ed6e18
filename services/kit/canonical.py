"""Canonical JSON (RFC 8785): what is hashed or signed has one form only."""

from typing import Any

import rfc8785


def canonical(value: Any) -> bytes:
    """The canonical bytes of a JSON value (dict, list, str, int, float, bool, None).

    ValueError for anything else, an integer above 2**53 or a NaN among it.
    """
    try:
        return bytes(rfc8785.dumps(value))
    except rfc8785.CanonicalizationError:
        raise ValueError("not representable as canonical JSON") from None
