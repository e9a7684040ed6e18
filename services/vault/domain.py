"""The vault's rules: who may call what, when a grant lets something out, what a recipient sees.

Pure: no clock, no database, no key file. It guards that content leaves only under a signed grant in
its time, that pseudonyms of two organisations have nothing in common, and that an identity opens
only for two people of two organisations. Storing and sealing are left to `store` and `keystore`.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from services.kit import crypto
from services.kit.ports.vault import Grant, OpeningRequest, SignedGrant

CALLERS: Final[Mapping[str, frozenset[str]]] = {
    "gateway": frozenset({"resolve", "put", "amend", "forget", "keep", "open", "copy", "replay"}),
    "referral": frozenset({"keys"}),
    "delivery": frozenset({"keys", "release", "grants"}),
}
"""Which service may call which method of the port; anything else is refused."""

FACTS_ONLY: Final = frozenset({"statistics"})
"""Purposes whose key seals facts on the log and never opens a record."""

OPENED: Final = ("identity",)
"""What opening an identity shows: who the person is, nothing of what happened to them."""

COPIED_FOR: Final = "subject_access"
"""The one reason for which a whole record is copied: the person asks what is held on them."""

START_LEEWAY: Final = timedelta(seconds=2)
"""How far the clock that stamped a grant may run before the vault's."""

RELEASED: Final = "released"
RULES: Final = frozenset(
    {
        RELEASED,
        "grant-malformed",
        "grant-signature",
        "grant-early",
        "grant-late",
        "grant-too-long",
        "grant-used",
        "quota",
        "version-unknown",
        "key-dead",
        "epoch-missing",
        "approvals",
        "reason",
        "opening-used",
    }
)
"""Why content was or was not given; closed."""
PUT_RULES: Final = frozenset(
    {"key-dead", "subject-changed", "subject-conflict", "attempt-forgotten"}
)
"""Why a record was not stored; closed."""

_GRANT: Final = TypeAdapter(Grant)
_BASE32: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PSEUDONYM_BYTES: Final = 10
_KEY_VERSION: Final = 1
"""Version of the pseudonymisation domain of every organisation."""


@dataclass(frozen=True, slots=True)
class Pseudonym:
    """How one organisation knows a person: a printable name and the id of its Patient."""

    text: str
    patient_id: UUID


def normal(text: str) -> str:
    """An identifier's text as it is compared: NFC, no outer white space, case kept."""
    return unicodedata.normalize("NFC", text).strip()


def identifier_digest(index_key: bytes, org: str, system: str, value: str) -> bytes:
    """The only form in which an identifier is indexed."""
    parts = (org, normal(system), normal(value))
    return crypto.hmac_sha256(index_key, *(part.encode() for part in parts))


def lock_key(*parts: bytes) -> int:
    """A 64-bit advisory lock number for what `parts` name."""
    return int.from_bytes(crypto.sha256(crypto.joined(*parts))[:8], "big", signed=True)


def check_grant(
    signed: SignedGrant, public_key: bytes, now: datetime, longest: timedelta
) -> Grant | str:
    """The grant when its signature and times hold at `now`, else the rule that forbids it."""
    if not crypto.verify_ed25519(public_key, signed.grant, signed.signature):
        return "grant-signature"
    try:
        grant = _GRANT.validate_json(signed.grant)
    except ValidationError:
        return "grant-malformed"
    if grant.start.tzinfo is None or grant.deadline.tzinfo is None or not grant.categories:
        return "grant-malformed"
    if grant.deadline - grant.start > longest:
        return "grant-too-long"
    return timely(grant, now) or grant


def timely(grant: Grant, now: datetime) -> str | None:
    """None while the grant may be used, else the rule."""
    if grant.start > now + START_LEEWAY:
        return "grant-early"
    return "grant-late" if now >= grant.deadline else None


def pseudonym(pseudonym_key: bytes, subject: UUID, org: str) -> Pseudonym:
    """The same for the same person and organisation; unrelated between organisations."""
    info = crypto.joined(b"pseudonym", org.encode(), str(_KEY_VERSION).encode())
    key = crypto.hkdf(pseudonym_key, info)
    patient_id = crypto.uuid4_from(crypto.hmac_sha256(key, b"patient", subject.bytes))
    return Pseudonym(printable(crypto.hmac_sha256(key, b"text", subject.bytes)), patient_id)


def printable(mac: bytes) -> str:
    """80 bits as `PE-XXXX-XXXX-XXXX-XXXX-C`, C the check character: readable over a telephone."""
    number = int.from_bytes(mac[:_PSEUDONYM_BYTES], "big")
    text = "".join(_BASE32[number >> shift & 31] for shift in range(75, -1, -5))
    groups = (text[start : start + 4] for start in range(0, 16, 4))
    return "-".join(("PE", *groups, check_character(text)))


def check_character(text: str) -> str:
    """Luhn's rule over the 32 letters: finds any one wrong letter and swapped neighbours."""
    total = 0
    for place, letter in enumerate(reversed(text)):
        value = _BASE32.index(letter) * (2 if place % 2 == 0 else 1)
        total += value // 32 + value % 32
    return _BASE32[-total % 32]


def check_opening(request: OpeningRequest) -> str | None:
    """None when two people of two organisations approve for a reason, else the rule."""
    people = {person for person, _ in request.approvers}
    organisations = {org for _, org in request.approvers}
    given = len(request.approvers) == len(people) == len(organisations) == 2
    named = all(person and org for person, org in request.approvers)
    return None if given and named and request.reason_code else "approvals"


def check_copy(request: OpeningRequest) -> str | None:
    """None when an opening allows the copy of a whole record, else the rule."""
    return check_opening(request) or (None if request.reason_code == COPIED_FOR else "reason")


@dataclass(frozen=True, slots=True)
class Person:
    """What identifies the person of one record: the digests in the order given, and the guess."""

    org: str
    digests: tuple[bytes, ...]
    seen: UUID | None


class Identities:
    """Who holds which identifier, as read under the lock of all of them, plus what a batch adds."""

    def __init__(self, known: Mapping[tuple[str, bytes], UUID]) -> None:
        self._holders = dict(known)
        self.new_subjects: list[UUID] = []
        self.new_identifiers: list[tuple[str, bytes, UUID]] = []

    def subject_of(self, person: Person, fresh: UUID) -> UUID | None:
        """The person's subject, `fresh` for somebody new; None when identifiers disagree.

        Nothing is added when it is not the one the caller saw. Two subjects are never made one
        here, and a case's person is not given identifiers of which none is theirs (a mistyped
        case number would make two people one): both are a person's decision.
        """
        holders = {self._holders.get((person.org, digest)) for digest in person.digests} - {None}
        if len(holders) > 1:
            return None
        if person.seen is not None and person.digests and not holders:
            return fresh  # not the one the caller saw
        subject = next(iter(holders), None) or person.seen or fresh
        if person.seen not in (None, subject):
            return subject  # the caller decides again: nothing is added
        if not holders:
            self.new_subjects.append(subject)
        for digest in person.digests:
            if (person.org, digest) not in self._holders:
                self._holders[person.org, digest] = subject
                self.new_identifiers.append((person.org, digest, subject))
        return subject


def dead_to(rows: Sequence[tuple[int, bool]]) -> int:
    """Highest dead version among `(version, dead)` rows; -1 when none has died."""
    return max((version for version, dead in rows if dead), default=-1)
