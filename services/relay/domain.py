"""What the relay decides: headers of a record, which days need a partition, which may go.

Pure. It guards that headers carry routing only (the CloudEvents binary mode) and that a day is kept
as long as the longest retention of a topic.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Final
from uuid import UUID

from schemas.topics import topics

DAYS_AHEAD: Final = 2
DAY_MS: Final = 24 * 3600 * 1000


def headers(event_type: str, event_id: UUID, cell: str) -> list[tuple[str, bytes]]:
    """CloudEvents attributes of a record and a trace of its own; nothing else ever."""
    # Derived from the event's id, so that a record sent twice is the same record.
    trace = f"00-{event_id.hex}-{event_id.hex[16:]}-01"
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event_id).encode()),
        ("ce_type", event_type.encode()),
        ("ce_source", f"/cauce/{cell}".encode()),
        ("traceparent", trace.encode()),
    ]


def kept_days() -> int:
    """Days a partition is kept: the longest retention of a topic."""
    return max(topic.retention_ms for topic in topics()) // DAY_MS


def forgotten(days: Iterable[date], today: date) -> Mapping[date, Sequence[str]]:
    """Day → topics whose events of that day have had their time, while others' have not.

    A pointer on `cauce.dead` stays as long as what it points to.
    """
    events = next(topic for topic in topics() if topic.name == "cauce.case")
    kept = {t.name: max(t.retention_ms, events.retention_ms) // DAY_MS for t in topics()}
    ages = {day: (today - day).days for day in days}
    return {
        day: names
        for day, age in sorted(ages.items())
        if age <= kept_days() and (names := sorted(n for n, most in kept.items() if age > most))
    }


def needed(today: date) -> tuple[date, date]:
    """First and last day that must have a partition now."""
    return today - timedelta(days=1), today + timedelta(days=DAYS_AHEAD)


def doomed(days: Iterable[date], today: date, waiting: Iterable[date]) -> Sequence[date]:
    """Days to drop: older than any topic keeps, and nothing of them waits for Kafka."""
    oldest, busy = today - timedelta(days=kept_days()), set(waiting)
    return sorted(day for day in days if day < oldest and day not in busy)
