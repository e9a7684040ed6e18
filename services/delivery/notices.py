"""What delivery does on the directory's log: sources learn that a service they wait on has changed.

It guards that the note is written in the transaction of the event, that only organisations with
open referrals to that service are told, and that a note says no more than the directory does: an
id, two statuses, never a place. Sending is `notifying`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from schemas import DirectoryEntryChanged
from services.delivery.notifications import HORIZON
from services.kit.bus import Received
from services.kit.partners import Partners

TYPES: Final = frozenset({"directory.entry_changed"})
CONSUMER: Final = "delivery-directory"
TOPIC: Final = "cauce.directory"
CHANGED: Final = "cauce.directory.entry_changed"
_WAITING: Final = "select * from referral.waiting_on($1::uuid[])"
_IDS: Final = "select * from gateway.entry_ids($1::uuid[])"
_PUT: Final = """
insert into delivery.notification (notification_id, org, channel, side, type, subject, version,
    status, capacity, entry, at)
select i, o, 'webhook', 'from', $9, r, v, u, c, e, a
from unnest($1::uuid[], $2::text[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::text[],
    $8::timestamptz[]) with ordinality q(i, o, r, v, u, c, e, a, n)
order by n
"""


class Notices:
    """Handles the events of `TYPES`."""

    def __init__(self, partners: Partners, clock: Callable[[], datetime]) -> None:
        self._partners = partners
        self._clock = clock

    async def handle(self, conn: Any, received: Sequence[Received]) -> None:
        """Queue a note for each organisation that waits on a service which changed."""
        changed = newest([item.event for item in received], self._clock() - HORIZON)
        partners = await self._partners.all()
        told = {org for org, one in partners.items() if one.webhook is not None}
        if not changed or not told:
            return
        waiting = await conn.fetch(_WAITING, sorted(changed))
        ids = {row["entry_ref"]: row["id"] for row in await conn.fetch(_IDS, sorted(changed))}
        notes = [
            _note(changed[row["entry_ref"]], row["org"], ids[row["entry_ref"]])
            for row in waiting
            if row["org"] in told and row["entry_ref"] in ids
        ]
        if notes:
            await conn.execute(
                _PUT, *(list(column) for column in zip(*notes, strict=True)), CHANGED
            )


def newest(events: Sequence[object], since: datetime) -> Mapping[UUID, DirectoryEntryChanged]:
    """The last word of each entry; what is older than `since` is told to nobody any more."""
    return {
        event.entry_ref: event
        for event in events
        if isinstance(event, DirectoryEntryChanged) and event.occurred_at >= since
    }


def _note(event: DirectoryEntryChanged, org: str, entry: str) -> tuple[Any, ...]:
    status, capacity = event.directory_status, event.capacity_status
    return uuid4(), org, event.entry_ref, event.version, status, capacity, entry, event.occurred_at
