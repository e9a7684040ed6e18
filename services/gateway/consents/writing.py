"""What is done to a consent that the hub holds, whatever the surface it came by.

It guards that less is a withdrawal and more a new version of a newer date, that only its source
changes it, and that a repeat under one key changes nothing. Reading bodies is each surface's; the
record itself is consent's.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from connectors.sdk.types import Consent as Given
from services.gateway.consents.domain import Part, compare
from services.gateway.intake.keys import Keys
from services.gateway.intake.records import CONFIDENTIALITY, consent_record
from services.kit import doors
from services.kit.bases import record_fault
from services.kit.crypto import hmac_sha256, uuid4_from
from services.kit.doors import ConsentChangedError, ConsentNotStorableError, consent_hold
from services.kit.errors import Refused
from services.kit.partners import Partners
from services.kit.ports.consent import Consent, ConsentRecord, Withdrawal, Withdrawn

TRIES: Final = 3
LIVE: Final = frozenset({"given", "renewed"})


class ConsentWriter:
    """Withdraws and renews."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        consent: Consent,
        partners: Partners,
        keys: Keys,
        *,
        cell: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._consent = consent
        self._partners = partners
        self._keys = keys
        self._cell = cell
        self._clock = clock

    async def held(self, consent_ref: UUID) -> ConsentRecord:
        """The record as it stands; Refused when there is none."""
        found = (await self._consent.read([consent_ref]))[0]
        if found is None:
            raise Refused.of("not-found", "resource")
        return found

    async def live(self, consent_ref: UUID, version: int, conflict: str) -> ConsentRecord:
        """A record that still permits something, at this version; `conflict` names the refusal."""
        found = await self.held(consent_ref)
        if found.status not in LIVE:
            raise Refused.of("already-inactive", "consent")
        if found.version != version:
            raise Refused.of("conflict", conflict)
        return found

    async def withdraw(
        self,
        consent_ref: UUID,
        *,
        by_org: str,
        key: str | None,
        status: str = "withdrawn",
        items: Sequence[Part] = (),
    ) -> Withdrawn:
        """Take back the whole, or these parts; Refused when there is nothing to take back."""
        parts = (b"withdraw", by_org.encode(), consent_ref.bytes, (key or str(uuid4())).encode())
        asked = Withdrawal(
            command_id=uuid4_from(hmac_sha256(self._keys.index, *parts)),
            consent_ref=consent_ref,
            by_org=by_org,
            status=status,
            items=tuple(items),
        )
        done = (await self._consent.withdraw([asked]))[0]
        if done.already:
            raise Refused.of("already-inactive", "consent")
        if done.rule == "unknown-item":
            raise Refused.of("not-found", "consent-item")
        if done.rule == "command-reused":
            raise Refused.of("duplicate", "other-content")
        if done.rule is not None:
            raise Refused.of("not-found", "resource")
        return done

    async def replace(
        self, old: ConsentRecord, given: Given, *, org: str, key: str | None
    ) -> Withdrawn | None:
        """Make `given` the next version; less than before is a withdrawal, which is answered."""
        known = await self._partners.all()
        if {item.to_org for item in given.items} - {None, self._cell} - known.keys():
            raise Refused.of("consent-actor", "unknown-organization")
        made = consent_record(
            given,
            keys=self._keys,
            org=org,
            consent_ref=old.consent_ref,
            case_ref=old.case_ref,
            now=self._clock(),
        )
        new = _renewed(made, old)
        changes = compare(old.rules, new.rules)
        if changes.removed and not changes.widened and not changes.other:
            return await self.withdraw(old.consent_ref, by_org=org, key=key, items=changes.removed)
        if not changes.widened and not changes.other and not changes.removed:
            return None
        if changes.removed or new.given_at <= old.given_at:
            raise Refused.of("consent-widening", "new-consent")
        await self._renew(new)
        return None

    async def _renew(self, new: ConsentRecord) -> None:
        """Store it on the version the case has now; somebody faster means reading that again."""
        if record_fault(new) is not None:
            raise Refused.of("consent-basis", "basis")
        for _ in range(TRIES):
            given = doors.Given(
                record=new,
                expected=await self._case_version(new.case_ref),
                correlation_id=uuid4(),
                confidentiality=CONFIDENTIALITY,
                now=self._clock(),
            )
            try:
                async with self._pool.acquire() as conn, conn.transaction():
                    await doors.consent_record(conn, [given])
            except ConsentChangedError:
                continue
            except ConsentNotStorableError:
                raise Refused.of("consent-widening", "new-consent") from None
            return
        raise Refused.of("transient", "unavailable", retry_after=1)

    async def _case_version(self, case_ref: UUID) -> int:
        async with self._pool.acquire() as conn, conn.transaction():
            return (await consent_hold(conn, [case_ref]))[case_ref].version


def _renewed(made: ConsentRecord, old: ConsentRecord) -> ConsentRecord:
    """The new version: whoever gave it before gave it again."""
    fields = {name: getattr(made, name) for name in made.__dataclass_fields__}
    giver = old.giver if made.giver in ("self", "other") else made.giver
    return ConsentRecord(**{**fields, "status": "renewed", "giver": giver})
