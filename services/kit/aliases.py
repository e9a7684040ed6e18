"""The ids by which each organisation knows our things: its own, random to it, shared with nobody.

Pure. It guards that two organisations cannot join what they hold by an id, and that the gateway
(which stores them at accept) and delivery (which sends them) derive the same. `ref` is the
referral for `task` and `service_request`, the consent for `consent`, the subject for `patient`; a
recipient's Patient id comes from the vault instead, which alone knows its pseudonym.
"""

from typing import Literal
from uuid import UUID

from services.kit.crypto import hmac_sha256, uuid4_from

AliasKind = Literal["task", "service_request", "consent", "patient", "bundle"]


def alias(key: bytes, kind: AliasKind, ref: UUID, org: str) -> UUID:
    """The id (version 4 in form) of one thing at one organisation."""
    return uuid4_from(hmac_sha256(key, b"alias", kind.encode(), ref.bytes, org.encode()))
