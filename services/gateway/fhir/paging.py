"""Pages: how many, where the next begins, and the links that say so. Pure.

It guards that a cursor shows nothing and serves only the organisation it was given to.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from services.kit import crypto
from services.kit.errors import Refused

MOST: Final = 50
Items = Sequence[tuple[str, str]]


def refuse_parameter() -> None:
    """Say that a parameter is not one we understand."""
    raise Refused.of("not-supported", "parameter")


def singles(items: Items) -> dict[str, str]:
    """Parameters that may stand once each."""
    found = dict(items)
    if len(found) != len(items):
        refuse_parameter()
    return found


def count(text: str | None) -> int:
    """Entries of a page as asked for, at most `MOST`."""
    if text is None:
        return MOST
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= 10_000:
        refuse_parameter()
    return min(MOST, int(text))


def seal(place: Sequence[str | int], org: str, key: bytes) -> str:
    """Where the next page of this organisation begins."""
    plain = orjson.dumps(list(place))
    return base64.urlsafe_b64encode(crypto.aead_seal(key, None, plain, org.encode())).decode()


def unseal(text: str, org: str, key: bytes) -> list[Any]:
    """The place in a cursor of ours; Refused for any other."""
    try:
        sealed = base64.urlsafe_b64decode(text.encode("ascii"))
        place: list[Any] = orjson.loads(crypto.aead_open(key, sealed, org.encode()))
    except (binascii.Error, UnicodeEncodeError, ValueError, crypto.CryptoError):
        raise Refused.of("not-supported", "parameter") from None
    return place


def without(items: Items, names: Iterable[str], known: Callable[[str], object]) -> Items:
    """The parameters but for these that name nothing we know: a link repeats no other text."""
    gone = frozenset(names)
    return [i for i in items if i[0] not in gone or known(i[1].partition("/")[2] or i[1])]


def link(url: str, items: Items) -> str:
    """A search as a link."""
    return f"{url}?{urlencode(items)}" if items else url


def next_link(url: str, items: Items, cursor: str | None) -> str | None:
    """The link to the next page; None when there is none."""
    if cursor is None:
        return None
    return link(url, [*(item for item in items if item[0] != "_cursor"), ("_cursor", cursor)])
