"""What a client assertion must say and what may be asked for (SMART Backend Services): pure rules.

It guards that an assertion is about this partner, for this token endpoint, short-lived and named
once, and that no scope goes beyond the partner's roles. Signatures are `kit.crypto`'s.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from services.kit.errors import Refused

LEEWAY: Final = 60
"""Seconds that two clocks may differ."""

LONGEST_ASSERTION: Final = 300
TOKEN_SECONDS: Final = 300
MAX_ASSERTION_CHARS: Final = 8192
MAX_JTI: Final = 255

_READ: Final = {
    "Organization": "rs",
    "HealthcareService": "rs",
    "AuditEvent": "rs",
    "Subscription": "cruds",
    "MeasureReport": "c",
}
SCOPES_OF_ROLE: Final[Mapping[str, Mapping[str, str]]] = {
    "recipient": {
        **_READ,
        "HealthcareService": "rus",
        "Task": "rus",
        "ServiceRequest": "rs",
        "Patient": "rs",
        "Consent": "rs",
    },
    "source": {
        **_READ,
        "Task": "crus",
        "ServiceRequest": "crus",
        "Patient": "crus",
        "Consent": "crus",
    },
}
"""Per role, what may be done with which resource: subsets of `cruds` in that order."""

_SCOPE: Final = re.compile(r"system/([A-Za-z]+)\.(c?r?u?d?s?)")


def claimed_org(assertion: str) -> str:
    """The organisation that an assertion claims to be from; nothing is verified yet."""
    parts = assertion.split(".")
    if len(parts) != 3 or len(assertion) > MAX_ASSERTION_CHARS:
        raise Refused.of("invalid_client", "assertion")
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        raise Refused.of("invalid_client", "assertion") from None
    org = claims.get("iss") if isinstance(claims, dict) else None
    if not isinstance(org, str):
        raise Refused.of("invalid_client", "assertion")
    return org


def check_claims(claims: Mapping[str, Any], org: str, audience: str, now: datetime) -> str:
    """The `jti` of verified claims; Refused by the rule that they break."""
    if claims.get("iss") != org or claims.get("sub") != org:
        raise Refused.of("invalid_client", "subject")
    if claims.get("aud") not in (audience, [audience]):
        raise Refused.of("invalid_client", "audience")
    at, expires = now.timestamp(), _number(claims.get("exp"))
    if expires is None or expires + LEEWAY <= at:
        raise Refused.of("invalid_client", "expired")
    if expires - LEEWAY > at + LONGEST_ASSERTION:
        raise Refused.of("invalid_client", "too-long")
    for name in ("iat", "nbf"):
        if name in claims and (_number(claims[name]) or float("inf")) - LEEWAY > at:
            raise Refused.of("invalid_client", "not-yet")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI:
        raise Refused.of("invalid_client", "jti")
    return jti


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def allowed(roles: Iterable[str]) -> dict[str, str]:
    """Resource → letters of everything a partner with these roles may do."""
    found: dict[str, set[str]] = {}
    for role in roles:
        for resource, letters in SCOPES_OF_ROLE.get(role, {}).items():
            found.setdefault(resource, set()).update(letters)
    return {name: "".join(c for c in "cruds" if c in letters) for name, letters in found.items()}


def granted(wanted: str | None, roles: Iterable[str]) -> str:
    """The scopes of a token: what was asked for, or everything; too much is refused, not cut."""
    most = allowed(roles)
    if wanted is None or not wanted.strip():
        return " ".join(f"system/{name}.{letters}" for name, letters in sorted(most.items()))
    asked = wanted.split()
    for scope in asked:
        match = _SCOPE.fullmatch(scope)
        if match is None or not match[2]:
            raise Refused.of("invalid_scope", "malformed")
        if set(match[2]) - set(most.get(match[1], "")):
            raise Refused.of("invalid_scope", "over-broad")
    return " ".join(asked)


def covers(scope: str, resource: str, letter: str) -> bool:
    """Whether a token's scopes allow one interaction with a resource."""
    for one in scope.split():
        match = _SCOPE.fullmatch(one)
        if match is not None and match[1] == resource and letter in match[2]:
            return True
    return False
