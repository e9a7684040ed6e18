"""One case as it happened: events and leaves in one list."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from schemas.topics import event_types
from services.gateway.admin.timeline import EVENT_OF_LEAF, CaseEvent, CaseLeaf, timeline
from services.kit.leaf import KINDS

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINE, OTHER = uuid4(), uuid4()


def event(seq: int, kind: str, referral: UUID | None = MINE, **about: Any) -> CaseEvent:
    return CaseEvent(
        seq=seq,
        event_id=uuid4(),
        type=kind,
        at=START + timedelta(seconds=seq),
        referral_ref=referral,
        published=True,
        has_facts=False,
        about=about,
    )


def leaf(second: float, kind: str, referral: UUID | None = MINE, **body: Any) -> CaseLeaf:
    named = {} if referral is None else {"referral_ref": str(referral)}
    return CaseLeaf(
        leaf_ref=uuid4(),
        kind=kind,
        at=START + timedelta(seconds=second),
        body={**named, **body},
        position=None,
        signed=False,
    )


def test_a_leaf_stands_beside_the_event_of_its_effect() -> None:
    steps = timeline(
        [event(1, "referral.requested"), event(2, "disclosure.made")],
        [leaf(1.1, "accepted"), leaf(1.5, "disclosure_intent"), leaf(2.1, "disclosed")],
    )
    assert [(s.get("event"), s.get("leaf", {}).get("kind")) for s in steps] == [
        ("referral.requested", "accepted"),
        (None, "disclosure_intent"),
        ("disclosure.made", "disclosed"),
    ]


def test_two_disclosures_have_a_leaf_each() -> None:
    steps = timeline(
        [event(1, "disclosure.made"), event(2, "disclosure.made")],
        [leaf(1, "disclosed"), leaf(2, "disclosed")],
    )
    assert [s["leaf"]["kind"] for s in steps] == ["disclosed", "disclosed"]


def test_of_one_referral_only_its_own_steps_and_those_of_the_case_are_shown() -> None:
    steps = timeline(
        [
            event(1, "consent.given", None),
            event(2, "referral.requested", OTHER),
            event(3, "referral.requested", MINE),
        ],
        [leaf(2, "accepted", OTHER), leaf(3, "accepted", MINE)],
        MINE,
    )
    assert [s["seq"] for s in steps] == [1, 3]


def test_facts_and_unlisted_fields_are_not_shown() -> None:
    (step,) = timeline(
        [event(1, "referral.sent", facts=b"x", priority="urgent", to_org="b-org")], []
    )
    assert step["about"] == {"to_org": "b-org"}


def test_the_pairs_are_of_kinds_and_types_that_exist() -> None:
    assert set(EVENT_OF_LEAF) <= KINDS
    assert set(EVENT_OF_LEAF.values()) <= set(event_types())
