"""Thin callers of the consent service's SQL doors, for transactions of other services.

They guard nothing by themselves: the rules are in `services/consent/schema.sql`. A call takes part
in the caller's transaction and its locks last until that ends; the order is always cursor, own
rows, consent, bus, custody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import orjson

from schemas.codec import encode
from schemas.codes import CODELIST_VERSION
from schemas.models import ConsentGiven
from services.kit.ports.consent import ConsentRecord, ConsentRule

_CHANGED: Final = "P0C02"
_NOT_STORABLE: Final = frozenset({"P0C03", "23514"})


class ConsentChangedError(Exception):
    """The consent of a case changed after the decision: decide again. Nothing was stored."""


class ConsentNotStorableError(Exception):
    """No valid renewal, an emergency without vital interest, or no code where one belongs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Consent of one case, standing still until the transaction ends."""

    case_ref: UUID
    version: int
    """0: the case has no consent yet."""
    valid_to: datetime | None
    """Earliest end of a live permit; None when there is none."""
    at: datetime
    """Database time under the lock: the start of any grant given now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A decided consent to be stored; `expected` is the version the decision was taken on."""

    record: ConsentRecord
    expected: int
    correlation_id: UUID
    confidentiality: str
    now: datetime


async def consent_hold(conn: Any, cases: Sequence[UUID]) -> dict[UUID, Held]:
    """Hold the consent of ≤ 64 cases (shared); a withdrawal waits until the transaction ends."""
    rows = await conn.fetch("select * from consent.hold($1::uuid[])", list(cases))
    return {
        r["case_ref"]: Held(
            case_ref=r["case_ref"], version=r["version"], valid_to=r["valid_to"], at=r["at"]
        )
        for r in rows
    }


async def consent_record(conn: Any, items: Sequence[Given]) -> list[int]:
    """Store ≤ 64 consents with their `consent.given`; answers each case's new version.

    ConsentChangedError or ConsentNotStorableError abort the caller's transaction as a whole.
    """
    events = [encode(_given_event(item)) for item in items]
    try:
        versions = await conn.fetchval(
            "select consent.record($1::jsonb, $2::bigint[], $3::uuid[], $4::int[], $5::bytea[])",
            orjson.dumps([record_json(item.record) for item in items]).decode(),
            [item.expected for item in items],
            [e.event_id for e in events],
            [e.schema_id for e in events],
            [e.body for e in events],
        )
    except asyncpg.PostgresError as error:
        if error.sqlstate == _CHANGED:
            raise ConsentChangedError from None
        if error.sqlstate in _NOT_STORABLE:
            raise ConsentNotStorableError from None
        raise
    return list(versions)


def record_json(record: ConsentRecord) -> dict[str, Any]:
    """The record as the door reads it."""
    return {
        "consent_ref": str(record.consent_ref),
        "case_ref": str(record.case_ref),
        "source_org": record.source_org,
        "status": record.status,
        "legal_basis": record.legal_basis,
        "reason_code": record.reason_code,
        "approver_ref": record.approver_ref,
        "notice": record.notice,
        "language": record.language,
        "form": record.form,
        "giver": record.giver,
        "assent": record.assent,
        "given_at": record.given_at.isoformat(),
        "valid_from": record.valid_from.isoformat(),
        "valid_to": record.valid_to.isoformat(),
        "rules": [rule_json(rule) for rule in record.rules],
    }


def rule_json(rule: ConsentRule) -> dict[str, Any]:
    """One permit or deny as the door reads it."""
    return {
        "decision": rule.decision,
        "purpose": rule.purpose,
        "to_org": rule.to_org,
        "to_kind": rule.to_kind,
        "data_categories": list(rule.data_categories),
        "valid_from": rule.valid_from.isoformat(),
        "valid_to": rule.valid_to.isoformat(),
    }


def _given_event(item: Given) -> ConsentGiven:
    record = item.record
    return ConsentGiven(
        event_id=uuid4(),
        occurred_at=item.now.astimezone(UTC),
        case_ref=record.case_ref,
        source_org=record.source_org,
        correlation_id=item.correlation_id,
        codelist_version=CODELIST_VERSION,
        confidentiality=item.confidentiality,
        consent_ref=record.consent_ref,
        version=item.expected + 1,
        consent_status=record.status,
        legal_basis=record.legal_basis,
        valid_from=record.valid_from,
        valid_to=record.valid_to,
    )
