"""Sessions of the people who operate the hub: a short token after a signed assertion.

It guards that a session is no partner token (its key is derived for this use alone), that it ends
after five minutes, and that each duty names the roles that may do it. Who the people are, and
whether they still are, is the gateway's to know.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, get_args

from services.kit.crypto import CryptoError, hkdf, make_token, read_token

SESSION_SECONDS: Final = 300
"""Longest life of a session."""

Role = Literal[
    "operator",
    "coordinator",
    "protection_officer",
    "assembler",
    "lawyer",
    "signer",
    "data_protection_officer",
]
ROLES: Final[frozenset[str]] = frozenset(get_args(Role))

Duty = Literal[
    "staff.read",
    "staff.change",
    "partner.read",
    "partner.change",
    "case.read",
    "log.read",
    "dead.change",
    "custody.read",
    "custody.sign",
    "opening.request",
    "opening.approve",
    "notice.close",
    "consent.withdraw",
]

DUTIES: Final[Mapping[Duty, frozenset[str]]] = MappingProxyType(
    {
        "staff.read": ROLES,
        "staff.change": frozenset({"operator"}),
        "partner.read": ROLES,
        "partner.change": frozenset({"operator"}),
        "case.read": frozenset(
            {"operator", "coordinator", "protection_officer", "data_protection_officer"}
        ),
        "log.read": frozenset({"operator", "coordinator", "data_protection_officer"}),
        "dead.change": frozenset({"operator"}),
        "custody.read": ROLES,
        "custody.sign": frozenset({"operator", "data_protection_officer"}),
        "opening.request": frozenset({"coordinator", "protection_officer"}),
        "opening.approve": frozenset({"protection_officer", "data_protection_officer"}),
        "notice.close": frozenset({"protection_officer"}),
        "consent.withdraw": frozenset({"protection_officer"}),
    }
)
"""What may be done and the roles that may do it; one of them is enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StaffMember:
    """A person who operates the hub, for an organisation, in roles."""

    staff_id: str
    organisation: str
    roles: frozenset[str]

    def may(self, duty: Duty) -> bool:
        """Whether one of the roles allows it."""
        return bool(self.roles & DUTIES[duty])


def audience(cell: str) -> str:
    """What an assertion for a session in this cell must be addressed to."""
    return f"{cell}/admin"


def session_key(token_key: bytes) -> bytes:
    """The key of sessions, apart from that of partners' tokens."""
    return hkdf(token_key, b"staff-session")


def issue_session(key: bytes, member: StaffMember, now: datetime) -> str:
    """A session of this person from now on."""
    claims = {
        "sub": member.staff_id,
        "org": member.organisation,
        "roles": sorted(member.roles),
        "exp": int(now.timestamp()) + SESSION_SECONDS,
    }
    return make_token(key, claims)


def read_session(key: bytes, authorization: str | None, now: datetime) -> StaffMember:
    """Who an `Authorization: Bearer …` header speaks for; CryptoError otherwise."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise CryptoError("token")
    claims = read_token(key, token.strip(), now)
    staff_id, org, roles = claims.get("sub"), claims.get("org"), claims.get("roles")
    if not (isinstance(staff_id, str) and isinstance(org, str) and isinstance(roles, list)):
        raise CryptoError("token")
    return StaffMember(staff_id=staff_id, organisation=org, roles=known_roles(roles))


def known_roles(roles: Iterable[object]) -> frozenset[str]:
    """Those that are roles of ours."""
    return frozenset(role for role in roles if isinstance(role, str) and role in ROLES)
