"""Searches whose parameters come in a body, so that they stand in no URL and no log."""

from typing import Final
from urllib.parse import parse_qsl

from services.gateway.http import Call
from services.kit.errors import Refused

FORM: Final = frozenset({"application/x-www-form-urlencoded"})


async def form(call: Call) -> list[tuple[str, str]]:
    """Parameters in the body of a search."""
    raw = await call.body(FORM)
    try:
        text = raw.decode()
        return parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict")
    except ValueError:
        raise Refused.of("invalid_request", "form") from None
