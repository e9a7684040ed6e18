"""What a partner is told by webhook: one CloudEvent (1.0, structured JSON). Pure.

It guards that a message is thin: a type, the receiver's own id, version, status, and where to read
the rest with a token, so that what may be seen is decided then. Structured and not binary mode,
because a signature covers the body alone: in binary mode type, subject and time would be headers
that nobody signed. The `id` of the event is the message's idempotency key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal
from uuid import UUID

import orjson

from connectors.sdk.errors import Refuse

CONTENT_TYPE: Final = "application/cloudevents+json"
NoteType = Literal[
    "cauce.referral.sent",
    "cauce.referral.status_changed",
    "cauce.referral.revoked",
    "cauce.referral.answer_due",
    "cauce.referral.data_changed",
    "cauce.erasure.requested",
    "cauce.directory.entry_changed",
]
ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "cauce.referral.sent": frozenset({"version", "status"}),
    "cauce.referral.status_changed": frozenset({"version", "status"}),
    "cauce.referral.revoked": frozenset({"version", "status"}),
    "cauce.referral.answer_due": frozenset({"version", "status", "stage", "owed_by"}),
    "cauce.referral.data_changed": frozenset({"version", "status"}),
    "cauce.erasure.requested": frozenset({"referral", "due"}),
    "cauce.directory.entry_changed": frozenset({"version", "status", "capacity"}),
}
"""Members of `data` beside `id` and `href`, by type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """One message. Ids are the receiver's own; `at` is as the receiver may know it."""

    mark: UUID
    """The same at each repeat: the receiver's idempotency key."""
    type: str
    subject: str
    at: datetime
    href: str
    said: Mapping[str, str | int]


def to_event(note: Note, source: str) -> bytes:
    """The CloudEvent; Refuse for a type or a member that is not in the list."""
    if note.type not in ALLOWED or not note.said.keys() <= ALLOWED[note.type]:
        raise Refuse("webhook-type-unknown", "type")
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": str(note.mark),
            "source": source,
            "type": note.type,
            "subject": note.subject,
            "time": _instant(note.at),
            "datacontenttype": "application/json",
            "data": {"id": note.subject, **note.said, "href": note.href},
        }
    )


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
