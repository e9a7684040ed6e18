"""Rules of native referrals: which commands parties may give, what a timeline shows to whom."""

import csv
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from services.gateway.fhir.render import Frame, View
from services.gateway.native import reading
from services.gateway.native.commands import COMMANDS
from services.gateway.native.erasures import OPEN, STATES
from services.gateway.native.models import TimelineStep
from services.gateway.native.referrals import show
from services.gateway.native.timeline import SHOWN, steps_of
from services.kit.errors import Refused
from services.kit.ports.delivery import ErasureState
from services.kit.ports.referral import ReferralState

NOW = datetime(2026, 3, 5, 14, 30, 12, 345678, UTC)
REF, CASE = UUID(int=11, version=4), UUID(int=12, version=4)
KEY = b"k" * 32


def state(**changes: Any) -> ReferralState:
    known: dict[str, Any] = {
        "referral_ref": REF,
        "case_ref": CASE,
        "from_org": "ong-norte",
        "to_org": "refugio-sur",
        "status": "accepted",
        "version": 3,
        "purpose": "service_referral",
        "service_type": "shelter_specialized",
        "priority": "urgent",
        "special_requirements": ("interpreter",),
        "data_categories": ("pseudonymous_core", "contact"),
        "consent_ref": UUID(int=13, version=4),
        "vault_version": 1,
        "directory_entry": None,
        "response_due": NOW + timedelta(days=1),
        "reason_code": None,
        "outcome": None,
        "appointment_outcome": None,
        "created_at": NOW - timedelta(hours=2),
        "updated_at": NOW,
    }
    return ReferralState(**(known | changes))


def view(org: str, **changes: Any) -> View:
    frame = Frame(
        base="https://cauce.example/fhir",
        zone=ZoneInfo("America/Bogota"),
        alias_key=KEY,
        partner=lambda _: None,
    )
    return View(frame=frame, org=org, state=state(**changes), subject_ref=UUID(int=14, version=4))


def erasure(state_: str, effect: str | None = None) -> ErasureState:
    return ErasureState(
        request_id=uuid4(),
        referral_ref=REF,
        to_org="refugio-sur",
        state=state_,
        effect=effect,
        data_categories=(),
        requested_at=NOW,
        due_at=NOW,
        place=uuid4(),
    )


def test_every_command_of_a_party_on_what_was_sent_can_be_given_and_no_other() -> None:
    text = files("services.referral").joinpath("transitions.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    of_parties = {
        row["command"]
        for row in rows
        if {"sender", "recipient"} & set(row["actors"].split()) and row["from"] != "draft"
    }
    assert of_parties == COMMANDS


def test_every_step_that_may_be_shown_has_a_field() -> None:
    for table in SHOWN.values():
        for names in table.values():
            assert set(names) <= set(TimelineStep.model_fields)


def test_the_recipient_sees_neither_case_nor_content_nor_the_senders_instants() -> None:
    mine, theirs = show(view("ong-norte")), show(view("refugio-sur"))
    assert mine.case is not None
    assert mine.service_type == "shelter_specialized"
    for name in ("case", "purpose", "service_type", "special_requirements", "data_categories"):
        assert getattr(theirs, name) is None
    said = theirs.model_dump_json(exclude_none=True)
    assert '"created":"2026-03-05"' in said
    assert '"response_due":"2026-03-06"' in said
    for hidden in (REF, CASE):
        assert str(hidden) not in said + mine.model_dump_json()
    assert NOW - timedelta(seconds=1) < theirs.updated_at < NOW
    assert mine.updated_at == NOW.replace(microsecond=345000)


def test_a_request_to_erase_that_waits_is_shown_before_one_that_was_answered() -> None:
    requests = [erasure("sent"), erasure("acknowledged", "deleted")]
    shown = show(view("ong-norte"), requests).erasure
    assert shown is not None
    assert (shown.state, shown.effect) == ("sent", None)
    answered = show(view("ong-norte"), requests[1:]).erasure
    assert answered is not None
    assert answered.effect == "deleted"
    assert show(view("ong-norte"), []).erasure is None
    assert set(OPEN) < set(STATES)


def events() -> list[tuple[str, dict[str, Any]]]:
    def body(**more: Any) -> dict[str, Any]:
        return {"occurred_at": NOW, "referral_ref": REF, "case_ref": CASE, **more}

    return [
        ("case.opened", {"occurred_at": NOW, "case_ref": CASE}),
        ("referral.requested", body(data_categories=("contact",))),
        ("referral.sent", body(version=1, data_categories=("contact",), purpose="x")),
        ("referral.delivery_failed", body(version=2, error_class="timeout", attempts=3)),
        ("disclosure.refused", body(stage="delivery", rule="no-permit")),
        ("disclosure.made", body(data_categories=("contact",), grant_ref=uuid4())),
        (
            "referral.status_changed",
            body(version=3, to_status="accepted", from_status="sent", actor_org="refugio-sur"),
        ),
        ("referral.status_changed", {**body(version=9, to_status="x"), "referral_ref": uuid4()}),
        (
            "referral.answer_due",
            body(version=3, answer_stage="overdue", owed_by="refugio-sur", to_org="refugio-sur"),
        ),
        (
            "consent.effect_reported",
            {"occurred_at": NOW, "correlation_id": REF, "withdrawal_effect": "deleted"},
        ),
    ]


def test_a_timeline_shows_each_side_what_its_table_names() -> None:
    mine = steps_of(events(), view("ong-norte"), REF)
    theirs = steps_of(events(), view("refugio-sur"), REF)
    assert [one.type for one in mine] == [
        "referral.requested", "referral.sent", "referral.delivery_failed", "disclosure.refused",
        "disclosure.made", "referral.status_changed", "referral.answer_due",
        "consent.effect_reported",
    ]  # fmt: skip
    assert [one.type for one in theirs] == [
        "referral.sent", "disclosure.made", "referral.status_changed", "referral.answer_due",
        "consent.effect_reported",
    ]  # fmt: skip
    assert theirs[0].data_categories is None
    assert theirs[2].status == "accepted"
    assert theirs[3].owed_by == "recipient"
    assert theirs[4].effect == "deleted"
    assert mine[3].rule == "no-permit"
    assert all(one.at == NOW for one in mine)
    assert all(NOW - timedelta(seconds=1) < one.at <= NOW for one in theirs)
    assert len({one.at for one in theirs}) > 1


def test_a_cursor_serves_its_own_list_and_organisation_alone() -> None:
    made = reading.make_cursor("referrals", (NOW, REF), "ong-norte", KEY)
    assert reading.open_cursor("referrals", made, "ong-norte", KEY) == (NOW, REF)
    for name, text, org in (
        ("erasures", made, "ong-norte"),
        ("referrals", made, "refugio-sur"),
        ("referrals", "zzqx", "ong-norte"),
    ):
        with pytest.raises(Refused):
            reading.open_cursor(name, text, org, KEY)
