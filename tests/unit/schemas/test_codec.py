"""What the codec refuses: values that may not cross a topic, and bytes that are no event."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import (
    CODELIST_VERSION,
    Affected,
    ConsentEffectReported,
    ConsentGiven,
    ConsentWithdrawn,
    DeadKey,
    DecodeError,
    EncodeError,
    ReferralDelivered,
    ReferralSent,
    ReferralSentFacts,
    codec,
    decode,
    decode_facts,
    encode,
    encode_facts,
    frame,
    peek,
    registry,
)
from schemas.avsc import Released, released

NOW = datetime(2026, 3, 2, 14, 5, tzinfo=UTC)
ID = UUID("5b0f8f0e-6f0b-4f64-9d6e-0d3c5c0b6a11")
HEAD: dict[str, Any] = {
    "event_id": ID,
    "occurred_at": NOW,
    "case_ref": ID,
    "source_org": "ong-norte",
    "correlation_id": ID,
    "codelist_version": CODELIST_VERSION,
    "confidentiality": "restricted",
}
SENT = ReferralSent(
    **HEAD,
    purpose="service_referral",
    referral_ref=ID,
    version=1,
    from_org="ong-norte",
    to_org="refugio-sur",
    directory_entry_ref=None,
    consent_ref=ID,
    data_categories=("contact",),
    response_due=NOW,
    facts=b"sealed",
)
REPORTED = ConsentEffectReported(
    **HEAD, erasure_ref=ID, to_org="refugio-sur", withdrawal_effect="deleted", reported_at=NOW
)
WITHDRAWN = ConsentWithdrawn(
    **HEAD,
    consent_ref=ID,
    version=2,
    consent_status="withdrawn",
    affected=(Affected(to_org="refugio-sur", purpose="emergency", data_categories=("contact",)),),
    dead_keys=(DeadKey(purpose="emergency", key_version=1),),
    effective_at=NOW,
)
NAME = "María Inventada"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source_org", NAME),
        ("source_org", "ong-norte\n"),
        ("source_org", ""),
        ("confidentiality", NAME),
        ("confidentiality", None),
        ("purpose", NAME),
        ("data_categories", (NAME,)),
        ("data_categories", ["contact"]),
        ("data_categories", "contact"),
        ("event_id", str(ID)),
        ("event_id", None),
        ("replaces", "x"),
        ("occurred_at", datetime(2026, 3, 2, 14, 5)),  # noqa: DTZ001 -- naive on purpose
        ("occurred_at", NOW.astimezone(timezone(timedelta(hours=-5)))),
        ("occurred_at", "2026-03-02"),
        ("version", "1"),
        ("version", True),
        ("version", -1),
        ("version", 1 << 31),
        ("facts", "text"),
        ("facts", bytearray(b"x")),
    ],
)
def test_a_value_that_may_not_cross_is_refused_by_field_and_never_repeated(
    name: str, value: Any
) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(replace(SENT, **{name: value}))
    assert (caught.value.field, caught.value.rule) == (name, "not-allowed-here")
    assert NAME not in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        Affected(to_org=NAME, purpose="emergency", data_categories=()),
        Affected(to_org="refugio-sur", purpose=NAME, data_categories=()),
        Affected(to_org="refugio-sur", purpose="emergency", data_categories=(NAME,)),
        DeadKey(purpose="emergency", key_version=1),
        None,
    ],
)
def test_an_inner_record_is_checked_like_the_outer_one(bad: Any) -> None:
    with pytest.raises(EncodeError, match="affected"):
        encode(replace(WITHDRAWN, affected=(bad,)))


def test_an_enum_holds_only_its_codes() -> None:
    with pytest.raises(EncodeError, match="withdrawal_effect: not-allowed-here"):
        encode(replace(REPORTED, withdrawal_effect="perhaps"))


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (replace(SENT, purpose=None), "purpose: required-with-facts"),
        (replace(SENT, stats_facts=b"x"), "stats_facts: nothing-to-seal"),
        (replace(REPORTED, purpose="emergency"), "purpose: null-without-facts"),
    ],
)
def test_purpose_and_sealed_facts_go_together(event: Any, message: str) -> None:
    with pytest.raises(EncodeError, match=message):
        encode(event)


def test_consent_given_is_gated_and_has_nothing_to_seal() -> None:
    event = ConsentGiven(
        **HEAD,
        consent_ref=ID,
        version=1,
        consent_status="given",
        legal_basis="consent",
        valid_from=NOW,
        valid_to=NOW,
    )
    assert encode(event).facts is None
    with pytest.raises(EncodeError, match="facts: nothing-to-seal"):
        encode(replace(event, facts=b"x"))


def test_facts_are_no_event_and_an_event_is_no_facts() -> None:
    with pytest.raises(EncodeError, match="not-an-event"):
        encode(ReferralSentFacts())  # type: ignore[arg-type]
    with pytest.raises(EncodeError, match="not-facts"):
        encode_facts(SENT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "facts",
    [
        ReferralSentFacts(service_type=NAME),
        ReferralSentFacts(special_requirements=(NAME,)),
        ReferralSentFacts(priority="soon"),
    ],
)
def test_facts_hold_only_codes(facts: ReferralSentFacts) -> None:
    with pytest.raises(EncodeError) as caught:
        encode_facts(facts)
    assert NAME not in str(caught.value)


def test_facts_and_sealed_bytes_show_in_no_repr() -> None:
    assert "shelter" not in repr(ReferralSentFacts(service_type="shelter_temporary"))
    assert "sealed" not in repr(SENT)
    assert "sealed" not in repr(encode(SENT))


def test_times_are_kept_to_the_millisecond() -> None:
    e = encode(replace(REPORTED, occurred_at=NOW.replace(microsecond=123_456)))
    assert decode(frame(e.schema_id, 1, e.body)).occurred_at == NOW.replace(microsecond=123_000)


@pytest.mark.parametrize("seq", [0, -1, 1 << 63])
def test_a_frame_needs_a_position(seq: int) -> None:
    e = encode(REPORTED)
    with pytest.raises(EncodeError, match="seq"):
        frame(e.schema_id, seq, e.body)


def test_a_frame_of_an_exempt_event_carries_no_facts() -> None:
    e = encode(REPORTED)
    with pytest.raises(EncodeError, match="nothing-to-seal"):
        frame(e.schema_id, 1, e.body, b"x")


def test_a_frame_needs_a_released_schema() -> None:
    with pytest.raises(EncodeError, match="not-released"):
        frame(999_999, 1, b"")


def framed(event: Any = SENT) -> bytes:
    """A good frame at position 300."""
    e = encode(event)
    return frame(e.schema_id, 300, e.body, e.facts, e.stats_facts)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "frame"),
        (b"\x00\x00\x00\x00\x01", "frame"),
        (b"\x01" + framed()[1:], "frame"),
        (b"\x00\x00\x0f\x00\x00" + framed()[5:], "schema-unknown"),
        (framed()[:-1], "datum"),
        (framed() + b"\x00", "trailing-bytes"),
        (framed()[:5] + b"\xff" * 40, "datum"),
        (encode_facts(ReferralSentFacts()), "wrong-record"),
    ],
)
def test_bytes_that_are_no_event_are_refused_by_rule(data: bytes, rule: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert caught.value.rule == rule
    assert rule in DecodeError.RULES


def fault_of(read: Callable[[bytes], object], data: bytes) -> DecodeError | None:
    """The refusal, or None when the bytes were read."""
    try:
        read(data)
    except DecodeError as fault:
        return fault
    return None


@given(st.binary(max_size=200), st.integers(0, 30))
def test_no_bytes_do_anything_but_decode_or_be_refused(tail: bytes, schema_id: int) -> None:
    for read in (decode, decode_facts, peek):
        fault = fault_of(read, b"\x00" + schema_id.to_bytes(4, "big") + tail)
        assert fault is None or (fault.rule in DecodeError.RULES and fault.__cause__ is None)


@given(st.integers(0, 400), st.integers(1, 255))
def test_one_changed_byte_never_escapes_as_another_error(at: int, flip: int) -> None:
    data = bytearray(framed())
    data[at % len(data)] ^= flip
    fault = fault_of(decode, bytes(data))
    assert fault is None or fault.rule in DecodeError.RULES


@pytest.mark.parametrize(
    "data", [b"", b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x00\x01" + b"\xff" * 12]
)
def test_peek_refuses_what_is_no_frame(data: bytes) -> None:
    with pytest.raises(DecodeError, match="frame"):
        peek(data)


@pytest.fixture
def old_version(monkeypatch: pytest.MonkeyPatch) -> Iterator[Released]:
    """A released version of ReferralDelivered from before it had `causation_id`."""
    now = released()["cauce.referral.v1.ReferralDelivered"][-1]
    schema = {
        **now.schema,
        "fields": [f for f in now.schema["fields"] if f["name"] != "causation_id"],
    }
    old = replace(now, id=9000, schema=schema)
    known = {**registry.by_id(), 9000: old}
    monkeypatch.setattr(codec, "by_id", lambda: known)
    codec._readers.cache_clear()
    yield old
    codec._readers.cache_clear()


def test_an_event_of_an_older_version_is_read_with_the_defaults_of_today(
    old_version: Released,
) -> None:
    event = ReferralDelivered(
        **HEAD, referral_ref=ID, version=2, to_org="refugio-sur", delivered_at=NOW, attempts=1
    )
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(old_version.schema), vars(event))
    assert decode(b"\x00" + (9000).to_bytes(4, "big") + out.getvalue()) == event
