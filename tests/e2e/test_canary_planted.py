"""A leak planted in what webhooks say is found by the canary's scanner, wherever it stands."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from connectors.sdk.types import Case, Name, Person, split
from connectors.webhook import client, mapping
from services.delivery.announcing import Announcer
from services.kit.crypto import new_ed25519
from tests.support.canary import Scanner, identities
from tests.support.canary_places import scan_value
from tests.support.hooks import Endpoint, endpoint
from tests.support.partner_rows import partner, register
from tests.support.path import running_path
from tests.support.servers import Databases

ORG = "clinica-eco"
SOMEBODY = identities()[3]
Patch = pytest.MonkeyPatch


def no_leak(patch: Patch) -> None:
    """As the product is."""


def in_the_address(patch: Patch) -> None:
    sent = Announcer.sent

    def telling(self: Any, *args: Any) -> Any:
        note = sent(self, *args)
        return replace(note, href=f"{note.href}?{quote(SOMEBODY.name)}")

    patch.setattr(Announcer, "sent", telling)


def in_the_body(patch: Patch) -> None:
    said = mapping.to_event

    def telling(*args: Any) -> bytes:
        event = orjson.loads(said(*args))
        event["data"]["born"] = SOMEBODY.birth
        return orjson.dumps(event)

    patch.setattr(client, "to_event", telling)


def in_the_subject(patch: Patch) -> None:
    sent = Announcer.sent

    def telling(self: Any, *args: Any) -> Any:
        return replace(sent(self, *args), subject=SOMEBODY.number)

    patch.setattr(Announcer, "sent", telling)


async def heard(pg: Databases, folder: Path) -> Endpoint:
    """What the partner is told of a referral of somebody."""
    (folder / "webhook.ed25519").write_bytes(new_ed25519()[0])
    async with endpoint() as clinic, running_path(pg, hook_keys=folder) as path:
        hook = {"url": f"{clinic.base}/in", "scheme": "v1a", "public_keys": []}
        record = partner(
            ORG, "http://127.0.0.1:9", connector=None, webhook=hook, transport="webhook"
        )
        await register(path.admin, ORG, record)
        path.vault.record = split(Person(names=(Name(family=SOMEBODY.name),)), Case())
        await path.request(to_org=ORG)
        await path.deliver()
        return clinic


@pytest.mark.parametrize(
    ("plant", "hits"),
    [(no_leak, False), (in_the_address, True), (in_the_body, True), (in_the_subject, True)],
)
async def test_a_message_that_tells_somebody_is_found(
    pg: Databases, tmp_path: Path, monkeypatch: Patch, plant: Callable[[Patch], None], hits: bool
) -> None:
    plant(monkeypatch)
    clinic = await heard(pg, tmp_path)
    scanner = Scanner([SOMEBODY])
    for headers, raw in clinic.told:
        scan_value(scanner, "told", [headers, raw, orjson.loads(raw)])
    assert scanner.scanned["told"] > 100
    assert bool(scanner.hits) == hits
