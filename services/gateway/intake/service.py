"""One submission from its bytes to its answer: known already, refused, or accepted.

It guards that a repeat gets the stored answer whatever has changed since, that of a refused one
only a keyed digest and the reasons are kept, and that mapping and rules run before anything is
written. How a format is read and answered is `formats`', the batched writing `accept`'s.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg

from connectors.sdk.faults import Fault, Faults
from connectors.sdk.inbound import Context, Mapped
from connectors.sdk.strict import parse_strict
from services.gateway.intake import keys as keying
from services.gateway.intake import store
from services.gateway.intake.accept import AgainError
from services.gateway.intake.build import Incoming
from services.gateway.intake.domain import Asked, Plan, plan
from services.gateway.intake.formats import Format
from services.gateway.intake.records import requisition_mac
from services.kit.batcher import Batcher
from services.kit.db import is_infrastructure_fault
from services.kit.doors import ConsentChangedError
from services.kit.errors import Refused
from services.kit.metrics import Metrics
from services.kit.partners import Partner, Partners

AliasOf = Callable[[str, str, str], Awaitable[UUID | None]]
"""(org, kind of alias, id) → the referral it is, for that organisation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """What would become of a submission; `plan` and `categories` only where it has no fault."""

    faults: tuple[Fault, ...] = ()
    dropped: tuple[str, ...] = ()
    plan: Plan | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Where this hub is: its code, calendar and canonical base."""

    name: str
    time_zone: str
    canonical_base: str


class Intake:
    """`POST /fhir` and `POST /v1/referrals`."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        partners: Partners,
        accepting: Batcher[Incoming, bytes],
        keys: keying.Keys,
        cell: Cell,
        *,
        examining: Callable[[Incoming], Awaitable[tuple[str, ...]]],
        referral_of: AliasOf,
        clock: Callable[[], datetime],
        metrics: Metrics,
        window_ms: float,
    ) -> None:
        self._pool = pool
        self._partners = partners
        self._accepting = accepting
        self._keys = keys
        self._cell = cell
        self._zone = ZoneInfo(cell.time_zone)
        self._examining = examining
        self._referral_of = referral_of
        self._clock = clock
        self._metrics = metrics
        self._seen: Batcher[tuple[str, bytes], store.Seen | None] = Batcher(
            self._look_up, window_ms
        )

    async def _look_up(self, items: Any) -> list[store.Seen | None]:
        async with self._pool.acquire() as conn:
            return await store.seen(conn, items)

    async def submit(
        self, source: Partner, raw: bytes, header_key: str | None, form: Format
    ) -> bytes:
        """The answer of the format; Refused (or an infrastructure fault) otherwise."""
        began, digest = time.monotonic(), None
        try:
            document = parse_strict(raw)
            digest = keying.content_digest(self._keys, source.org, document)
            answer = await self._answer(source, form, document, digest, header_key)
        except Faults as faults:
            raise await self._refused(source.org, raw, digest, Refused(faults.faults)) from None
        except Refused as refused:
            raise await self._refused(source.org, raw, digest, refused) from None
        except (AgainError, ConsentChangedError, asyncpg.UniqueViolationError):
            self._metrics.inc("cauce_submissions_total", result="conflict", code="none")
            raise Refused.of("transient", "unavailable", retry_after=1) from None
        except Exception as error:
            kind = "transient" if is_infrastructure_fault(error) else "exception"
            self._metrics.inc("cauce_submissions_total", result="failed", code=kind)
            raise
        self._metrics.observe("cauce_accept_seconds", time.monotonic() - began)
        return answer

    async def examine(self, source: Partner, raw: bytes, form: Format) -> Examined:
        """A dry run: the same reading, rules and decision; nothing is stored, not even a fault."""
        try:
            item = await self._incoming(source, form, parse_strict(raw), b"", b"")
            categories = await self._examining(item)
        except (Faults, Refused) as refused:
            return Examined(faults=refused.faults)
        return Examined(dropped=item.dropped, plan=item.plan, categories=categories)

    async def _answer(
        self,
        source: Partner,
        form: Format,
        document: dict[str, Any],
        digest: bytes,
        header_key: str | None,
    ) -> bytes:
        mac = self._mac(source, form, document, header_key)
        seen = await self._seen((source.org, mac))
        if seen is not None:
            known = known_answer(seen, digest)
            if known is not None:
                self._metrics.inc("cauce_submissions_total", result="repeated", code="none")
                return known
        item = await self._incoming(source, form, document, mac, digest)
        answer = await self._accepting(item)
        self._metrics.inc("cauce_submissions_total", result="accepted", code="none")
        return answer

    def _mac(
        self, source: Partner, form: Format, document: dict[str, Any], header_key: str | None
    ) -> bytes:
        given = form.key_of(document)
        return keying.submission_mac(self._keys, source.org, header_key, given)

    async def _incoming(
        self, source: Partner, form: Format, document: dict[str, Any], mac: bytes, digest: bytes
    ) -> Incoming:
        now, cell = self._clock(), self._cell
        mapped = form.read(document, Context(source.org, now, cell.time_zone, cell.canonical_base))
        submission = mapped.submission
        referral = submission.referral
        return Incoming(
            submission_ref=uuid4(),
            source=source.org,
            key_mac=mac,
            digest=digest,
            attempt=uuid4(),
            format=form,
            requisition_mac=requisition_mac(self._keys, source.org, submission.case.requisition),
            submission=submission,
            bundle_identifier=mapped.bundle_identifier,
            entries=mapped.entries,
            dropped=mapped.dropped,
            plan=await self._plan(source, mapped, now),
            replaces=await self._other(source.org, form.other, referral.replaces, form.replaces),
            onward_of=await self._other(source.org, form.other, referral.onward_of, form.onward_of),
            now=now,
        )

    async def _plan(self, source: Partner, mapped: Mapped, now: datetime) -> Plan:
        referral = mapped.submission.referral
        known = await self._partners.all()
        entries = await self._partners.entries()
        return plan(
            Asked(
                submission=mapped.submission,
                source=source,
                recipient=known.get(referral.to_org or ""),
                entry=entries.get(referral.directory_entry or ""),
                known_orgs=frozenset(known) | {self._cell.name},
                now=now,
                zone=self._zone,
            )
        )

    async def _other(self, org: str, kind: str, name: str | None, field: str) -> UUID | None:
        """The referral that the sender names by an id of its own."""
        if name is None:
            return None
        found = await self._referral_of(org, kind, name)
        if found is None:
            raise Refused.of("reference-invalid", "target", field)
        return found

    async def _refused(
        self, org: str, raw: bytes, digest: bytes | None, refused: Refused
    ) -> Refused:
        """Keep the digest and the reasons; nothing else is known of it from here on."""
        first = refused.faults[0]
        self._metrics.inc("cauce_submissions_total", result="refused", code=first.code)
        if first.code not in ("in-progress", "transient"):
            kept = digest or keying.body_digest(self._keys, org, raw)
            reasons = sorted({f"{fault.code}/{fault.rule}" for fault in refused.faults})
            async with self._pool.acquire() as conn:
                await store.refuse(conn, uuid4(), org, kept, reasons)
        return refused


def known_answer(seen: store.Seen, digest: bytes) -> bytes | None:
    """The stored answer; None when the attempt that held the key has died."""
    if seen.digest != digest and not (seen.running and seen.stale):
        raise Refused.of("duplicate", "other-content")
    if seen.answer is not None:
        return seen.answer
    if not seen.stale:
        raise Refused.of("in-progress", "running", retry_after=1)
    return None
