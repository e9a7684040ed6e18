"""A partner organisation and its directory entries, as values. Pure.

It guards nothing but the shape that every service shares (`wire.md` §8); reading the registry in
time is `kit.partners`, checking a record is the gateway's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any

from services.kit.entry import Entry, read_entry

__all__ = ["Agreement", "Connector", "Entry", "Partner", "Webhook", "read_partner"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """What was signed: period (both days included), purposes, categories, service types."""

    ref: str
    valid_from: date
    valid_to: date
    purposes: frozenset[str]
    categories: frozenset[str]
    service_types_out: frozenset[str]
    """What the partner may refer to others."""
    service_types_in: frozenset[str]
    """What the partner takes from others."""
    erasure_days: int
    transfer_mechanism: str | None = None
    """What allows a transfer to another country; None: none was recorded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Connector:
    """How to reach the partner's system; `answers` is `patch` (it writes to us) or `poll`."""

    name: str
    base_url: str
    token_url: str
    client_id: str
    answers: str
    mapping_version: int
    scope: str = ""
    """What is asked for at its token endpoint; empty: what our calls need."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """Where a partner takes webhooks, and how they and its answers are signed."""

    url: str = field(repr=False)
    scheme: str
    """v1a: with our own key, its answers with one of `public_keys`; v1: with a shared secret."""
    public_keys: tuple[str, ...] = ()
    """Its keys as `whpk_…`; two while they change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partner:
    """A partner organisation (`wire.md` §8)."""

    org: str
    version: int
    name: str
    alias: str
    """Neutral name under which it appears where its own would reveal the phenomenon."""
    org_type: str
    country: str
    language: str
    roles: frozenset[str]
    agreement: Agreement
    connector: Connector | None
    jwks: Mapping[str, Any] = field(repr=False)
    transport: str
    requests_per_minute: int | None
    concurrency: int | None
    labels: frozenset[str]
    status: str
    services: tuple[Entry, ...]
    webhook: Webhook | None = None

    def in_force(self, day: date) -> bool:
        """Whether the partner is active and its agreement covers this day."""
        agreed = self.agreement.valid_from <= day <= self.agreement.valid_to
        return self.status == "active" and agreed

    def entry(self, entry_id: str) -> Entry | None:
        """Its directory entry of that id."""
        return next((e for e in self.services if e.id == entry_id), None)


def read_partner(org: str, version: int, record: Mapping[str, Any]) -> Partner:
    """A partner from its stored record, which the gateway checked when it was registered."""
    connector = record.get("connector")
    return Partner(
        org=org,
        version=version,
        name=record["name"],
        alias=record["alias"],
        org_type=record["org_type"],
        country=record["country"],
        language=record["language"],
        roles=frozenset(record["roles"]),
        agreement=_agreement(record["agreement"]),
        connector=Connector(**connector) if connector else None,
        jwks=MappingProxyType(record["jwks"]),
        transport=record["transport"],
        requests_per_minute=record["requests_per_minute"],
        concurrency=record["concurrency"],
        labels=frozenset(record["labels"]),
        status=record["status"],
        services=tuple(read_entry(org, one) for one in record["services"]),
        webhook=_webhook(record.get("webhook")),
    )


def _webhook(record: Mapping[str, Any] | None) -> Webhook | None:
    if record is None:
        return None
    keys = tuple(record["public_keys"])
    return Webhook(url=record["url"], scheme=record["scheme"], public_keys=keys)


def _agreement(record: Mapping[str, Any]) -> Agreement:
    return Agreement(
        ref=record["ref"],
        valid_from=date.fromisoformat(record["valid_from"]),
        valid_to=date.fromisoformat(record["valid_to"]),
        purposes=frozenset(record["purposes"]),
        categories=frozenset(record["categories"]),
        service_types_out=frozenset(record["service_types_out"]),
        service_types_in=frozenset(record["service_types_in"]),
        erasure_days=record["erasure_days"],
        transfer_mechanism=record["transfer_mechanism"],
    )
