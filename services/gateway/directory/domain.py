"""Which services could take a need, in which order and why, and why the others could not. Pure.

It guards that a service which a referral could not name (`wire.md` §4) is never proposed, by asking
the very rules of intake; that the order is the same whenever the same is asked; and that nothing is
chosen: a person reads the reasons and chooses.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from connectors.sdk.types import Case, Consent, Person, Referral, Submission
from services.gateway.directory.reasons import Look, Needs, Reason, reasons
from services.gateway.intake.domain import Asked, check_source, parties
from services.kit.entry import Entry, Limits
from services.kit.errors import Refused
from services.kit.partner import Partner

AGE_BANDS: Final[Mapping[str, tuple[int, ...]]] = {
    "age_0_5": (0, 5),
    "age_6_11": (6, 11),
    "age_12_14": (12, 14),
    "age_15_17": (15, 17),
    "age_18_25": (18, 25),
    "age_26_40": (26, 40),
    "age_41_60": (41, 60),
    "age_61_plus": (61, 120),
    "unknown": (),
}
"""Youngest and oldest age of each band."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Who asks, whom there is, and when."""

    source: Partner
    partners: Mapping[str, Partner]
    now: datetime
    zone: ZoneInfo
    limits: Limits


@dataclass(frozen=True, slots=True)
class Proposal:
    """A service that could take it; more points stand higher."""

    entry: Entry
    points: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Excluded:
    """A service of the kind that could not take it: by a refusal of the catalogue or a reason."""

    entry: Entry
    code: str | None
    """Code of the refusal; None: `rule` is a reason of ours."""
    rule: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """Proposals in order, and every other service of the kind."""

    proposals: tuple[Proposal, ...]
    excluded: tuple[Excluded, ...]


def propose(needs: Needs, scene: Scene) -> Ranking:
    """Rank the services of the kind; Refused where the source may refer it to nobody."""
    check_source(_asked(needs, scene, None, None, None))
    proposals: list[Proposal] = []
    excluded: list[Excluded] = []
    for entry in _offering(needs.service_type, scene.partners.values()):
        why = _excluded(needs, scene, entry)
        if why is not None:
            excluded.append(Excluded(entry, *why))
            continue
        found = reasons(Look(needs, entry, scene.now, scene.limits))
        proposals.append(Proposal(entry, sum(reason.points for reason in found), found))
    proposals.sort(key=lambda proposal: (-proposal.points, proposal.entry.id))
    excluded.sort(key=lambda one: one.entry.id)
    return Ranking(tuple(proposals), tuple(excluded))


def _offering(service_type: str, partners: Iterable[Partner]) -> Iterable[Entry]:
    """Entries of active recipients that offer this kind of service."""
    for partner in partners:
        if partner.status == "active" and "recipient" in partner.roles:
            yield from (e for e in partner.services if service_type in e.service_types)


def _excluded(needs: Needs, scene: Scene, entry: Entry) -> tuple[str | None, str] | None:
    """Why an entry could not take it; None: it could."""
    refused = [_refused(needs, scene, entry, age) for age in needs.ages or (None,)]
    why = next((one for one in refused if one is not None), None)
    if why == ("required", "age"):
        return None, "age-unknown"
    if why is not None and None in refused:
        return None, "age-band"
    if why is not None:
        return why
    served = entry.population_served
    if needs.sex_age_group is not None and served and needs.sex_age_group not in served:
        return None, "group-not-served"
    return None


def _refused(needs: Needs, scene: Scene, entry: Entry, age: int | None) -> tuple[str, str] | None:
    """The first rule of intake that refuses a referral to this entry at this age."""
    try:
        parties(_asked(needs, scene, scene.partners[entry.org], entry, age))
    except Refused as refused:
        return refused.faults[0].code, refused.faults[0].rule
    return None


def _asked(
    needs: Needs, scene: Scene, recipient: Partner | None, entry: Entry | None, age: int | None
) -> Asked:
    """A referral of nobody in particular, as far as the rules before consent look at it."""
    person = Person(
        country=needs.country,
        population_type=needs.population_type,
        birth_date=None if age is None else _born(age, scene),
    )
    submission = Submission(
        case=Case(),
        person=person,
        consent=Consent(),
        referral=Referral(
            to_org=recipient.org if recipient else None,
            service_type=needs.service_type,
            directory_entry=entry.id if entry else None,
            priority=needs.priority,
        ),
    )
    return Asked(
        submission=submission,
        source=scene.source,
        recipient=recipient,
        entry=entry,
        known_orgs=frozenset(scene.partners),
        now=scene.now,
        zone=scene.zone,
    )


def _born(age: int, scene: Scene) -> str:
    """A birth date that makes somebody just this old today."""
    today = scene.now.astimezone(scene.zone).date()
    return f"{today.year - age:04d}-{today.month:02d}-{today.day:02d}"


def listed(partners: Mapping[str, Partner]) -> list[Entry]:
    """Entries of active partners that send or receive referrals, by id."""
    found = [
        entry
        for partner in partners.values()
        if partner.status == "active" and partner.roles & {"source", "recipient"}
        for entry in partner.services
    ]
    return sorted(found, key=lambda entry: entry.id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """What a list of the directory is narrowed by; None: by nothing."""

    service_type: str | None = None
    country: str | None = None
    admin1: str | None = None
    age: int | None = None
    population_type: str | None = None
    language: str | None = None
    open_now: bool | None = None
    capacity: str | None = None
    stale: bool | None = None
    org: str | None = None


def matches(entry: Entry, wanted: Filter, now: datetime, limits: Limits) -> bool:
    """Whether an entry passes every part of the filter."""
    young, old = entry.age_min or 0, 120 if entry.age_max is None else entry.age_max
    hours = entry.opening_hours
    checks = (
        (wanted.service_type, lambda v: v in entry.service_types),
        (wanted.country, lambda v: v == entry.country),
        # A place is not told of a secret service: it is neither found nor left out by it.
        (wanted.admin1, lambda v: entry.is_secret or not entry.admin1 or v in entry.admin1),
        (wanted.age, lambda v: young <= v <= old),
        (wanted.population_type, lambda v: v in (entry.population_types or {v})),
        (wanted.language, lambda v: v in {one.partition("-")[0] for one in entry.languages}),
        (wanted.open_now, lambda v: hours is not None and hours.open_at(now) is v),
        (wanted.capacity, lambda v: v == entry.capacity_status),
        (wanted.stale, lambda v: entry.is_stale(now, limits) is v),
        (wanted.org, lambda v: v == entry.org),
    )
    return all(value is None or passes(value) for value, passes in checks)
