"""The pages for a partner's engineer as texts: nothing on them goes unexecuted or leads nowhere."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from services.kit.errors import catalogue
from tests.support.pages import Block, blocks, unknown_lines

DOCS = Path(__file__).resolve().parents[2] / "docs"
ENGLISH = sorted(DOCS.glob("partner/*.md"))
SPANISH = {
    "LEEME.md": "README.md",
    "primera-derivacion.md": "first-referral-curl.md",
}
"""Each Spanish page and the page whose commands it has."""
PAGES = [*ENGLISH, *sorted(DOCS.glob("es/partner/*.md"))]
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_executed(page: Path) -> None:
    assert unknown_lines(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(("spanish", "english"), SPANISH.items())
def test_a_spanish_page_types_what_its_executed_twin_types(spanish: str, english: str) -> None:
    mine = blocks(DOCS / "es" / "partner" / spanish)
    theirs = [_in_spanish(block) for block in blocks(DOCS / "partner" / english)]
    assert mine
    assert [replace(b, line=0) for b in mine] == theirs[: len(mine)]


def test_every_spanish_page_has_a_twin() -> None:
    assert {page.name for page in DOCS.glob("es/partner/*.md")} == set(SPANISH)


def _in_spanish(block: Block) -> Block:
    """The block as it is without asking for English."""
    output = block.output
    for row in catalogue().values():
        output = output and output.replace(f'"{row.texts["en"]}"', f'"{row.texts["es"]}"')
    text = block.text.replace(' -H "Accept-Language: en"', "")
    return replace(block, line=0, text=text, output=output)
