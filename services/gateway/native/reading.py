"""Small readings that the native surface shares: a body's members, query parameters, cursors.

Pure. It guards that a member nobody knows, one of another type and a code of no list are refused
by name and rule, and that nothing submitted is told back.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from connectors.sdk.strict import parse_strict
from schemas.codes import is_code
from services.gateway.fhir.paging import refuse_parameter, seal, unseal
from services.gateway.http import JSON, Call
from services.kit.errors import Refused

MOST: Final = 50
After = tuple[datetime, UUID]


async def members(call: Call, known: Iterable[str]) -> Mapping[str, Any]:
    """The members of a JSON body, all of them known ones and none null."""
    return checked(parse_strict(await call.body(frozenset({JSON}))), known)


def checked(document: Mapping[str, Any], known: Iterable[str]) -> Mapping[str, Any]:
    """A document whose members are all known ones and none null."""
    if set(document) - set(known):
        raise Refused.of("structure", "unknown-element", "")
    for name in known:
        if name in document and document[name] is None:
            raise Refused.of("structure", "null-value", name)
    return document


def text(document: Mapping[str, Any], name: str) -> str:
    """A member that must be there, as text."""
    if name not in document:
        raise Refused.of("required", "element", name)
    if not isinstance(document[name], str):
        raise Refused.of("structure", "wrong-type", name)
    return str(document[name])


def number(document: Mapping[str, Any], name: str) -> int:
    """A member that must be there, as a whole number."""
    if name not in document:
        raise Refused.of("required", "element", name)
    if not isinstance(document[name], int) or isinstance(document[name], bool):
        raise Refused.of("structure", "wrong-type", name)
    return int(document[name])


def code(document: Mapping[str, Any], name: str, enum: str) -> str | None:
    """A member that may be there, a code of its list."""
    if name not in document:
        return None
    found = text(document, name)
    if not is_code(enum, found):
        raise Refused.of("code-invalid", "not-in-list", name)
    return found


def codes(given: str | None, known: Iterable[str]) -> tuple[str, ...]:
    """The codes of a query parameter, comma between them; none given, none named."""
    wanted = () if given is None else tuple(sorted(set(given.split(","))))
    if set(wanted) - set(known):
        refuse_parameter()
    return wanted


def instant(given: str | None) -> datetime | None:
    """An instant with its zone in a query parameter."""
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise Refused.of("not-supported", "parameter") from None
    if at.tzinfo is None:
        refuse_parameter()
    return at


def limit(given: str | None) -> int:
    """Entries of a page, 1 to `MOST`."""
    if given is None:
        return MOST
    if not (given.isascii() and given.isdigit() and len(given) < 4 and 1 <= int(given) <= MOST):
        refuse_parameter()
    return int(given)


def make_cursor(list_name: str, place: After, org: str, key: bytes) -> str:
    """Where the next page of this list begins for this organisation."""
    return seal([list_name, place[0].isoformat(), str(place[1])], org, key)


def open_cursor(list_name: str, given: str | None, org: str, key: bytes) -> After | None:
    """The place in a cursor of ours of the same list; Refused for any other."""
    if given is None:
        return None
    try:
        named, at, ref = unseal(given, org, key)
        place = datetime.fromisoformat(at), UUID(ref)
    except (TypeError, ValueError):
        raise Refused.of("not-supported", "parameter") from None
    if named != list_name:
        refuse_parameter()
    return place


def tag_of(body: bytes) -> str:
    """The entity tag of an answer."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def has_it(call: Call, tag: str) -> bool:
    """Whether the caller has this very answer already."""
    given = call.request.headers.get("if-none-match", "")
    return tag in (one.strip().removeprefix("W/") for one in given.split(","))
