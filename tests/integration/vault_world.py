"""A vault on the module's database, people to put into it, and grants to ask it with."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from connectors.sdk.types import Case, Identifier, Name, Person, Telecom, split
from services.kit import crypto
from services.kit.canonical import canonical
from services.kit.metrics import Metrics
from services.kit.ports.vault import Grant, PutItem, SignedGrant
from services.kit.records import Replayed
from services.vault.epochs import Epochs
from services.vault.keystore import FileKeystore
from services.vault.service import VaultKeys, VaultService

PURPOSE = "service_referral"
SECRET_NAME = "Yurleidys Invented"
ORIGINAL = "CASE-2026-ORIGINAL"


@dataclass
class World:
    pool: asyncpg.Pool
    folder: Path
    seed: bytes
    keystore: FileKeystore
    epochs: Epochs
    vault: VaultService
    metrics: Metrics
    root: bytes
    late: timedelta = field(default=timedelta())

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.late


async def nothing_parked(_: UUID) -> Replayed:
    """These tests run no consumer."""
    raise LookupError


async def make_world(dsn: str, folder: Path, people_per_minute: int = 60_000) -> World:
    (folder / "epochs").mkdir(parents=True, exist_ok=True)
    pool = await asyncpg.create_pool(dsn, min_size=0, max_size=6)
    seed, public = crypto.new_ed25519()
    root, metrics = crypto.random_bytes(32), Metrics()
    keystore = FileKeystore(folder / "epochs", root)
    epochs = Epochs(pool=pool, keystore=keystore, metrics=metrics, length=timedelta(hours=24))
    world = World(pool, folder, seed, keystore, epochs, None, metrics, root)  # type: ignore[arg-type]
    world.vault = VaultService(
        pool=pool,
        keystore=keystore,
        keys=VaultKeys(
            index=crypto.random_bytes(32),
            pseudonym=crypto.random_bytes(32),
            grant_public=public,
        ),
        clock=world.clock,
        metrics=metrics,
        longest_grant=timedelta(seconds=2),
        people_per_minute=people_per_minute,
        replay=nothing_parked,
    )
    # The module's databases are shared, its key folder is not: begin with an empty keystore.
    await pool.execute("truncate keys.epoch, keys.data_key, vault.quota")
    await epochs.ensure_first()
    return world


def record(name: str = SECRET_NAME) -> bytes:
    person = Person(
        identifiers=(Identifier(system="urn:doc:col", value="CC-79900111"),),
        names=(Name(text=name),),
        birth_date="1999-04-02",
        sex="female",
        country="COL",
        telecom=(Telecom(system="phone", value="+570000"),),
    )
    case = Case(phenomenon="trafficking", narratives=("told in confidence",))
    return canonical(
        {"split": split(person, case), "originals": {"requisition": [ORIGINAL]}},
    )


def item(**changes: Any) -> PutItem:
    made = PutItem(
        attempt=uuid4(),
        org="ong-norte",
        identifiers=(("urn:ong-norte:person", uuid4().hex),),
        case_ref=uuid4(),
        subject_seen=None,
        key_versions=((PURPOSE, 1), ("statistics", 1)),
        record=record(),
    )
    return replace(made, **changes)


def grant(put: PutItem, version: int, **changes: Any) -> Grant:
    now = datetime.now(UTC)
    made = Grant(
        grant_ref=uuid4(),
        case_ref=put.case_ref,
        vault_version=version,
        to_org="refugio-sur",
        purpose=PURPOSE,
        key_version=1,
        categories=("pseudonymous_core",),
        start=now,
        deadline=now + timedelta(seconds=2),
        consent_ref=uuid4(),
        consent_version=1,
        rule="permit",
        policy_version="1",
    )
    return replace(made, **changes)


def sign(world: World, grants: Sequence[Grant]) -> list[SignedGrant]:
    texts = [canonical(as_json(one)) for one in grants]
    return [SignedGrant(grant=t, signature=crypto.sign_ed25519(world.seed, t)) for t in texts]


def as_json(one: Grant) -> dict[str, object]:
    fields = {name: getattr(one, name) for name in one.__slots__}
    plain: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, UUID):
            plain[name] = str(value)
        elif isinstance(value, datetime):
            plain[name] = value.isoformat()
        elif isinstance(value, tuple):
            plain[name] = list(value)
        else:
            plain[name] = value
    return plain
