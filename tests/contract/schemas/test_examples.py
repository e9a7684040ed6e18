"""Every schema file has an example, and every example goes to bytes and back unchanged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas import DecodeError, decode, decode_facts, encode, encode_facts, frame
from schemas.avsc import is_event, sources
from tests.contract.schemas.events import EXAMPLES, example_files, from_json


@pytest.mark.parametrize("stem", sources())
def test_a_schema_file_has_an_example(stem: str) -> None:
    assert list((EXAMPLES / stem).glob("*.json"))


def test_no_example_is_without_its_schema() -> None:
    assert {f.parent.name for f in example_files()} == set(sources())


@pytest.mark.parametrize("file", example_files(), ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_an_example_goes_to_bytes_and_back(file: Path) -> None:
    stem = file.parent.name
    record: Any = from_json(stem, json.loads(file.read_text(encoding="utf-8")))
    if is_event(sources()[stem]):
        seq = getattr(record, "case_seq", 0) or record.key_seq
        e = encode(record)
        framed = frame(e.schema_id, seq, e.body, e.facts, e.stats_facts)
        assert decode(framed) == record
        with pytest.raises(DecodeError, match="wrong-record"):
            decode_facts(framed)
    else:
        assert decode_facts(encode_facts(record)) == record
        with pytest.raises(DecodeError, match="wrong-record"):
            decode(encode_facts(record))


def test_the_position_in_an_event_is_not_written_into_its_body() -> None:
    event = from_json("consent_expired", json.loads(_first("consent_expired")))
    assert encode(event).body == encode(replace(event, case_seq=77)).body


def _first(stem: str) -> str:
    return min((EXAMPLES / stem).glob("*.json")).read_text(encoding="utf-8")
