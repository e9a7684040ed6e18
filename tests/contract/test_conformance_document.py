"""The document of the conformance run says what its data says."""

from tests.conformance.differences import rows
from tests.conformance.document import DOCUMENT, expected


def test_the_table_of_differences_is_that_of_the_file() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == expected()


def test_every_difference_has_a_reason() -> None:
    assert all(row.reason for way in ("out", "in") for row in rows(way))
