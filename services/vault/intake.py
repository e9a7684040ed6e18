"""Putting a record into the vault: whose it is, under which keys, as which version.

It guards that the same person by the same organisation's identifiers is one subject whoever comes
first, that no key at or below a dead version is made again, and that a repeated attempt stores
nothing twice. Everything of a call is one transaction; what is refused leaves nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.kit import crypto
from services.kit.ports.vault import DataKey, PutItem, PutResult
from services.vault import key_rows, records, store
from services.vault.domain import (
    FACTS_ONLY,
    Identities,
    Person,
    dead_to,
    identifier_digest,
)
from services.vault.keystore import KeyName, Keystore

Ring = Mapping[KeyName, bytes]
"""The live keys of a batch; a name that is absent is dead."""
NIL: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class _Placed:
    item: PutItem
    subject: UUID


class Intake:
    """`Vault.put`."""

    def __init__(self, pool: asyncpg.Pool, keystore: Keystore, index_key: bytes) -> None:
        self._pool = pool
        self._keystore = keystore
        self._index_key = index_key

    def person(self, org: str, identifiers: Sequence[tuple[str, str]], seen: UUID | None) -> Person:
        """What identifies somebody, as digests."""
        digests = (identifier_digest(self._index_key, org, s, v) for s, v in identifiers)
        return Person(org, tuple(dict.fromkeys(digests)), seen)

    async def put(self, items: Sequence[PutItem]) -> list[PutResult]:
        """Append each record; one transaction."""
        unique = {item.attempt: item for item in items}
        async with self._pool.acquire() as conn, conn.transaction():
            done = await self._put(conn, unique)
        return [done[item.attempt] for item in items]

    async def _put(self, conn: Any, items: Mapping[UUID, PutItem]) -> dict[UUID, PutResult]:
        done = await self._claim(conn, items)
        ring = await self._ring(conn, [i for a, i in items.items() if _stands(done.get(a))])
        for attempt, result in done.items():
            if result.rule is None:
                done[attempt] = _with_keys(result, items[attempt], ring)
        new = [item for attempt, item in items.items() if attempt not in done]
        living = [item for item in new if all(name in ring for name in _names(item))]
        done |= {i.attempt: _refused("key-dead") for i in new if i not in living}
        placed = await self._place(conn, living, done)
        refused = [i.attempt for i in new if i.attempt in done]
        await store.release_attempts(conn, refused)
        return done | await self._append(conn, placed, ring)

    async def _claim(self, conn: Any, items: Mapping[UUID, PutItem]) -> dict[UUID, PutResult]:
        """Results of attempts that were here before; those to be stored are absent."""
        claimed = await store.claim_attempts(conn, sorted(items))
        before = [attempt for attempt in items if attempt not in claimed]
        if not before:
            return {}
        done, anew = {}, []
        for attempt, stored in (await store.stored_attempts(conn, before)).items():
            result = _repeated(items[attempt], stored)
            if result is None:
                anew.append(attempt)
            else:
                done[attempt] = result
        await store.delete_versions(conn, anew)
        return done

    async def _ring(self, conn: Any, items: Sequence[PutItem]) -> Ring:
        """The keys of these records, made where they are missing and may be made."""
        names = {name for item in items for name in _names(item)}
        pairs = {(name.case_ref, name.purpose) for name in names}
        if not names:
            return {}
        await key_rows.lock_keys(conn, pairs, exclusive=False)
        rows = await key_rows.data_keys(conn, pairs)
        made = {name: crypto.random_bytes(32) for name in sorted(names) if _may_make(name, rows)}
        if made:
            wrapped = [(name, self._keystore.wrap(name, key)) for name, key in made.items()]
            if await key_rows.insert_data_keys(conn, wrapped) < len(made):
                made, rows = {}, await key_rows.data_keys(conn, pairs)
        return made | self._unwrapped(names, rows)

    def _unwrapped(
        self, names: set[KeyName], rows: Mapping[tuple[UUID, str], Mapping[int, key_rows.KeyRow]]
    ) -> dict[KeyName, bytes]:
        found = {}
        for name in names:
            row = rows[name.case_ref, name.purpose].get(name.version)
            if row is not None and row.wrapped is not None:
                found[name] = self._keystore.unwrap(name, row.wrapped)
        return found

    async def _place(
        self, conn: Any, items: Sequence[PutItem], done: dict[UUID, PutResult]
    ) -> list[_Placed]:
        """Decide whose records these are; those that cannot be stored are added to `done`."""
        people = {i.attempt: self.person(i.org, i.identifiers, i.subject_seen) for i in items}
        wanted = {(p.org, digest) for p in people.values() for digest in p.digests}
        await store.lock_identifiers(conn, wanted)
        known = await store.holders(conn, sorted(wanted)) if wanted else {}
        identities = Identities(known)
        placed = []
        for item in items:
            subject = identities.subject_of(people[item.attempt], _new_subject())
            if subject is None:
                done[item.attempt] = _refused("subject-conflict")
            elif item.subject_seen not in (None, subject):
                done[item.attempt] = _refused("subject-changed", subject)
            else:
                placed.append(_Placed(item, subject))
        await store.insert_people(conn, identities.new_subjects, identities.new_identifiers)
        return placed

    async def _append(
        self, conn: Any, placed: Sequence[_Placed], ring: Ring
    ) -> dict[UUID, PutResult]:
        if not placed:
            return {}
        numbers = await store.next_versions(conn, [p.item.case_ref for p in placed])
        versions, keys, done = [], [], {}
        for place, number in zip(placed, numbers, strict=True):
            item, own_key = place.item, crypto.random_bytes(crypto.KEY_BYTES)
            sealed = records.seal(own_key, item.case_ref, number, item.attempt, item.record)
            versions.append(
                store.Version(item.case_ref, number, item.attempt, place.subject, sealed)
            )
            keys += [
                store.VersionKey(
                    item.case_ref, number, n.purpose, n.version, crypto.wrap(ring[n], own_key)
                )
                for n in _names(item)
                if n.purpose not in FACTS_ONLY
            ]
            stored = PutResult(subject_ref=place.subject, vault_version=number, keys=())
            done[item.attempt] = _with_keys(stored, item, ring)
        await store.insert_versions(conn, versions, keys)
        return done


def _names(item: PutItem) -> list[KeyName]:
    return [KeyName(item.case_ref, purpose, version) for purpose, version in item.key_versions]


def _may_make(
    name: KeyName, rows: Mapping[tuple[UUID, str], Mapping[int, key_rows.KeyRow]]
) -> bool:
    there = rows[name.case_ref, name.purpose]
    dead = dead_to([(version, row.wrapped is None) for version, row in there.items()])
    return name.version not in there and name.version > dead


def _new_subject() -> UUID:
    return crypto.uuid4_from(crypto.random_bytes(16))


def _stands(result: PutResult | None) -> bool:
    return result is None or result.rule is None


def _refused(rule: str, subject: UUID = NIL) -> PutResult:
    changed = rule == "subject-changed"
    return PutResult(
        subject_ref=subject, vault_version=0, keys=(), subject_changed=changed, rule=rule
    )


def _repeated(item: PutItem, stored: store.Stored) -> PutResult | None:
    """What an attempt has stored already; None when that was decided otherwise and goes."""
    if stored.state == "gone":
        return _refused("attempt-forgotten")
    if stored.subject_ref is None or stored.vault_version is None:
        return None
    opens = {(p, v) for p, v in item.key_versions if p not in FACTS_ONLY}
    same = stored.case_ref == item.case_ref and stored.keys == opens
    if not same and stored.state != "kept":
        return None
    return PutResult(subject_ref=stored.subject_ref, vault_version=stored.vault_version, keys=())


def _with_keys(result: PutResult, item: PutItem, ring: Ring) -> PutResult:
    """The result with its keys; `key-dead` when one has died since."""
    names = _names(item)
    if not all(name in ring for name in names):
        return _refused("key-dead", result.subject_ref)
    keys = tuple(DataKey(purpose=n.purpose, version=n.version, key=ring[n]) for n in names)
    return PutResult(subject_ref=result.subject_ref, vault_version=result.vault_version, keys=keys)
