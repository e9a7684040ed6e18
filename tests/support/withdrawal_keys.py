"""What can still be read of a case's facts: the keys the vault gives, and every stored event."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

from services.kit.ports.vault import DataKey, KeyQuery, Vault
from services.kit.rpc import Client, client, make_service_token
from services.kit.seal import key_version, open_facts
from tests.support.withdrawal_world import World


@asynccontextmanager
async def vault_of(world: World, caller: str = "referral") -> AsyncIterator[Vault]:
    """The vault as a consumer calls it; nothing is cached."""
    settings = world.hub.settings
    token = partial(make_service_token, caller, settings.secret(f"service.{caller}"))
    port = client(Vault, settings.vault_url, token)  # type: ignore[type-abstract]
    try:
        yield port
    finally:
        assert isinstance(port, Client)
        await port.close()


async def live_key(world: World, case_ref: UUID, purpose: str) -> DataKey | None:
    """The live key of a case and purpose, None when there is none."""
    async with vault_of(world) as vault:
        return (await vault.keys([KeyQuery(case_ref=case_ref, purpose=purpose)]))[0]


async def readable(world: World, case_ref: UUID, purpose: str) -> tuple[int, int]:
    """How many sealed facts of a case open by what the vault gives now, and how many there are."""
    rows = await world.admin.fetch(
        "select type, event_id, facts from bus.event"
        " where topic = 'cauce.case' and key = $1 and purpose = $2 and facts is not null",
        case_ref,
        purpose,
    )
    opened = 0
    async with vault_of(world) as vault:
        for row in rows:
            query = KeyQuery(case_ref=case_ref, purpose=purpose, version=key_version(row["facts"]))
            key = (await vault.keys([query]))[0]
            if key is not None:
                event = (row["type"], row["event_id"], case_ref, purpose)
                opened += bool(open_facts(key, *event, row["facts"]))
    return opened, len(rows)
