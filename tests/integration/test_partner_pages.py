"""The pages for a partner's engineer, executed block after block against a running hub."""

from pathlib import Path

import pytest

from services.console.local.world import make_world
from tests.support import pages
from tests.support.hub import Hub

DOCS = Path(__file__).resolve().parents[2] / "docs"
REGISTER, REFER = DOCS / "partner" / "README.md", DOCS / "partner" / "first-referral-curl.md"
OTHERS = sorted({*DOCS.glob("partner/*.md")} - {REGISTER, REFER})
PAGES = [page for page in (REGISTER, REFER, *OTHERS) if any(b.runs for b in pages.blocks(page))]


@pytest.fixture(scope="module")
def folder(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engineer's folder, beside an installation whose operators are there."""
    make_world(hub.place, hub.settings)
    return tmp_path_factory.mktemp("partner")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, folder: Path, hub: Hub) -> None:
    pages.follow(page, folder, pages.environment_of(hub.place.root, hub.settings.public_url))
