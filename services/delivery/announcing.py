"""What is said by webhook, and saying it: a referral that came, its changes, a request to erase.

It guards that a message has the receiver's own ids and times alone, that nothing of the vault is in
it, and that an endpoint which said it is gone is not called again before the partner's record is a
new one. Whether a referral may be announced is `authority`'s, when, the worker's.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from uuid import UUID

from connectors.sdk.errors import Reject
from connectors.webhook.client import GONE
from connectors.webhook.mapping import Note
from services.delivery import notifications
from services.delivery.erasures import Erasure
from services.delivery.notifications import Queued
from services.kit.aliases import alias, own_instant
from services.kit.partners import Partner
from services.kit.ports.referral import ReferralState

if TYPE_CHECKING:
    from services.delivery.worker import Parts

FRESH_SECONDS: Final = 2.0
_PLACE: Final = {notifications.AMENDED: "/data"}
"""Where a message sends its receiver, below the referral."""


class Announcer:
    """Tells partners by webhook."""

    def __init__(self, parts: "Parts", monotonic: Callable[[], float]) -> None:
        self._parts = parts
        self._monotonic = monotonic
        self._gone: dict[str, int] = {}
        self._read_at = float("-inf")

    async def tell(
        self,
        partner: Partner,
        note: Note,
        *,
        deadline: float | None = None,
        on_write: Callable[[], None] | None = None,
    ) -> None:
        """Send one message; raises as the connector, `webhook-gone` without a call once gone."""
        if await self.is_gone(partner):
            raise Reject(GONE)
        try:
            await self._parts.links.tell(
                partner, note, self._parts.clock(), deadline=deadline, on_write=on_write
            )
        except Reject as error:
            if error.rule == GONE:
                await self._mark(partner)
            raise

    async def is_gone(self, partner: Partner) -> bool:
        """Whether the endpoint of this record said that it is gone."""
        if self._monotonic() - self._read_at >= FRESH_SECONDS:
            self._gone = await notifications.gone(self._parts.pool)
            self._read_at = self._monotonic()
        return self._gone.get(partner.org) == partner.version

    async def _mark(self, partner: Partner) -> None:
        await notifications.mark_gone(self._parts.pool, partner.org, partner.version)
        self._gone[partner.org] = partner.version
        self._parts.log.warning("webhook-gone", org=partner.org, version=partner.version)

    def sent(self, mark: UUID, state: ReferralState) -> Note:
        """A referral came; its data is where `href` says."""
        org, ref = state.to_org, state.referral_ref
        key = self._parts.frame.alias_key
        own = alias(key, "task", ref, org)
        return Note(
            mark=mark,
            type="cauce.referral.sent",
            subject=str(own),
            at=own_instant(key, ref, state.version, org, state.updated_at),
            href=f"{self._parts.links.url}/v1/referrals/{own}/data",
            said={"version": state.version, "status": state.status},
        )

    def changed(self, queued: Queued) -> Note:
        """A referral changed or waits for an answer, or a service of the directory changed."""
        if queued.entry is not None:
            return self._entry_changed(queued, queued.entry)
        own = alias(self._parts.frame.alias_key, "task", queued.subject, queued.org)
        said: dict[str, str | int] = {"version": queued.version, "status": queued.status}
        if queued.stage is not None and queued.owed_by is not None:
            said |= {"stage": queued.stage, "owed_by": queued.owed_by}
        return Note(
            mark=queued.notification_id,
            type=queued.type,
            subject=str(own),
            at=queued.at,
            href=f"{self._parts.links.url}/v1/referrals/{own}{_PLACE.get(queued.type, '')}",
            said=said,
        )

    def _entry_changed(self, queued: Queued, entry: str) -> Note:
        said: dict[str, str | int] = {"version": queued.version, "status": queued.status}
        if queued.capacity is not None:
            said["capacity"] = queued.capacity
        return Note(
            mark=queued.notification_id,
            type=queued.type,
            subject=entry,
            at=queued.at,
            href=f"{self._parts.links.url}/v1/directory/services/{entry}",
            said=said,
        )

    def erasure(self, erasure: Erasure) -> Note:
        """Something is to be deleted; what, is among the receiver's requests."""
        key, mark = self._parts.frame.alias_key, erasure.task_id
        own = alias(key, "task", erasure.referral_ref, erasure.to_org)
        return Note(
            mark=mark,
            type="cauce.erasure.requested",
            subject=str(mark),
            at=own_instant(key, mark, erasure.round, erasure.to_org, self._parts.clock()),
            href=f"{self._parts.links.url}/v1/erasure-requests",
            said={"referral": str(own)},
        )
