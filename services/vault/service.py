"""The vault's port: who is this, keep the record, let out what a signed grant names.

It guards the order of things: a grant's use is committed before anything of the record is given,
times are tested again right before, and a caller gets only the methods that are its own. Rules are
in `domain`, rows in `store` and `key_rows`, what opens what in `records` and `keystore`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.kit import crypto, rpc
from services.kit.metrics import Metrics
from services.kit.ports.batch import MAX_BATCH
from services.kit.ports.vault import (
    AmendItem,
    AmendResult,
    CopiedVersion,
    CopyResult,
    DataKey,
    Grant,
    GrantState,
    KeyQuery,
    Lookup,
    OpeningRequest,
    PutItem,
    PutResult,
    ReleaseResult,
    ReplayResult,
    SignedGrant,
)
from services.kit.records import Replayed
from services.vault import domain, key_rows, records, store
from services.vault.amend import Amender
from services.vault.intake import Intake
from services.vault.keystore import EpochMissingError, Keystore

_IN_PROCESS: Final = "local"


@dataclass(frozen=True, kw_only=True, slots=True)
class VaultKeys:
    """The vault's own keys, apart from the keystore's."""

    index: bytes = field(repr=False)
    pseudonym: bytes = field(repr=False)
    grant_public: bytes = field(repr=False)


class VaultService:
    """Implements `kit.ports.Vault` over PostgreSQL and a keystore."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        keystore: Keystore,
        keys: VaultKeys,
        clock: Callable[[], datetime],
        metrics: Metrics,
        longest_grant: timedelta,
        people_per_minute: int,
        replay: Callable[[UUID], Awaitable[Replayed]],
    ) -> None:
        self._pool = pool
        self._keystore = keystore
        self._keys = keys
        self._clock = clock
        self._metrics = metrics
        self._longest = longest_grant
        self._people = people_per_minute
        self._intake = Intake(pool, keystore, keys.index)
        self._amender = Amender(pool, keystore, keys.index)
        self._replay = replay

    async def resolve(self, items: Sequence[Lookup]) -> list[UUID | None]:
        """Subject of a person known to an organisation; None when unknown or not one person."""
        _allow("resolve", items)
        people = [self._intake.person(item.org, item.identifiers, None) for item in items]
        wanted = sorted({(p.org, digest) for p in people for digest in p.digests})
        known = await store.holders(self._pool, wanted) if wanted else {}
        found = [{known.get((p.org, digest)) for digest in p.digests} - {None} for p in people]
        return [next(iter(subjects)) if len(subjects) == 1 else None for subjects in found]

    async def put(self, items: Sequence[PutItem]) -> list[PutResult]:
        """Append a version of each record under the live keys of its purposes."""
        _allow("put", items)
        return await self._intake.put(items)

    async def amend(self, items: Sequence[AmendItem]) -> list[AmendResult]:
        """Append a new version of each record that live keys open."""
        _allow("amend", items)
        return await self._amender.amend(items)

    async def forget(self, items: Sequence[UUID]) -> list[bool]:
        """Delete what attempts stored; False where the attempt has been kept."""
        _allow("forget", items)
        async with self._pool.acquire() as conn, conn.transaction():
            gone = await store.forget_attempts(conn, items)
        return [attempt in gone for attempt in items]

    async def keep(self, items: Sequence[UUID]) -> list[bool]:
        """Mark attempts as accepted; False where nothing is stored."""
        _allow("keep", items)
        kept = await store.keep_attempts(self._pool, items)
        return [attempt in kept for attempt in items]

    async def keys(self, items: Sequence[KeyQuery]) -> list[DataKey | None]:
        """Live keys; None when dead or never made."""
        _allow("keys", items)
        names = {(item.case_ref, item.purpose) for item in items}
        rows = await key_rows.data_keys(self._pool, names)
        return [self._key(rows[item.case_ref, item.purpose], item.version) for item in items]

    def _key(self, rows: dict[int, key_rows.KeyRow], version: int | None) -> DataKey | None:
        live = {number: row for number, row in rows.items() if row.wrapped}
        chosen = live.get(max(live, default=0) if version is None else version)
        if chosen is None or chosen.wrapped is None:
            return None
        key = self._keystore.unwrap(chosen.name, chosen.wrapped)
        return DataKey(purpose=chosen.name.purpose, version=chosen.name.version, key=key)

    async def grants(self, items: Sequence[UUID]) -> list[GrantState]:
        """Whether and when each grant was used, with the vault's time."""
        _allow("grants", items)
        used = await store.grant_uses(self._pool, items)
        now = self._clock()
        return [GrantState(grant_ref=ref, used_at=used.get(ref), now=now) for ref in items]

    # --- letting out ----------------------------------------------------------------------------

    async def release(self, items: Sequence[SignedGrant]) -> list[ReleaseResult]:
        """Record each grant's use, commit, then give what it names under its recipient's name."""
        caller = _allow("release", items)
        now = self._clock()
        public, longest = self._keys.grant_public, self._longest
        checked = [domain.check_grant(item, public, now, longest) for item in items]
        opened = await self._use(caller, items, checked, now)
        results = [self._give(one) for one in opened]
        for result in results:
            self._metrics.inc("cauce_vault_releases_total", rule=result.rule)
        return results

    async def _use(
        self,
        caller: str,
        items: Sequence[SignedGrant],
        checked: Sequence[Grant | str],
        now: datetime,
    ) -> list["_Opened | str"]:
        """One committed transaction: which grants may be used, and that they are used up now."""
        result: list[_Opened | str] = [c if isinstance(c, str) else "grant-used" for c in checked]
        first: dict[UUID, tuple[int, Grant]] = {}
        for place, grant in enumerate(checked):
            if isinstance(grant, Grant):
                first.setdefault(grant.grant_ref, (place, grant))
        if not first:
            return result
        wanted = [
            (grant.case_ref, grant.vault_version, grant.purpose, grant.key_version)
            for _, grant in first.values()
        ]
        async with self._pool.acquire() as conn, conn.transaction():
            ready: dict[UUID, _Opened] = {}
            found = await store.readable(conn, wanted)
            for (place, grant), row in zip(first.values(), found, strict=True):
                opened = self._open(grant, row)
                result[place] = opened
                if isinstance(opened, _Opened):
                    ready[grant.grant_ref] = opened
            room = await self._room(conn, caller, now, len(ready))
            allowed, over = list(ready)[:room], list(ready)[room:]
            digests = [(ref, crypto.sha256(items[first[ref][0]].grant)) for ref in allowed]
            used = await store.use_grants(conn, digests, caller) if digests else set()
            for ref in over:
                result[first[ref][0]] = "quota"
            for ref in set(allowed) - used:
                result[first[ref][0]] = "grant-used"
        return result

    def _open(self, grant: Grant, row: store.Readable | None) -> "_Opened | str":
        if row is None:
            return "version-unknown"
        if grant.purpose in domain.FACTS_ONLY:
            return "key-dead"
        try:
            own_key = self._own_key(row)
        except EpochMissingError:
            return "epoch-missing"  # the alarm is `Epochs.check`; the others of the batch go on
        return "key-dead" if own_key is None else _Opened(grant, row, own_key)

    def _own_key(self, row: store.Readable) -> bytes | None:
        """The key of a record, by the data key of a purpose; None when that is dead."""
        if row.version_key is None or row.data_key is None or row.data_key.wrapped is None:
            return None
        data_key = self._keystore.unwrap(row.data_key.name, row.data_key.wrapped)
        return crypto.unwrap(data_key, row.version_key.wrapped)

    def _give(self, opened: "_Opened | str") -> ReleaseResult:
        """The last test of time, and the content."""
        if isinstance(opened, str):
            return ReleaseResult(rule=opened)
        grant, row = opened.grant, opened.row
        record = _record(row, opened.own_key)
        name = domain.pseudonym(self._keys.pseudonym, row.subject_ref, grant.to_org)
        content = records.released(record, grant.categories)
        late = domain.timely(grant, self._clock())
        if late:
            return ReleaseResult(rule=late)
        return ReleaseResult(
            rule=domain.RELEASED,
            content=content,
            pseudonym=name.text,
            patient_id=name.patient_id,
        )

    async def _room(self, conn: Any, caller: str, now: datetime, people: int) -> int:
        """How many of `people` more this caller may be shown in this minute."""
        if people == 0:
            return 0
        minute = now.replace(second=0, microsecond=0)
        total = await store.count_people(conn, caller, minute, people)
        return max(0, min(people, self._people - (total - people)))

    async def open(self, items: Sequence[OpeningRequest]) -> list[ReleaseResult]:
        """Show who somebody is to two approvers of two organisations; recorded before it is shown.

        That the approvals are genuine is the caller's statement, in the leaf it names.
        """
        caller = _allow("open", items)
        results = [await self._open_identity(caller, item) for item in items]
        for result in results:
            self._metrics.inc("cauce_vault_releases_total", rule=result.rule)
        return results

    async def copy(self, items: Sequence[OpeningRequest]) -> list[CopyResult]:
        """The whole record for its person, by an opening that is recorded before it is given."""
        caller = _allow("copy", items)
        results = [await self._copy(caller, item) for item in items]
        for result in results:
            self._metrics.inc("cauce_vault_releases_total", rule=result.rule)
        return results

    async def _copy(self, caller: str, request: OpeningRequest) -> CopyResult:
        rule = domain.check_copy(request)
        if rule:
            return CopyResult(rule=rule)
        async with self._pool.acquire() as conn, conn.transaction():
            rows = await store.every_version(conn, request.case_ref)
            if not rows:
                return CopyResult(rule="version-unknown")
            try:
                own_keys = [self._own_key(row) for row, _ in rows]
            except EpochMissingError:
                return CopyResult(rule="epoch-missing")
            if not await self._room(conn, caller, self._clock(), 1):
                return CopyResult(rule="quota")
            if not await store.insert_opening(conn, request):
                return CopyResult(rule="opening-used")
            others = await store.other_cases(conn, request.case_ref)
        versions = [
            CopiedVersion(
                vault_version=row.vault_version,
                stored_at=at,
                record=None if own_key is None else _record(row, own_key),
            )
            for (row, at), own_key in zip(rows, own_keys, strict=True)
        ]
        return CopyResult(rule=domain.RELEASED, versions=tuple(versions), other_cases=others)

    async def replay(self, items: Sequence[UUID]) -> list[ReplayResult]:
        """Handle again the cases at which the consumer of this process stopped."""
        _allow("replay", items)
        return [await self._replay_case(case_ref) for case_ref in items]

    async def _replay_case(self, case_ref: UUID) -> ReplayResult:
        try:
            done = await self._replay(case_ref)
        except LookupError:
            return ReplayResult(handled=0, rule="not-parked")
        return ReplayResult(handled=done.handled, rule=done.rule)

    async def _open_identity(self, caller: str, request: OpeningRequest) -> ReleaseResult:
        rule = domain.check_opening(request)
        if rule:
            return ReleaseResult(rule=rule)
        async with self._pool.acquire() as conn, conn.transaction():
            row = await store.latest_readable(conn, request.case_ref)
            if row is None:
                return ReleaseResult(rule="version-unknown")
            own_key = self._own_key(row)
            if own_key is None:
                return ReleaseResult(rule="key-dead")
            if not await self._room(conn, caller, self._clock(), 1):
                return ReleaseResult(rule="quota")
            if not await store.insert_opening(conn, request):
                return ReleaseResult(rule="opening-used")
        content = records.released(_record(row, own_key), domain.OPENED)
        return ReleaseResult(rule=domain.RELEASED, content=content)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A grant with the row it names and the key of that record."""

    grant: Grant
    row: store.Readable
    own_key: bytes = field(repr=False)


def _record(row: store.Readable, own_key: bytes) -> bytes:
    return records.unseal(own_key, row.case_ref, row.vault_version, row.attempt, row.sealed)


def _allow(method: str, items: Sequence[object]) -> str:
    """The calling service's name; PermissionError where the method is not its own."""
    if len(items) > MAX_BATCH:
        raise ValueError("too many items")
    caller = rpc.caller()
    if caller is None:
        return _IN_PROCESS
    if method not in domain.CALLERS.get(caller, frozenset()):
        raise PermissionError("not a method of this caller")
    return caller
