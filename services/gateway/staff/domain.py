"""Who may operate the hub: what a registration must say, and how assertions are judged. Pure.

It guards that a person has an id, an organisation, known roles and one public P-384 key, that an
assertion was made now and for this cell, and that an identity is opened only by two people of two
organisations. Storing them, and the leaf of each change, are `store`'s.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from services.kit.crypto import CryptoError, check_public_jwk
from services.kit.staff import ROLES, StaffMember, known_roles

STAFF_ID: Final = re.compile(r"[a-z][a-z0-9.-]{2,63}")
ORG: Final = re.compile(r"[a-z][a-z0-9-]{2,31}")
PUBLIC_MEMBERS: Final = frozenset({"kty", "crv", "x", "y", "kid", "use", "alg"})
ASSERTION_SECONDS: Final = 300
LEEWAY_SECONDS: Final = 60
JTI: Final = re.compile(r"[\x21-\x7e]{8,128}")
SUBJECT_ACCESS: Final = "subject_access"
"""The person asks what is held on them: the opening is for an access report and nothing else."""
OPENING_REASONS: Final = (
    "correction",
    "court_order",
    "risk_to_life",
    SUBJECT_ACCESS,
    "subject_request",
)
"""Why an identity may be opened outside a grant; closed."""
OPENING_LIFE: Final = timedelta(hours=24)
"""From the request until the identity must have been read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """A person as registered."""

    staff_id: str
    organisation: str
    roles: frozenset[str]
    jwk: Mapping[str, Any]

    @property
    def member(self) -> StaffMember:
        """The person without the key."""
        return StaffMember(staff_id=self.staff_id, organisation=self.organisation, roles=self.roles)


def registration(body: Mapping[str, Any]) -> tuple[Registration | None, list[tuple[str, str]]]:
    """A registration, or its faults as (field, rule)."""
    staff_id, org, roles, jwk = (
        body.get(name) for name in ("staff_id", "organisation", "roles", "jwk")
    )
    faults = [(name, "unknown") for name in sorted(set(body) - _FIELDS)]
    if not isinstance(staff_id, str) or STAFF_ID.fullmatch(staff_id) is None:
        faults.append(("staff_id", "format"))
    if not isinstance(org, str) or ORG.fullmatch(org) is None:
        faults.append(("organisation", "format"))
    if not isinstance(roles, list) or not roles or not ROLES.issuperset(map(str, roles)):
        faults.append(("roles", "code"))
    faults += [("jwk", rule) for rule in _key_faults(jwk)]
    if faults:
        return None, faults
    return (
        Registration(
            staff_id=str(staff_id),
            organisation=str(org),
            roles=known_roles(roles or ()),
            jwk=dict(jwk or {}),
        ),
        [],
    )


_FIELDS: Final = frozenset({"staff_id", "organisation", "roles", "jwk"})


def _key_faults(jwk: object) -> list[str]:
    if not isinstance(jwk, dict):
        return ["required"]
    if set(jwk) - PUBLIC_MEMBERS:
        return ["private-or-unknown-member"]
    try:
        algorithm = check_public_jwk(jwk)
    except CryptoError as error:
        return [error.rule]
    return [] if algorithm == "ES384" else ["algorithm"]


def assertion_fault(
    claims: Mapping[str, Any], staff_id: str, expected_audience: str, now: datetime
) -> str | None:
    """Why an assertion whose signature is right is not taken; None when it is."""
    if not claims.get("iss") == claims.get("sub") == staff_id:
        return "issuer"
    if claims.get("aud") != expected_audience:
        return "audience"
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        return "expiry"
    left = expires - now.timestamp()
    if not -LEEWAY_SECONDS < left <= ASSERTION_SECONDS + LEEWAY_SECONDS:
        return "expiry"
    jti = claims.get("jti")
    return None if isinstance(jti, str) and JTI.fullmatch(jti) else "jti"


def begin_fault(
    *, approved_by: str | None, requested_at: datetime, reason_code: str, wanted: str, now: datetime
) -> str | None:
    """Why an opening may not be carried out as `wanted` (identity, report) now; None: it may."""
    if (reason_code == SUBJECT_ACCESS) != (wanted == "report"):
        return "opening-is-for-report" if wanted == "identity" else "opening-other-reason"
    if now - requested_at > OPENING_LIFE:
        return "opening-expired"
    return "opening-not-approved" if approved_by is None else None


def approval_fault(
    *, requested_by: str, requested_org: str, requested_at: datetime, by: StaffMember, now: datetime
) -> str | None:
    """Why a person may not approve the opening of an identity; None when they may."""
    if now - requested_at > OPENING_LIFE:
        return "opening-expired"
    if by.staff_id == requested_by:
        return "same-person"
    return "same-organisation" if by.organisation == requested_org else None
