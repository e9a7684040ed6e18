from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from asyncpg import UniqueViolationError

from schemas.codec import DecodeError, EncodeError, encode
from schemas.models import DeadLetter
from services.kit.records import Record, class_of, record_of, rule_of, runs_of, type_of


def record(case: UUID, seq: int) -> Record:
    return Record(
        topic="cauce.case", partition=0, offset=seq, case_ref=case, seq=seq, schema_id=1, value=b""
    )


def test_records_are_grouped_by_case_repeats_dropped_and_gaps_seen() -> None:
    one, two = sorted((uuid4(), uuid4()))
    batch = [record(two, 4), record(one, 1), record(two, 5), record(two, 5), record(one, 3)]
    runs = runs_of(batch)
    assert list(runs) == [one, two]
    assert ([r.seq for r in runs[one].records], runs[one].gap) == ([1, 3], True)
    assert ([r.seq for r in runs[two].records], runs[two].gap) == ([4, 5], False)


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"not-a-case", b"\0\0\0\0\1\2x"), (None, b"\0\0\0\0\1\2x"), (b"\xff", b"x"), (b"", b"")],
)
def test_what_is_no_record_of_ours_is_told_by_a_decode_error(key: bytes, value: bytes) -> None:
    with pytest.raises(DecodeError):
        record_of("cauce.case", 0, 0, key, value)


def test_an_error_is_known_by_its_rule_and_never_by_its_text() -> None:
    assert rule_of(EncodeError("to_org", "not-allowed-here")) == ("not-allowed-here", "to_org")
    assert rule_of(DecodeError("datum")) == ("datum", None)
    assert rule_of(ValueError("Ximena Canario")) == ("not-handled", None)


def test_an_unknown_schema_has_no_type() -> None:
    assert type_of(999_999) is None


def test_every_class_and_rule_of_an_error_fits_a_dead_letter() -> None:
    for error in (DecodeError("datum"), ValueError(), UniqueViolationError()):
        rule, place = rule_of(error)
        encode(
            DeadLetter(
                key_seq=0,
                event_id=uuid4(),
                occurred_at=datetime.now(UTC),
                source_event_id=uuid4(),
                topic="cauce.case",
                consumer="delivery",
                error_class=class_of(error),
                rule=rule,
                field_path=place,
            )
        )
