"""The page of refusals says what the catalogue says."""

from services.kit.errors import catalogue
from services.kit.refusals import ADVICE, PAGE, page_text


def test_the_page_is_fresh() -> None:
    told = "run `python -m services.kit.refusals`"
    assert PAGE.read_text(encoding="utf-8") == page_text(), told


def test_every_refusal_stands_in_its_part_with_its_three_texts() -> None:
    parts = dict(part.split("\n", 1) for part in page_text().split("\n## ")[1:])
    for row in catalogue().values():
        (line,) = [one for one in parts[row.code].splitlines() if f"| `{row.rule}`" in one]
        assert all(text in line for text in row.texts.values())


def test_every_status_says_what_to_do() -> None:
    assert set(ADVICE) == {row.http for row in catalogue().values()}
