"""The webhook connector's fixtures: what is committed is what is made, and nothing else can be."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from connectors.sdk.errors import Refuse
from connectors.webhook.mapping import ALLOWED, Note, to_event

FIXTURES = json.loads(
    (Path(__file__).parents[3] / "connectors/webhook/fixtures/notes.json").read_text()
)
SOURCE = "https://cauce.example/v1"


def note_of(event: Any) -> Note:
    said = {k: v for k, v in event["data"].items() if k not in {"id", "href"}}
    return Note(
        mark=UUID(event["id"]),
        type=event["type"],
        subject=event["subject"],
        at=datetime.fromisoformat(event["time"]),
        href=event["data"]["href"],
        said=said,
    )


@pytest.mark.parametrize("event", FIXTURES, ids=lambda event: event["type"])
def test_a_message_is_as_committed(event: Any) -> None:
    assert orjson.loads(to_event(note_of(event), SOURCE)) == event


@pytest.mark.parametrize("change", [{"type": "cauce.person.told"}, {"said": {"name": "x"}}])
def test_a_message_with_anything_else_is_not_made(change: Any) -> None:
    event = note_of(FIXTURES[0])
    fields = {name: getattr(event, name) for name in Note.__dataclass_fields__} | change
    with pytest.raises(Refuse):
        to_event(Note(**fields), SOURCE)


def test_no_type_may_say_more_than_codes_ids_and_versions() -> None:
    said = frozenset[str]().union(*ALLOWED.values())
    assert said == {"version", "status", "stage", "owed_by", "referral", "due", "capacity"}
