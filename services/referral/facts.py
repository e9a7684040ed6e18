"""What a referral says of the person, sealed: in the table and in events.

It guards that these codes exist outside this process only under the key of the case and purpose.
Keys come from the vault and are kept at most five seconds; a dead key leaves the facts absent.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import orjson

from schemas import Encoded, ReferralRequestedFacts, decode_facts, encode, encode_facts
from services.kit.crypto import CryptoError
from services.kit.ports.batch import MAX_BATCH
from services.kit.ports.vault import DataKey, KeyQuery, Vault
from services.kit.seal import key_version, open_facts, seal_facts
from services.referral.domain import State
from services.referral.events import Told

KEEP_SECONDS: Final = 5.0
TIDY_SECONDS: Final = 0.5
STORED: Final = "referral.requested"
"""Event type under which the stored facts are sealed; the event id is the referral's own."""
FIELDS: Final = (
    "service_type",
    "priority",
    "special_requirements",
    "reason_code",
    "outcome",
    "appointment_outcome",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A referral as stored: the state without facts, and the facts sealed."""

    state: State
    sealed: bytes | None


class Keys:
    """Keys of cases and purposes, asked of the vault in batches and kept for five seconds."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._kept: dict[KeyQuery, tuple[float, DataKey | None]] = {}
        self._tidied = 0.0

    async def get(self, wanted: Iterable[KeyQuery]) -> Mapping[KeyQuery, DataKey | None]:
        """The keys; None for one that is dead or never was. Unavailable when the vault is."""
        asked = set(wanted)
        now = time.monotonic()
        self._tidy(now)
        missing = [q for q in asked if q not in self._kept or self._kept[q][0] <= now]
        for start in range(0, len(missing), MAX_BATCH):
            part = missing[start : start + MAX_BATCH]
            for query, key in zip(part, await self._vault.keys(part), strict=True):
                self._kept[query] = (now + KEEP_SECONDS, key)
        return {q: self._kept[q][1] for q in asked}

    def _tidy(self, now: float) -> None:
        """Let go of keys past their time; not at each question, there may be thousands."""
        if now - self._tidied >= TIDY_SECONDS:
            self._kept = {q: kept for q, kept in self._kept.items() if kept[0] > now}
            self._tidied = now


def live_key(state: State) -> KeyQuery:
    """The key under which facts of this referral are sealed now."""
    return KeyQuery(case_ref=state.case_ref, purpose=state.purpose)


def stored_key(row: Row) -> KeyQuery | None:
    """The key that opens a row's facts, None when it has none."""
    if row.sealed is None:
        return None
    return replace(live_key(row.state), version=key_version(row.sealed))


async def opened(rows: Sequence[Row], keys: Keys) -> list[State]:
    """The states with their facts, absent where the key is dead."""
    queries = [stored_key(row) for row in rows]
    found = await keys.get(q for q in queries if q is not None)
    return [
        _open(row, found[query] if query is not None else None)
        for row, query in zip(rows, queries, strict=True)
    ]


def _open(row: Row, key: DataKey | None) -> State:
    state = row.state
    if key is None or row.sealed is None:
        return state
    plain = open_facts(key, STORED, state.referral_ref, state.case_ref, state.purpose, row.sealed)
    facts: dict[str, Any] = orjson.loads(plain)
    facts["special_requirements"] = tuple(facts["special_requirements"])
    return replace(state, **facts)


def sealed_row(state: State, key: DataKey | None) -> Row:
    """The state as it is stored."""
    if key is None:
        return Row(state, None)
    plain = orjson.dumps({name: getattr(state, name) for name in FIELDS})
    sealed = seal_facts(key, STORED, state.referral_ref, state.case_ref, state.purpose, plain)
    return Row(state, sealed)


def requested_facts(
    key: DataKey | None, event_id: UUID, case_ref: UUID, purpose: str, sealed: bytes | None
) -> ReferralRequestedFacts | None:
    """The facts of `referral.requested`; None when they are gone or their key is."""
    if key is None or sealed is None:
        return None
    try:
        plain = open_facts(key, "referral.requested", event_id, case_ref, purpose, sealed)
    except CryptoError:
        return None
    facts = decode_facts(plain)
    return facts if isinstance(facts, ReferralRequestedFacts) else None


def encoded(told: Told, key: DataKey | None) -> Encoded:
    """The event with its facts sealed under its own id; without them when the key is dead."""
    event = told.event
    if told.facts is None or event.purpose is None:  # type: ignore[union-attr] # case events only
        return encode(event)
    if key is None:
        return encode(replace(event, purpose=None))  # type: ignore[arg-type]
    sealed = seal_facts(
        key,
        event.event_type,
        event.event_id,
        event.case_ref,  # type: ignore[union-attr]
        event.purpose,  # type: ignore[union-attr]
        encode_facts(told.facts),
    )
    return encode(replace(event, facts=sealed))  # type: ignore[arg-type]
