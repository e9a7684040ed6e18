"""What may not stand together in a directory entry. Pure.

It guards that a secret service has no place, that hours can be read, and that every code is one of
ours; the same rules hold for a partner's file and for what its owner writes later.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from connectors.sdk.faults import Fault
from services.gateway.directory.models import CapacityBody, EntryBody, HoursBody, NeedsBody
from services.kit.places import lies_in

CLOSED: Final = frozenset({"full", "suspended"})


def entry_faults(entry: EntryBody) -> Iterator[Fault]:
    """Every fault of an entry, by its field."""
    yield from _places(entry)
    if entry.age_max is not None and entry.age_max < (entry.age_min or 0):
        yield Fault("value-invalid", "age_max", "age-order")
    yield from capacity_conflict(entry.capacity_status, entry.capacity_free)
    if entry.opening_hours is not None:
        yield from hours_faults(entry.opening_hours)


def needs_faults(needs: NeedsBody) -> Iterator[Fault]:
    """Every fault of what is looked for."""
    place, country = needs.admin1, needs.country
    if place is not None and country is not None and not lies_in(place, country):
        yield Fault("value-invalid", "admin1", "admin1-of-country")


def capacity_faults(capacity: CapacityBody) -> Iterator[Fault]:
    """Every fault of a capacity by itself."""
    yield from capacity_conflict(capacity.capacity_status, capacity.capacity_free)


def capacity_conflict(status: str, free: int | None) -> Iterator[Fault]:
    """Free places and a closed door, or none and an open one, contradict each other."""
    if free is not None and (free > 0 if status in CLOSED else free == 0 and status == "accepting"):
        yield Fault("value-invalid", "capacity_free", "contradiction")


def _places(entry: EntryBody) -> Iterator[Fault]:
    if entry.address_confidentiality == "secret":
        if entry.address is not None:
            yield Fault("value-invalid", "address", "secret-address")
        if entry.admin1:
            yield Fault("value-invalid", "admin1", "secret-place")
        return
    for number, part in enumerate(entry.admin1):
        if not lies_in(part, entry.country):
            yield Fault("value-invalid", f"admin1[{number}]", "admin1-of-country")


def hours_faults(hours: HoursBody) -> Iterator[Fault]:
    """Hours that cannot be: no such zone, an end before its beginning, two at once."""
    try:
        ZoneInfo(hours.time_zone)
    except (ValueError, OSError, LookupError):
        yield Fault("value-invalid", "opening_hours.time_zone", "time-zone")
    by_day: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for number, one in enumerate(hours.weekly):
        if one.closes <= one.opens:
            yield Fault("value-invalid", f"opening_hours.weekly[{number}]", "hours-order")
        by_day[one.day].append((one.opens, one.closes, number))
    for intervals in by_day.values():
        intervals.sort()
        for before, after in pairwise(intervals):
            if after[0] < before[1]:
                place = f"opening_hours.weekly[{after[2]}]"
                yield Fault("value-invalid", place, "hours-overlap")
    for number, closed in enumerate(hours.exceptions):
        if closed.last < closed.first:
            yield Fault("value-invalid", f"opening_hours.exceptions[{number}]", "hours-order")
