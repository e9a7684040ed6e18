"""Requests to delete a part: who is asked for what, and what asks again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.delivery import erasures, intents
from services.delivery.intents import Intent
from tests.support.servers import Databases

NOW = datetime.now(UTC)
PART = ("contact", "health")


def intent(case_ref: UUID, referral_ref: UUID, *categories: str, **changed: Any) -> Intent:
    fields: dict[str, Any] = {
        "grant_ref": uuid4(), "task_id": uuid4(), "case_ref": case_ref,
        "referral_ref": referral_ref, "to_org": "refugio-sur", "purpose": "service_referral",
        "source_org": "ong-norte", "confidentiality": "restricted", "legal_basis": "consent",
        "data_categories": categories, "consent_ref": uuid4(), "consent_version": 1,
        "policy_version": "1", "deadline": NOW,
    }  # fmt: skip
    return Intent(**(fields | changed))


@pytest.fixture
async def conn(pg: Databases) -> AsyncIterator[Any]:
    made = await asyncpg.connect(pg.dsn("delivery"))
    yield made
    await made.close()


async def test_each_past_recipient_is_asked_for_what_it_may_hold_of_the_part(conn: Any) -> None:
    case, one, other, never = (uuid4() for _ in range(4))
    unsent = intent(case, never, "pseudonymous_core", "contact")
    await intents.open_all(
        conn,
        [
            intent(case, one, "pseudonymous_core"),
            intent(case, one, "pseudonymous_core", "contact"),
            intent(case, other, "pseudonymous_core"),
            intent(case, other, "contact", "pseudonymous_core", purpose="legal_assistance"),
            intent(case, other, "contact", to_org="clinica-norte"),
            intent(uuid4(), uuid4(), "contact"),
            unsent,
        ],
    )
    await intents.close(conn, [(unsent.grant_ref, "not_sent")])
    asked = [(case, "refugio-sur", "service_referral", PART)]
    (found,) = await intents.holders(conn, asked)
    assert (found["referral_ref"], found["data_categories"]) == (one, ["contact"])


async def test_only_a_late_arrival_of_the_part_asks_again(conn: Any) -> None:
    case, ref = uuid4(), uuid4()
    await intents.open_all(conn, [intent(case, ref, "pseudonymous_core", "contact")])
    rows = await intents.holders(conn, [(case, "refugio-sur", "service_referral", PART)])
    due = [NOW + timedelta(days=15)]
    (part,) = await erasures.request(conn, rows, due)
    assert await erasures.request(conn, rows, due) == [], "once"
    pair = (ref, "refugio-sur")
    assert await erasures.again(conn, {pair: frozenset({"pseudonymous_core"})}) == []
    (second,) = await erasures.again(conn, {pair: frozenset({"pseudonymous_core", "contact"})})
    assert (second.erasure_ref, second.round) == (part.erasure_ref, 2)
    assert second.task_id != part.task_id
    assert await erasures.of_task(conn, erasures.task_for(part)) is None, "overtaken"

    everything = await intents.recipients(conn, [(case, "refugio-sur", None, None)])
    (whole,) = await erasures.request(conn, everything, due)
    assert (whole.data_categories, whole.erasure_ref != part.erasure_ref) == ((), True)
    renewed = await erasures.again(conn, {pair: frozenset({"pseudonymous_core"})})
    assert [one.erasure_ref for one in renewed] == [whole.erasure_ref]


async def test_what_stands_is_what_was_not_asked_back(conn: Any) -> None:
    case, one, other = uuid4(), uuid4(), uuid4()
    lane = [(case, "refugio-sur")]
    await intents.open_all(
        conn, [intent(case, r, "pseudonymous_core", "contact") for r in (one, other)]
    )
    both = frozenset({"pseudonymous_core", "contact"})
    assert await intents.standing(conn, lane) == [{one: both, other: both}]
    rows = await intents.holders(conn, [(case, "refugio-sur", "service_referral", ("contact",))])
    await erasures.request(conn, rows[:1], [NOW])
    first = rows[0]["referral_ref"]
    assert (await intents.standing(conn, lane))[0][first] == {"pseudonymous_core"}
    gone = await intents.recipients(conn, [(case, None, None, first)])
    await erasures.request(conn, gone, [NOW])
    assert await intents.standing(conn, lane) == [{({one, other} - {first}).pop(): both}]
