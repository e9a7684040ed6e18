"""A directory entry as its owner writes it and as everybody reads it (`/v1/directory`).

The same fields stand in a partner's file. Shapes are here; what may not stand together is in
`rules`.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field

from services.gateway.bodies import Body, Listed
from services.gateway.directory.domain import AGE_BANDS
from services.gateway.directory.reasons import Needs

Name = Annotated[str, Field(min_length=1, max_length=120)]
Line = Annotated[str, Field(min_length=1, max_length=160)]
Country = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Admin1 = Annotated[str, Field(pattern=r"^[A-Z]{2}-[A-Z0-9]{1,3}$")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
Status = Annotated[str, Listed("capacity_status")]
Service = Annotated[str, Listed("service_type")]
Population = Annotated[str, Listed("population_type")]
Group = Annotated[str, Listed("sex_age_group")]
Specialisation = Annotated[str, Listed("service_specialisation")]
Channel = Annotated[str, Listed("intake_channel")]
Requirement = Annotated[str, Listed("special_requirement")]
AtMost = Field(max_length=64)
Age = Annotated[int, Field(ge=0, le=120)]
Places = Annotated[int, Field(ge=0, le=100_000)]
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
Zone = Annotated[str, Field(pattern=r"^[A-Za-z_+\-0-9/]{2,48}$")]


class OpenBody(Body):
    """Open on one day of the week from `opens` until `closes` (24:00 ends the day)."""

    day: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    opens: Clock
    closes: Clock


class ClosedBody(Body):
    """Closed from one day to another, both included."""

    first: date = Field(alias="from")
    last: date = Field(alias="to")


class HoursBody(Body):
    """Opening hours by the week, in the service's own time zone, and days on which it is closed."""

    time_zone: Zone
    weekly: Annotated[tuple[OpenBody, ...], Field(max_length=42)] = ()
    exceptions: Annotated[tuple[ClosedBody, ...], Field(max_length=100)] = ()


class AddressBody(Body):
    """Where a service is; a secret one has none."""

    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=3)]
    city: Line | None = None
    postal_code: Annotated[str, Field(pattern=r"^[A-Za-z0-9 \-]{2,12}$")] | None = None


class CapacityBody(Body):
    """How full a service is, as of now."""

    capacity_status: Status
    capacity_free: Places | None = None


class EntryBody(Body):
    """A whole entry; what is left out is unknown, or takes its default."""

    name: Name
    service_types: Annotated[tuple[Service, ...], Field(min_length=1, max_length=64)]
    country: Country
    admin1: Annotated[tuple[Admin1, ...], Field(max_length=64)] = ()
    age_min: Age | None = None
    age_max: Age | None = None
    population_types: Annotated[tuple[Population, ...], AtMost] = ()
    population_served: Annotated[tuple[Group, ...], AtMost] = ()
    languages: Annotated[tuple[Language, ...], Field(max_length=32)] = ()
    capacity_status: Status = "accepting"
    capacity_free: Places | None = None
    opening_hours: HoursBody | None = None
    accepts_children_with_adult: bool | None = None
    gender_approach: bool | None = None
    specialised_in: Annotated[tuple[Specialisation, ...], AtMost] = ()
    intake_channels: Annotated[tuple[Channel, ...], AtMost] = ()
    response_time_hours: Annotated[int, Field(ge=1, le=720)] | None = None
    directory_status: Annotated[str, Listed("directory_status")] = "active"
    address_confidentiality: Annotated[str, Listed("address_confidentiality")] = "partners_only"
    address: AddressBody | None = None
    assured_date: date | None = None

    def record(self) -> dict[str, Any]:
        """The fields as they are stored."""
        return self.model_dump(mode="json", by_alias=True)


class EntryView(EntryBody):
    """An entry as everybody reads it."""

    id: str
    org: str
    version: int
    capacity_updated_at: str | None
    stale: bool
    """Whether the capacity was said too long ago to rely on."""
    open_now: bool | None
    """None: it does not say its hours."""


class EntryList(Body):
    """One page of the directory."""

    services: tuple[EntryView, ...]
    next: str | None
    """Where the next page is; None: this is the last."""


class NeedsBody(Body):
    """What is looked for: never a name, a document or a date of birth. Nothing of it is kept."""

    service_type: Service
    country: Country | None = None
    admin1: Admin1 | None = None
    age: Age | None = None
    age_band: Annotated[str, Listed("age_band")] | None = None
    population_type: Population | None = None
    sex_age_group: Group | None = None
    languages: Annotated[tuple[Language, ...], Field(max_length=16)] = ()
    special_requirements: Annotated[tuple[Requirement, ...], AtMost] = ()
    priority: Annotated[str, Listed("priority")] = "routine"

    def needs(self) -> Needs:
        """As the rules take it; an age in years goes before its band."""
        ages = AGE_BANDS[self.age_band or "unknown"] if self.age is None else (self.age,)
        return Needs(
            service_type=self.service_type,
            country=self.country,
            admin1=self.admin1,
            ages=ages,
            population_type=self.population_type,
            sex_age_group=self.sex_age_group,
            languages=frozenset(one.partition("-")[0] for one in self.languages),
            special_requirements=frozenset(self.special_requirements),
            priority=self.priority,
        )


class ReasonView(Body):
    """Why a service stands where it stands."""

    code: str
    points: int
    text: str


class ProposalView(Body):
    """A service that could take it."""

    rank: int
    points: int
    service: EntryView
    reasons: tuple[ReasonView, ...]


class ExcludedView(Body):
    """A service of the kind that could not take it, and the first reason why."""

    id: str
    org: str
    name: str
    code: str
    text: str


class ProposalList(Body):
    """Proposals, best first, and who was left out; a person chooses."""

    proposals: tuple[ProposalView, ...]
    excluded: tuple[ExcludedView, ...]
