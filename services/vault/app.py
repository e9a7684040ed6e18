"""Wiring of the vault: the port, the consumer that kills keys, the life of epoch keys."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

import asyncpg

from services.kit.bus import Subscription
from services.kit.lead import run_as_leader
from services.kit.ports.vault import Vault
from services.kit.runtime import Runtime, Service
from services.kit.settings import Settings
from services.vault import leaves, store
from services.vault.consumer import TYPES, KeyKiller
from services.vault.epochs import Epochs
from services.vault.keystore import FileKeystore
from services.vault.service import VaultKeys, VaultService

LOOK_SECONDS: Final = 60.0
"""How often the leader looks whether an epoch has ended."""
LEAF_SECONDS: Final = 1.0
"""How often leaves are looked for that no event announced."""


async def build(rt: Runtime) -> Service:
    """Make the vault of this process; the first start makes the first epoch key."""
    settings, folder = rt.settings, rt.settings.vault_keys_dir
    pool = await rt.pool()
    keystore = FileKeystore(folder / "epochs", (folder / "root.key").read_bytes())
    epochs = Epochs(
        pool=pool,
        keystore=keystore,
        metrics=rt.metrics,
        length=timedelta(hours=settings.epoch_hours),
    )
    vault = VaultService(
        pool=pool,
        keystore=keystore,
        keys=_keys(settings),
        clock=rt.clock,
        metrics=rt.metrics,
        longest_grant=timedelta(seconds=settings.call_seconds),
        people_per_minute=settings.people_per_minute,
        replay=partial(rt.replay, "vault"),
    )
    killer = KeyKiller(rt.metrics, rt.clock)
    hub_pool = await rt.hub_pool()
    await epochs.ensure_first()

    async def keep_epochs(_: asyncpg.Connection) -> None:
        while True:
            await epochs.rotate()
            await store.prune(pool)
            await asyncio.sleep(min(LOOK_SECONDS, settings.epoch_hours * 3600 / 4))

    async def pass_leaves_on(_: asyncpg.Connection) -> None:
        while True:
            killer.killed.clear()
            while await leaves.pass_on(pool, hub_pool):
                pass
            with suppress(TimeoutError):
                await asyncio.wait_for(killer.killed.wait(), LEAF_SECONDS)

    return Service(
        name="vault",
        provides={Vault: vault},
        subscriptions=[
            Subscription(
                consumer="vault",
                topic="cauce.case",
                handle=killer.handle,
                types=TYPES,
                after=killer.after,
            )
        ],
        loops=[
            partial(run_as_leader, rt, "vault-epochs", keep_epochs),
            partial(run_as_leader, rt, "vault-leaves", pass_leaves_on),
        ],
        pings={"epochs": epochs.check},
    )


def _keys(settings: Settings) -> VaultKeys:
    folder = settings.vault_keys_dir
    return VaultKeys(
        index=(folder / "index.key").read_bytes(),
        pseudonym=(folder / "pseudonym.key").read_bytes(),
        grant_public=settings.secret("grant.pub"),
    )
