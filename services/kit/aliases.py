"""The ids by which each organisation knows our things: its own, random to it, shared with nobody.

Pure. It guards that two organisations cannot join what they hold by an id, and that the gateway
(which stores them at accept) and delivery (which sends them) derive the same. `ref` is the
referral for `task` and `service_request`, the consent for `consent`, the subject for `patient`, the
case for `case`; a recipient's Patient id comes from the vault, which alone knows its pseudonym.
"""

from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from services.kit.crypto import hmac_sha256, uuid4_from

AliasKind = Literal["task", "service_request", "consent", "patient", "bundle", "case"]


def alias(key: bytes, kind: AliasKind, ref: UUID, org: str) -> UUID:
    """The id (version 4 in form) of one thing at one organisation."""
    return _derived(key, kind, ref, org)


@lru_cache(maxsize=8192)  # apart, since a cached function has lost its types; the same ids recur
def _derived(key: bytes, kind: str, ref: UUID, org: str) -> UUID:
    return uuid4_from(hmac_sha256(key, b"alias", kind.encode(), ref.bytes, org.encode()))


def own_day(at: datetime, zone: ZoneInfo) -> datetime:
    """The day of an instant, as its first instant there.

    A bare date would be truer, but FHIR compares `Task.authoredOn` with `lastModified` (inv-1), and
    a date is neither before nor after an instant of that day. A second less, since `own_instant`
    may be that much earlier.
    """
    day = (at - timedelta(seconds=1)).astimezone(zone).date()
    return datetime.combine(day, time(), zone)


def own_instant(key: bytes, referral_ref: UUID, version: int, org: str, at: datetime) -> datetime:
    """When a referral changed, as its recipient may know it (decision 0009).

    Referrals of one case change in one moment (a withdrawal ends them all), which would join two
    recipients: each sees it earlier by a part of a second of its own. Never later, so that a search
    for what changed since then finds more and not less.
    """
    mark = f"{referral_ref} {version} {org}".encode()
    own = int.from_bytes(hmac_sha256(key, b"changed", mark)[:4], "big")
    return at - timedelta(microseconds=own % 1_000_000)
