"""Putting records right: every record of a case that can still be read gets a new version.

It guards that a version is made of the newest accepted one of the same record, sealed anew and
wrapped under the live keys of the same purposes and no other, that a record which no key opens
stays as it is, and that an attempt stores nothing twice. Whose identifiers are whose is decided
under the same locks as for a new record.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from services.kit import crypto
from services.kit.ports.vault import Amended, AmendItem, AmendResult, DataKey
from services.vault import amend_rows, key_rows, records, store
from services.vault.domain import identifier_digest
from services.vault.keystore import Keystore


@dataclass(frozen=True, slots=True)
class _Base:
    """The newest version of one record, open."""

    first_version: int
    subject: UUID
    record: bytes = field(repr=False)
    keys: tuple[DataKey, ...]


class Amender:
    """`Vault.amend`."""

    def __init__(self, pool: asyncpg.Pool, keystore: Keystore, index_key: bytes) -> None:
        self._pool = pool
        self._keystore = keystore
        self._index_key = index_key

    async def amend(self, items: Sequence[AmendItem]) -> list[AmendResult]:
        """Change the records of each case; a transaction for each."""
        return [await self._one(item) for item in items]

    async def _one(self, item: AmendItem) -> AmendResult:
        async with self._pool.acquire() as conn, conn.transaction():
            if item.attempt not in await store.claim_attempts(conn, [item.attempt]):
                return AmendResult(rule="attempt-forgotten")
            result = await self._amend(conn, item)
            if not result.amended:
                await store.release_attempts(conn, [item.attempt])
        return result

    async def _amend(self, conn: Any, item: AmendItem) -> AmendResult:
        purposes = await amend_rows.purposes_of(conn, item.case_ref)
        await key_rows.lock_keys(conn, {(item.case_ref, p) for p in purposes}, exclusive=False)
        bases = self._open(await amend_rows.newest(conn, item.case_ref))
        if not bases:
            return AmendResult(rule="key-dead")
        made = [(base, records.amended(base.record, item.changes)) for base in bases]
        faults = sorted({fault for _, new in made for fault in new.faults})
        if faults:
            return AmendResult(rule="contradiction", faults=tuple(faults))
        changed = [(base, new) for base, new in made if new.changed]
        if not changed:
            return AmendResult()
        if "person.identifiers" in {name for _, new in changed for name in new.changed}:
            rule = await self._identify(conn, item, [b for b, _ in changed], changed[0][1].record)
            if rule is not None:
                return AmendResult(rule=rule)
        versions = await self._append(conn, item, changed)
        keys = {key.purpose: key for base, _ in changed for key in base.keys}
        return AmendResult(
            amended=tuple(versions),
            keys=tuple(keys[purpose] for purpose in sorted(keys)),
            changed=tuple(sorted({name for _, new in changed for name in new.changed})),
        )

    def _open(self, rows: Sequence[tuple[int, store.Readable]]) -> list[_Base]:
        """The records with the live keys that open each."""
        found: dict[int, _Base] = {}
        for first, row in rows:
            if row.version_key is None or row.data_key is None or row.data_key.wrapped is None:
                continue
            name = row.data_key.name
            key = self._keystore.unwrap(name, row.data_key.wrapped)
            own = crypto.unwrap(key, row.version_key.wrapped)
            data = DataKey(purpose=name.purpose, version=name.version, key=key)
            known = found.get(first)
            if known is None:
                record = records.unseal(
                    own, row.case_ref, row.vault_version, row.attempt, row.sealed
                )
                known = _Base(first, row.subject_ref, record, ())
            found[first] = _Base(first, known.subject, known.record, (*known.keys, data))
        return [found[first] for first in sorted(found)]

    async def _identify(
        self, conn: Any, item: AmendItem, bases: Sequence[_Base], new: bytes
    ) -> str | None:
        """The person is known by the new identifiers; by those taken away, once it is accepted."""
        subject = bases[0].subject
        before = {d for base in bases for d in self._digests(item.org, base.record)}
        after = self._digests(item.org, new)
        await store.lock_identifiers(conn, {(item.org, digest) for digest in before | after})
        known = await store.holders(conn, sorted((item.org, d) for d in after)) if after else {}
        if set(known.values()) - {subject}:
            return "subject-conflict"
        fresh = [(item.org, d, subject) for d in sorted(after) if (item.org, d) not in known]
        await store.insert_people(conn, [], fresh)
        gone = [(item.org, d, subject) for d in sorted(before - after)]
        await amend_rows.take_away_later(conn, item.attempt, gone)
        return None

    def _digests(self, org: str, record: bytes) -> set[bytes]:
        given = records.identifiers(record)
        return {identifier_digest(self._index_key, org, s, v) for s, v in given}

    async def _append(
        self, conn: Any, item: AmendItem, changed: Sequence[tuple[_Base, records.New]]
    ) -> list[Amended]:
        numbers = await store.next_versions(conn, [item.case_ref] * len(changed))
        versions, keys, done = [], [], []
        for (base, new), number in zip(changed, numbers, strict=True):
            own = crypto.random_bytes(crypto.KEY_BYTES)
            sealed = records.seal(own, item.case_ref, number, item.attempt, new.record)
            versions.append(
                store.Version(
                    item.case_ref, number, item.attempt, base.subject, sealed, base.first_version
                )
            )
            keys += [
                store.VersionKey(
                    item.case_ref, number, k.purpose, k.version, crypto.wrap(k.key, own)
                )
                for k in base.keys
            ]
            done.append(Amended(first_version=base.first_version, vault_version=number))
        await store.insert_versions(conn, versions, keys)
        return done
