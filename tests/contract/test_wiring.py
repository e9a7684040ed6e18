"""Who listens to what and who emits what is as the schemas say, no more and no less."""

import re
from pathlib import Path

import pytest

import services.consent.consumer
import services.delivery.consumer
import services.delivery.notices
import services.referral.consumer
import services.vault.consumer
from schemas.topics import consumers_of, event_types

SERVICES = Path(services.consent.consumer.__file__).parents[1]
CONSUMERS = {
    "consent": services.consent.consumer.TYPES,
    "delivery": services.delivery.consumer.TYPES | services.delivery.notices.TYPES,
    "referral": services.referral.consumer.TYPES,
    "vault": services.vault.consumer.TYPES,
}


@pytest.mark.parametrize("service", ["gateway", "custody", "relay", *CONSUMERS])
def test_a_service_subscribes_to_exactly_what_the_schemas_declare(service: str) -> None:
    declared = {event.type for event in consumers_of(service)}
    assert declared == set(CONSUMERS.get(service, ()))


def test_every_event_is_made_somewhere_by_an_owner() -> None:
    """The record's name stands in the code of each owner, or in the kit for what all may emit."""
    for event in event_types().values():
        record = event.record.rpartition(".")[2]
        for owner in event.owners:
            folders = [SERVICES / owner, SERVICES / "kit"]
            sources = (path.read_text("utf-8") for f in folders for path in f.rglob("*.py"))
            made = any(re.search(rf"\b{record}\(", source) for source in sources)
            assert made, f"{owner} owns {event.type} and never makes it"
