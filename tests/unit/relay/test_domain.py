from datetime import date, timedelta
from uuid import uuid4

from services.relay import domain


def test_headers_are_routing_only_and_the_same_for_the_same_event() -> None:
    event_id = uuid4()
    headers = domain.headers("referral.sent", event_id, "cell-demo")
    assert [name for name, _ in headers] == [
        "ce_specversion", "ce_id", "ce_type", "ce_source", "traceparent",
    ]  # fmt: skip
    assert headers == domain.headers("referral.sent", event_id, "cell-demo")


def test_a_day_goes_after_the_longest_retention_unless_something_of_it_waits() -> None:
    today = date(2026, 3, 1)
    old = [today - timedelta(days=domain.kept_days() + n) for n in range(3)]
    assert domain.doomed([*old, today], today, []) == sorted(old[1:])
    assert domain.doomed([*old, today], today, [old[1]]) == [old[2]]


def test_events_of_a_case_go_in_their_time_though_the_day_stays_for_counts() -> None:
    today = date(2027, 3, 1)
    ages = [0, 90, 91, 400, 401]
    days = [today - timedelta(days=age) for age in ages]
    short = ["cauce.case", "cauce.dead", "cauce.directory"]
    assert domain.forgotten(days, today) == {days[3]: short, days[2]: short}
