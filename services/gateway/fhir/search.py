"""Search parameters of Task and the opaque cursor of its pages. Pure.

It guards that an unknown or malformed parameter is refused and that a cursor shows nothing and
serves only the organisation it was given to.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from connectors.fhir_r4.status import task_views
from services.gateway.fhir.paging import count, refuse_parameter, seal, unseal
from services.kit.errors import Refused
from services.kit.ports.referral import ReferralQuery

PARAMETERS: Final = frozenset(
    {"_lastUpdated", "status", "owner", "requester", "_count", "_cursor", "_format"}
)
_STEP: Final = timedelta(microseconds=1)
_ORG: Final = re.compile(r"(?:Organization/)?([a-z][a-z0-9-]{2,31})")
After = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class TaskSearch:
    """A query for the referral service and what is left to compare afterwards."""

    query: ReferralQuery
    owner: str | None
    requester: str | None


def read_search(items: Sequence[tuple[str, str]], org: str, key: bytes) -> TaskSearch:
    """The search in a query string; Refused by `parameter` for anything not understood."""
    single: dict[str, str] = {}
    spans: list[str] = []
    for name, value in items:
        if name not in PARAMETERS:
            refuse_parameter()
        if name == "_lastUpdated":
            spans.append(value)
        elif name in single:
            refuse_parameter()
        else:
            single[name] = value
    since, until = bounds(spans)
    owner, requester = (_org(single.get(name)) for name in ("owner", "requester"))
    side = None
    if owner == org or (requester is not None and requester != org):
        side = "to"
    if requester == org or (owner is not None and owner != org):
        side = "from" if side is None else side
    return TaskSearch(
        ReferralQuery(
            org=org,
            side=side,
            statuses=_statuses(single.get("status")),
            updated_from=since,
            updated_to=until,
            after=open_cursor(single["_cursor"], org, key) if "_cursor" in single else None,
            limit=count(single.get("_count")),
        ),
        owner,
        requester,
    )


def bounds(values: Sequence[str]) -> tuple[datetime | None, datetime | None]:
    """First and last instant that prefixed values of a date parameter leave."""
    since: datetime | None = None
    until: datetime | None = None
    for value in values:
        prefix, at = value[:2], _instant(value[2:])
        if prefix in ("ge", "gt"):
            since = at if prefix == "ge" else at + _STEP
        elif prefix in ("le", "lt"):
            until = at if prefix == "le" else at - _STEP
        else:
            refuse_parameter()
    return since, until


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Refused.of("not-supported", "parameter")
    return at


def _org(text: str | None) -> str | None:
    match = None if text is None else _ORG.fullmatch(text)
    if text is not None and match is None:
        refuse_parameter()
    return match[1] if match else None


def _statuses(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    views = task_views()
    wanted = set(text.split(","))
    if wanted - {view.task_status for view in views.values()}:
        refuse_parameter()
    return tuple(sorted(name for name, view in views.items() if view.task_status in wanted))


def make_cursor(after: After, org: str, key: bytes) -> str:
    """Where the next page of this organisation begins."""
    return seal([after[0].isoformat(), str(after[1])], org, key)


def open_cursor(text: str, org: str, key: bytes) -> After:
    """The place in a cursor of ours; Refused for any other."""
    place = unseal(text, org, key)
    try:
        at, ref = place
        return datetime.fromisoformat(at), UUID(ref)
    except (TypeError, ValueError):
        raise Refused.of("not-supported", "parameter") from None
