"""One submission from its bytes to its answer: known already, refused, or accepted.

It guards that a repeat gets the stored answer whatever has changed since, that of a refused one
only a keyed digest and the reasons are kept, and that mapping and rules run before anything is
written. The batched writing is `accept`'s, HTTP is `fhir`'s.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg

from connectors.fhir_r4.mapping import Context, Mapped, to_submission
from connectors.sdk.faults import Faults
from connectors.sdk.strict import parse_strict
from services.gateway.intake import keys as keying
from services.gateway.intake import store
from services.gateway.intake.accept import AgainError
from services.gateway.intake.build import Incoming
from services.gateway.intake.domain import Asked, plan
from services.gateway.intake.records import requisition_mac
from services.kit.batcher import Batcher
from services.kit.db import is_infrastructure_fault
from services.kit.doors import ConsentChangedError
from services.kit.errors import Refused
from services.kit.metrics import Metrics
from services.kit.partners import Partner, Partners

AliasOf = Callable[[str, str], Awaitable[UUID | None]]
"""(org, ServiceRequest id) → the referral it is, for that organisation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Where this hub is: its code, calendar and canonical base."""

    name: str
    time_zone: str
    canonical_base: str


class Intake:
    """`POST /fhir`."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        partners: Partners,
        accepting: Batcher[Incoming, bytes],
        keys: keying.Keys,
        cell: Cell,
        *,
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
        self._referral_of = referral_of
        self._clock = clock
        self._metrics = metrics
        self._seen: Batcher[tuple[str, bytes], store.Seen | None] = Batcher(
            self._look_up, window_ms
        )

    async def _look_up(self, items: Any) -> list[store.Seen | None]:
        async with self._pool.acquire() as conn:
            return await store.seen(conn, items)

    async def submit(self, source: Partner, raw: bytes, header_key: str | None) -> bytes:
        """The transaction-response; Refused (or an infrastructure fault) otherwise."""
        began, digest = time.monotonic(), None
        try:
            bundle = parse_strict(raw)
            digest = keying.content_digest(self._keys, source.org, bundle)
            answer = await self._answer(source, bundle, digest, header_key)
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

    async def _answer(
        self, source: Partner, bundle: dict[str, Any], digest: bytes, header_key: str | None
    ) -> bytes:
        mac = keying.submission_mac(self._keys, source.org, header_key, bundle)
        seen = await self._seen((source.org, mac))
        if seen is not None:
            known = _known(seen, digest)
            if known is not None:
                self._metrics.inc("cauce_submissions_total", result="repeated", code="none")
                return known
        now = self._clock()
        mapped = to_submission(
            bundle, Context(source.org, now, self._cell.time_zone, self._cell.canonical_base)
        )
        item = await self._incoming(source, mapped, mac, digest, now)
        answer = await self._accepting(item)
        self._metrics.inc("cauce_submissions_total", result="accepted", code="none")
        return answer

    async def _incoming(
        self, source: Partner, mapped: Mapped, mac: bytes, digest: bytes, now: datetime
    ) -> Incoming:
        submission = mapped.submission
        referral = submission.referral
        known = await self._partners.all()
        entries = await self._partners.entries()
        planned = plan(
            Asked(
                submission=submission,
                source=source,
                recipient=known.get(referral.to_org or ""),
                entry=entries.get(referral.directory_entry or ""),
                known_orgs=frozenset(known) | {self._cell.name},
                now=now,
                zone=self._zone,
            )
        )
        return Incoming(
            submission_ref=uuid4(),
            source=source.org,
            key_mac=mac,
            digest=digest,
            attempt=uuid4(),
            requisition_mac=requisition_mac(self._keys, source.org, submission.case.requisition),
            submission=submission,
            bundle_identifier=mapped.bundle_identifier,
            entries=mapped.entries,
            dropped=mapped.dropped,
            plan=planned,
            replaces=await self._other(source.org, referral.replaces, "replaces"),
            onward_of=await self._other(source.org, referral.onward_of, "basedOn"),
            now=now,
        )

    async def _other(self, org: str, name: str | None, element: str) -> UUID | None:
        """The referral that a ServiceRequest of the sender's names."""
        if name is None:
            return None
        found = await self._referral_of(org, name)
        if found is None:
            raise Refused.of("reference-invalid", "target", f"ServiceRequest.{element}[0]")
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


def _known(seen: store.Seen, digest: bytes) -> bytes | None:
    """The stored answer; None when the attempt that held the key has died."""
    if seen.digest != digest and not (seen.running and seen.stale):
        raise Refused.of("duplicate", "other-content")
    if seen.answer is not None:
        return seen.answer
    if not seen.stale:
        raise Refused.of("in-progress", "running", retry_after=1)
    return None
