import io
import json
import logging
from uuid import uuid4

import pytest

from services.kit.logs import FIELDS, LibraryHandler, Log

CANARY = "Ximena Canario 1032456789 ximena@example.org"


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_only_allowed_fields_in_their_form() -> None:
    stream, dropped = io.StringIO(), []
    log = Log("delivery", stream, dropped=lambda: dropped.append(1))
    ref = uuid4()
    log.info("delivery-held", case_ref=ref, rule="unmapped-code", count=3, name="Ximena")
    (line,) = lines(stream)
    assert (line["case_ref"], line["rule"], line["count"]) == (str(ref), "unmapped-code", 3)
    assert "name" not in line
    assert dropped == [1]


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_no_field_lets_a_name_document_or_address_through(field: str) -> None:
    stream = io.StringIO()
    log = Log("gateway", stream)
    for value in (CANARY, "Ximena Canario", "ximena@example.org", "1032456789", "CC1032456789"):
        log.error("event", None, **{field: value})
    assert "imena" not in stream.getvalue()
    assert "1032456789" not in stream.getvalue()


def test_an_error_is_its_type_and_our_places_never_its_text() -> None:
    stream = io.StringIO()
    try:
        raise ValueError(CANARY)
    except ValueError as error:
        Log("vault", stream).error("failed", error)
    (line,) = lines(stream)
    assert line["error_type"] == "ValueError"
    assert "imena" not in stream.getvalue()


def test_what_a_library_says_is_left_out_and_where_it_said_it_stays() -> None:
    stream = io.StringIO()
    handler = LibraryHandler(Log("kit", stream))
    record = logging.LogRecord("aiokafka.client", 40, __file__, 1, CANARY, None, None, "connect")
    handler.emit(record)
    (line,) = lines(stream)
    assert line["part"] == "aiokafka.client:connect"
    assert "imena" not in stream.getvalue()
