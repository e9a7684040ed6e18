"""Nobody acts on an old partner registry."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import orjson
import pytest

from services.kit.db import Unavailable
from services.kit.partners import Partners

RECORD: dict[str, Any] = {
    "name": "Casa",
    "alias": "org-x",
    "org_type": "shelter",
    "country": "COL",
    "language": "es",
    "roles": ["recipient"],
    "agreement": {
        "ref": "A",
        "valid_from": "2026-01-01",
        "valid_to": "2026-06-01",
        "purposes": [],
        "categories": [],
        "service_types_out": [],
        "service_types_in": [],
        "erasure_days": 15,
        "transfer_mechanism": None,
    },
    "connector": None,
    "jwks": {},
    "transport": "pull",
    "requests_per_minute": None,
    "concurrency": None,
    "labels": [],
    "services": [
        {
            "entry_ref": str(uuid4()),
            "id": "casa",
            "name": "Casa",
            "service_types": [],
            "country": "COL",
            "admin1": [],
            "age_min": None,
            "age_max": None,
            "population_types": [],
            "languages": [],
            "capacity_status": "full",
            "directory_status": "active",
            "address_confidentiality": "secret",
            "response_time_hours": None,
        }
    ],
    "status": "active",
}


class Pool:
    """Answers with what it holds; None: the server is gone."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] | None = []
        self.asked = 0
        self.read = 0

    async def fetchval(self, _: str) -> int:
        self.asked += 1
        if self.rows is None:
            raise OSError
        return hash(tuple((row["org"], row["version"]) for row in self.rows))

    async def fetch(self, _: str) -> list[dict[str, Any]]:
        self.read += 1
        assert self.rows is not None
        return self.rows


@pytest.fixture
def pool() -> Pool:
    pool = Pool()
    pool.rows = [{"org": "recibe", "version": 1, "record": orjson.dumps(RECORD).decode()}]
    return pool


async def test_the_registry_is_asked_once_a_second_and_read_when_it_changed(pool: Pool) -> None:
    at = [0.0]
    partners = Partners(pool, lambda: at[0])  # type: ignore[arg-type]
    assert (await partners.entries())["casa"].capacity_status == "full"
    await partners.get("recibe")
    assert (pool.asked, pool.read) == (1, 1)
    at[0] = 1.1
    assert await partners.get("recibe") is not None
    assert (pool.asked, pool.read) == (2, 1)
    at[0] = 2.2
    pool.rows = []
    assert await partners.get("recibe") is None


async def test_after_ten_seconds_without_the_database_nobody_is_known(pool: Pool) -> None:
    at = [0.0]
    partners = Partners(pool, lambda: at[0])  # type: ignore[arg-type]
    await partners.get("recibe")
    pool.rows, at[0] = None, 9.0
    assert await partners.get("recibe") is not None
    at[0] = 10.1
    with pytest.raises(Unavailable):
        await partners.get("recibe")


async def test_an_agreement_covers_both_its_days_in_the_cell_s_calendar(pool: Pool) -> None:
    partners, zone = Partners(pool), ZoneInfo("America/Bogota")  # type: ignore[arg-type]
    last_hour = datetime(2026, 6, 2, 4, 59, tzinfo=UTC)
    assert await partners.active("recibe", last_hour, zone) is not None
    after = datetime(2026, 6, 2, 5, 0, tzinfo=UTC)
    assert await partners.active("recibe", after, zone) is None
