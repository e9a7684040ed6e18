"""Bytes of a partner's JSON to a dictionary, or a refusal by rule.

Guards everything behind it from what JSON parsers disagree on or choke on: encodings, duplicate
keys, numbers that are none, lone surrogates, depth, size. It leaves the meaning of the document to
the connectors.
"""

import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from connectors.sdk.faults import Fault, Faults

MAX_INTEGER = 2**53 - 1
"""Largest integer that every JSON reader holds exactly (RFC 8785 §3.2.2.3)."""
BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
SUSPECT = re.compile(rb"\\u(?:0000|[dD][89abAB])")
"""An escape that may be U+0000 or half of a pair: only then is every string looked at."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one document may hold."""

    size: int = 1_048_576
    depth: int = 40
    entries: int = 50


DEFAULT = Limits()


def _refuse(rule: str, code: str = "malformed", field: str = "") -> NoReturn:
    raise Faults([Fault(code, field, rule)])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("duplicate-key")
    return found


def _integer(text: str) -> int:
    if len(text) > 17:
        _refuse("number-range")
    number = int(text)
    if abs(number) > MAX_INTEGER:
        _refuse("number-range")
    return number


def _decimal(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse("number-range")
    return number


def _constant(_: str) -> NoReturn:
    _refuse("not-a-number")


DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_integer,
    parse_float=_decimal,
    parse_constant=_constant,
)


def _text(raw: bytes, limits: Limits) -> str:
    if len(raw) > limits.size:
        _refuse("size", "too-large")
    if raw.startswith(BYTE_ORDER_MARKS):
        _refuse("byte-order-mark")
    text = None
    with suppress(UnicodeDecodeError):
        text = raw.decode("utf-8")
    if text is None:  # raised out here: the decoding error holds the bytes
        _refuse("utf8")
    return text


def _decode(text: str) -> Any:
    rule, value, end = "", None, 0
    try:
        value, end = DECODER.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
    except RecursionError:
        rule = "depth"
    except json.JSONDecodeError:
        rule = "json"
    if rule:  # raised out here: the decoding error holds the document
        _refuse(rule)
    if text[end:].strip(" \t\r\n"):
        _refuse("trailing-data")
    return value


def _check_depth(document: dict[str, Any], depth: int) -> None:
    level: list[Any] = [document]
    for _ in range(depth):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    _refuse("depth")


def _check_text(text: str) -> None:
    if "\0" in text:
        _refuse("nul-character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        _refuse("lone-surrogate")


def _check_strings(document: dict[str, Any]) -> None:
    stack: list[Any] = [document]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            _check_text(node)
        elif isinstance(node, dict):
            stack.extend(node)
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def parse_strict(raw: bytes, limits: Limits = DEFAULT) -> dict[str, Any]:
    """The JSON object in `raw`; raises `Faults` with one rule (code `malformed` or `too-large`)."""
    document = _decode(_text(raw, limits))
    if not isinstance(document, dict):
        _refuse("object")
    _check_depth(document, limits.depth)
    if SUSPECT.search(raw):
        _check_strings(document)
    entries = document.get("entry")
    if isinstance(entries, list) and len(entries) > limits.entries:
        _refuse("entries", "too-large", "Bundle.entry")
    return document
