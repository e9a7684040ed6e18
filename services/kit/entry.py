"""A service in the directory, as a value: whom it takes, when it is open, how full it was. Pure.

It guards the one meaning of "open now" and of a capacity too old to rely on. Whether a record is
well formed is judged by the gateway before it is stored; who may refer there is `wire.md` §4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT: Final = "24:00"


@dataclass(frozen=True, slots=True)
class Interval:
    """Open on `day` from `opens` until before `closes`, both `HH:MM`; 24:00 ends the day."""

    day: str
    opens: str
    closes: str


@dataclass(frozen=True, slots=True)
class Closure:
    """Closed from the first day to the last, both included."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Hours:
    """When a service is open: by the week in its own time zone, but for closures."""

    time_zone: str
    weekly: tuple[Interval, ...]
    exceptions: tuple[Closure, ...]

    def open_at(self, now: datetime) -> bool:
        """Whether it is open at an instant."""
        local = now.astimezone(ZoneInfo(self.time_zone))
        if any(c.first <= local.date() <= c.last for c in self.exceptions):
            return False
        day, at = DAYS[local.weekday()], f"{local:%H:%M}"
        return any(i.day == day and i.opens <= at < i.closes for i in self.weekly)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service is; never of a secret one."""

    lines: tuple[str, ...]
    city: str | None
    postal_code: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Days after which a capacity is stale, by its kind."""

    counted: int
    """It counts its places, or says that few are left: that changes from day to day."""
    open: int
    """It takes referrals, and counts nothing."""
    closed: int
    """It is full or suspended: a door that stays shut by mistake."""

    def of(self, entry: "Entry") -> timedelta:
        """How long the word of this entry is good for."""
        if entry.capacity_status in ("full", "suspended"):
            return timedelta(days=self.closed)
        counts = entry.capacity_free is not None or entry.capacity_status == "limited"
        return timedelta(days=self.counted if counts else self.open)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A service of a partner in the directory (HealthcareService); ages in whole years."""

    entry_ref: UUID
    id: str
    """Its id on FHIR, chosen by the partner (`HealthcareService/<id>`), unique in the cell."""
    org: str
    name: str
    service_types: frozenset[str]
    country: str
    admin1: tuple[str, ...]
    """Empty: the whole country, or a place that is secret."""
    age_min: int | None
    age_max: int | None
    population_types: frozenset[str]
    """Empty: everybody."""
    languages: tuple[str, ...]
    capacity_status: str
    directory_status: str
    address_confidentiality: str
    response_time_hours: int | None
    version: int = 1
    capacity_free: int | None = None
    capacity_updated_at: datetime | None = None
    """None: nobody ever said."""
    opening_hours: Hours | None = None
    population_served: frozenset[str] = frozenset()
    """Sex and age groups; empty: all."""
    accepts_children_with_adult: bool | None = None
    gender_approach: bool | None = None
    specialised_in: frozenset[str] = frozenset()
    intake_channels: tuple[str, ...] = ()
    address: Address | None = None
    assured_date: date | None = None
    """When its owner last confirmed the whole entry."""

    @property
    def is_secret(self) -> bool:
        """Whether nobody may learn where it is."""
        return self.address_confidentiality == "secret"

    def is_stale(self, now: datetime, limits: Limits) -> bool:
        """Whether its capacity was said too long ago to rely on."""
        said = self.capacity_updated_at
        return said is None or self.capacity_status == "unknown" or now - said > limits.of(self)


def read_entry(org: str, record: Mapping[str, Any]) -> Entry:
    """An entry from its stored record; what an older record lacks is unknown."""
    said = record.get("capacity_updated_at")
    assured = record.get("assured_date")
    secret = record["address_confidentiality"] == "secret"
    return Entry(
        entry_ref=UUID(record["entry_ref"]),
        id=record["id"],
        org=org,
        name=record["name"],
        service_types=frozenset(record["service_types"]),
        country=record["country"],
        admin1=() if secret else tuple(record["admin1"]),
        age_min=record["age_min"],
        age_max=record["age_max"],
        population_types=frozenset(record["population_types"]),
        languages=tuple(record["languages"]),
        capacity_status=record["capacity_status"],
        directory_status=record["directory_status"],
        address_confidentiality=record["address_confidentiality"],
        response_time_hours=record["response_time_hours"],
        version=record.get("version", 1),
        capacity_free=record.get("capacity_free"),
        capacity_updated_at=datetime.fromisoformat(said) if said else None,
        opening_hours=_hours(record.get("opening_hours")),
        population_served=frozenset(record.get("population_served", ())),
        accepts_children_with_adult=record.get("accepts_children_with_adult"),
        gender_approach=record.get("gender_approach"),
        specialised_in=frozenset(record.get("specialised_in", ())),
        intake_channels=tuple(record.get("intake_channels", ())),
        address=None if secret else _address(record.get("address")),
        assured_date=date.fromisoformat(assured) if assured else None,
    )


def _hours(record: Mapping[str, Any] | None) -> Hours | None:
    if record is None:
        return None
    return Hours(
        record["time_zone"],
        tuple(Interval(i["day"], i["opens"], i["closes"]) for i in record["weekly"]),
        tuple(
            Closure(date.fromisoformat(c["from"]), date.fromisoformat(c["to"]))
            for c in record["exceptions"]
        ),
    )


def _address(record: Mapping[str, Any] | None) -> Address | None:
    if record is None:
        return None
    return Address(tuple(record["lines"]), record["city"], record["postal_code"])
