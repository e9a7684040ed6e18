"""A later notice says what made it due, and nothing of the person."""

from datetime import UTC, datetime
from uuid import uuid4

import orjson
import pytest

from services.gateway.notices import Cause, closed_leaf, due, due_leaf
from services.kit.staff import DUTIES

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cause", "about"), [("emergency", "referral_ref"), ("identity_opened", "opening_ref")]
)
def test_its_leaves_name_the_act_and_who_closed_it(cause: Cause, about: str) -> None:
    notice = due(cause, uuid4(), uuid4(), NOW)
    opened = orjson.loads(due_leaf(notice, "ong-norte").body)
    assert opened == {
        "time": "2026-03-01T12:00:00.000Z",
        "kind": "notice_due",
        "actor": "ong-norte",
        "case_ref": str(notice.case_ref),
        "notice_ref": str(notice.notice_ref),
        "rule": cause,
        about: str(notice.about_ref),
    }
    closed = orjson.loads(closed_leaf(notice, NOW, "officer-norte", "told").body)
    assert closed == opened | {
        "kind": "notice_closed", "actor": "officer-norte", "status": "told",
    }  # fmt: skip


def test_only_a_protection_officer_closes_a_notice() -> None:
    assert DUTIES["notice.close"] == {"protection_officer"}
