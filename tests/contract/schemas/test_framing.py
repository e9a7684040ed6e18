"""The frame put together from parts is byte for byte what fastavro writes for the whole record."""

import io
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import decode, decode_facts, encode, encode_facts, frame, peek
from schemas.avsc import is_event, sources
from schemas.registry import schema_by_id
from schemas.topics import event_types
from tests.contract.schemas.events import example, records

EVENTS = [stem for stem, s in sources().items() if is_event(s)]
FACTS = [stem for stem, s in sources().items() if not is_event(s)]


def whole(stem: str, event: Any, seq: int) -> bytes:
    """What fastavro writes for the complete record."""
    plain = dict(vars(event))
    plain[sources()[stem]["fields"][0]["name"]] = seq
    for name in ("affected", "amended", "dead_keys"):
        if name in plain:
            plain[name] = [vars(v) for v in plain[name]]
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(sources()[stem]), plain, strict=True)
    return out.getvalue()


@pytest.mark.parametrize("stem", EVENTS)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), seq=st.integers(1, (1 << 63) - 1))
def test_a_frame_equals_what_fastavro_writes(stem: str, data: st.DataObject, seq: int) -> None:
    event = data.draw(records(stem))
    e = encode(event)
    framed = frame(e.schema_id, seq, e.body, e.facts, e.stats_facts)
    assert framed == b"\x00" + e.schema_id.to_bytes(4, "big") + whole(stem, event, seq)
    assert peek(framed) == (e.schema_id, seq)
    again = vars(decode(framed))
    assert again == {**vars(event), sources()[stem]["fields"][0]["name"]: seq}


@pytest.mark.parametrize("stem", FACTS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_facts_go_to_bytes_and_back(stem: str, data: st.DataObject) -> None:
    facts = data.draw(records(stem))
    assert decode_facts(encode_facts(facts)) == facts


@pytest.mark.parametrize("stem", EVENTS)
def test_another_avro_library_reads_the_frame_with_the_served_schema(stem: str) -> None:
    event: Any = example(stem)
    e = encode(event)
    framed = frame(e.schema_id, 9, e.body, e.facts, e.stats_facts)
    schema_id = int.from_bytes(framed[1:5], "big")
    schema = avro.schema.parse(schema_by_id(schema_id)["schema"])
    data = io.BytesIO(framed[5:])
    read: Any = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(data))
    assert data.read() == b""
    assert str(read["event_id"]) == str(event.event_id)
    assert read[sources()[stem]["fields"][0]["name"]] == 9


def test_facts_taken_away_by_the_relay_leave_a_readable_event() -> None:
    e = encode(example("referral_sent"))
    assert e.facts is not None
    event: Any = decode(frame(e.schema_id, 4, e.body))
    assert event.facts is None
    assert event.referral_ref is not None


def test_an_encoded_event_says_what_the_bus_needs() -> None:
    event: Any = example("referral_sent")
    e = encode(event)
    kind = event_types()["referral.sent"]
    assert (e.event_type, e.topic, e.schema_id) == (kind.type, "cauce.case", kind.schema_id)
    assert (e.key, e.event_id, e.purpose) == (event.case_ref, event.event_id, "service_referral")


def test_a_dead_letter_is_keyed_by_the_event_it_points_to() -> None:
    event: Any = example("dead_letter")
    assert encode(event).key == event.source_event_id
