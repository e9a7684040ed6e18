"""Putting right what a case says of a person: the same rules as for what is new, then the vault.

It guards that what consent would not have let in does not come in by this way (words that no
permit names, a minor on whose behalf nobody consented), that the newest accepted records are what
is changed, and that what is told holds codes of what a purpose may know. The one transaction is
`changing`'s; what recipients get is delivery's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import orjson

from connectors.sdk.amending import Changes, categories
from connectors.sdk.faults import Fault
from connectors.sdk.types import category_of
from schemas.codec import Encoded, encode, encode_facts
from schemas.models import Amended, CaseUpdated, CaseUpdatedFacts
from services.gateway.cases import store
from services.gateway.consents.writing import LIVE
from services.kit.errors import Refused
from services.kit.ports.batch import MAX_BATCH
from services.kit.ports.consent import Consent, ConsentRecord
from services.kit.ports.vault import AmendItem, AmendResult, DataKey, Vault
from services.kit.seal import seal_facts

NARRATIVE: Final = "experience_narrative"
REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "subject-conflict": ("duplicate", "identifiers-disagree"),
    "key-dead": ("suppressed", "consent"),
}
"""Why the vault did not change a record → row of the refusal catalogue."""
_FACTS: Final = frozenset(CaseUpdatedFacts.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rectified:
    """What the vault has now, and what may be told of it."""

    result: AmendResult = field(repr=False)
    changes: Changes = field(repr=False)
    records: tuple[ConsentRecord, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        """Data categories in which something changed."""
        return categories(self.result.changed)

    @property
    def coded(self) -> tuple[str, ...]:
        """Coded facts that changed; what is no such fact is told by its category alone."""
        names = (one.partition(".")[2] for one in self.result.changed)
        return tuple(sorted(_FACTS & set(names)))


class Rectifier:
    """Has the vault change the records of a case."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        vault: Vault,
        consent: Consent,
        *,
        today: Callable[[], date],
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._consent = consent
        self._today = today
        self._clock = clock

    async def rectify(self, org: str, case_ref: UUID, attempt: UUID, changes: Changes) -> Rectified:
        """New versions of every record that can still be read; Refused by what forbids it."""
        records = await self._records(case_ref)
        check_consents(changes, records)
        async with self._pool.acquire() as conn:
            accepted = await store.accepted_attempts(conn, case_ref)
        for start in range(0, len(accepted), MAX_BATCH):
            await self._vault.keep(accepted[start : start + MAX_BATCH])
        item = AmendItem(
            attempt=attempt,
            org=org,
            case_ref=case_ref,
            changes=orjson.dumps(
                {
                    "person": changes.person,
                    "case": changes.case,
                    "removed": changes.removed,
                    "today": self._today().isoformat(),
                }
            ),
        )
        result = (await self._vault.amend([item]))[0]
        if result.faults:
            raise Refused([Fault(*one) for one in result.faults])
        if result.rule is not None:
            if result.rule not in REFUSALS:
                raise Refused.of("transient", "unavailable", retry_after=1)
            raise Refused.of(*REFUSALS[result.rule])
        return Rectified(result=result, changes=changes, records=records)

    async def _records(self, case_ref: UUID) -> tuple[ConsentRecord, ...]:
        """The consents of a case that hold now."""
        async with self._pool.acquire() as conn:
            refs = await store.consents(conn, case_ref)
        found: list[ConsentRecord | None] = []
        for start in range(0, len(refs), MAX_BATCH):
            found += await self._consent.read(refs[start : start + MAX_BATCH])
        now = self._clock()
        return tuple(r for r in found if r is not None and r.status in LIVE and r.valid_to > now)


def check_consents(changes: Changes, records: Sequence[ConsentRecord]) -> None:
    """Refused where the consents that hold do not bear what is now said."""
    permits = [rule for r in records for rule in r.rules if rule.decision == "permit"]
    declared = any(NARRATIVE in rule.data_categories for rule in permits)
    if "narratives" in changes.case and not declared:
        raise Refused.of("consent-narrative", "narrative", "facts.narratives[0]")
    if changes.person.get("is_minor") is not True:
        return
    consented = [r for r in records if r.legal_basis == "consent"]
    if any(r.giver == "self" for r in consented):
        raise Refused.of("consent-minor-giver", "minor-giver", "person.is_minor")
    if any(r.assent in (None, "not_applicable", "dissented") for r in consented):
        raise Refused.of("consent-assent", "assent", "person.is_minor")


def permitted(records: Sequence[ConsentRecord], purpose: str, now: datetime) -> frozenset[str]:
    """Categories that some permit for a purpose names now."""
    return frozenset(
        category
        for record in records
        for rule in record.rules
        if rule.decision == "permit"
        and rule.purpose == purpose
        and rule.valid_from <= now < rule.valid_to
        for category in rule.data_categories
    )


def facts_for(one: Rectified, purpose: str, now: datetime) -> CaseUpdatedFacts | None:
    """The changed coded facts that may be known for a purpose; None when there are none."""
    allowed = permitted(one.records, purpose, now)
    values: dict[str, Any] = {}
    for name in one.result.changed:
        part, _, fact = name.partition(".")
        value = getattr(one.changes, part).get(fact)
        if fact in _FACTS and value is not None and category_of(name) in allowed:
            values[fact] = tuple(value) if isinstance(value, list) else value
    return CaseUpdatedFacts(**values) if values else None


def updated(one: Rectified, head: Mapping[str, Any], now: datetime) -> list[Encoded]:
    """The events of a change: one for each purpose that may know some of it, at least one."""
    said = {
        "changed": one.coded,
        "data_categories": one.categories,
        "amended": tuple(
            Amended(first_version=a.first_version, vault_version=a.vault_version)
            for a in one.result.amended
        ),
    }
    made = [
        _sealed(key, facts, {**head, **said})
        for key in one.result.keys
        if (facts := facts_for(one, key.purpose, now)) is not None
    ]
    return made or [encode(CaseUpdated(**{**head, **said}))]


def _sealed(key: DataKey, facts: CaseUpdatedFacts, said: Mapping[str, Any]) -> Encoded:
    event_id, kind, case_ref = uuid4(), CaseUpdated.event_type, said["case_ref"]
    sealed = seal_facts(key, kind, event_id, case_ref, key.purpose, encode_facts(facts))
    whole = {**said, "event_id": event_id, "purpose": key.purpose, "facts": sealed}
    return encode(CaseUpdated(**whole))
