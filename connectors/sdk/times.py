"""Dates and instants as texts: partial dates, the cell's calendar, ages and age bands.

Guards that a date-only end includes its day and that a partial birth date counts as the youngest
age it allows, in every format. What a date is for, the rules know.
"""

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from connectors.sdk.report import Report

YEARS = range(1900, 9000)
"""Years in which calendars and time zones can be reckoned without running out of dates."""
DATE = re.compile(r"[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2})?)?")
INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
BANDS = (
    (5, "age_0_5"),
    (11, "age_6_11"),
    (14, "age_12_14"),
    (17, "age_15_17"),
    (25, "age_18_25"),
    (40, "age_26_40"),
    (60, "age_41_60"),
)
MINOR_BANDS = frozenset(band for limit, band in BANDS if limit < 18)


def age_band(age: int) -> str:
    """The age band of an age in full years."""
    return next((band for limit, band in BANDS if age <= limit), "age_61_plus")


def is_minor(band: str | None) -> bool | None:
    """Whether an age band is under 18; None where unknown."""
    return None if band in (None, "unknown") else band in MINOR_BANDS


def youngest_age(birth: str, today: date) -> int | None:
    """Youngest age in full years that a birth date allows; None when it lies in the future."""
    if first_day(birth) > today:
        return None
    born = min(last_day(birth), today)
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def first_day(text: str) -> date:
    """First day a date (year, month or day) can mean; ValueError otherwise."""
    parts = [int(part) for part in text.split("-")]
    return date(*[*parts, 1, 1][:3])


def last_day(text: str) -> date:
    """Last day a date (year, month or day) can mean; ValueError otherwise."""
    parts = [int(part) for part in text.split("-")]
    if len(parts) == 1:
        return date(parts[0], 12, 31)
    if len(parts) == 2:
        return date(parts[0], parts[1], monthrange(parts[0], parts[1])[1])
    return date(*parts[:3])


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a day of the zone, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def instant(
    text: str | None, zone: ZoneInfo, path: str, report: Report, *, end: bool = False
) -> datetime | None:
    """A date or an instant in UTC; a date is its first instant in the zone, as an end its last."""
    if text is None:
        return None
    try:
        if INSTANT.fullmatch(text):
            moment = datetime.fromisoformat(text)
            if moment.year not in YEARS:
                raise ValueError
            return moment.astimezone(UTC)
        if not DATE.fullmatch(text) or first_day(text).year not in YEARS:
            raise ValueError
        if end:
            return midnight(last_day(text) + timedelta(days=1), zone)
        return midnight(first_day(text), zone)
    except (ValueError, OverflowError):
        report.add("structure", path, "bad-format")
        return None


def months_later(moment: datetime, months: int, zone: ZoneInfo) -> datetime:
    """End of the local day that lies so many months after a moment."""
    local = moment.astimezone(zone)
    total = local.year * 12 + local.month - 1 + months
    year, month = total // 12, total % 12 + 1
    day = date(year, month, min(local.day, monthrange(year, month)[1]))
    return midnight(day + timedelta(days=1), zone)
