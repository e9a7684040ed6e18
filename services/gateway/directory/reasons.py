"""Why a service stands where it stands in a list of proposals: one small rule each. Pure.

It guards that each rule looks at one thing and that a better entry never gets fewer points; a rule
says its reason by a code, whose texts are a data file. Who is left out is decided elsewhere.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from services.gateway.intake.domain import DUE_HOURS
from services.kit.entry import Entry, Limits
from services.kit.errors import Language

URGENT: Final = frozenset({"immediate", "urgent"})
WOMEN: Final = frozenset({"women", "girls"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What is looked for; never who. Absent: it does not matter or is not known."""

    service_type: str
    country: str | None = None
    admin1: str | None = None
    ages: tuple[int, ...] = ()
    """Youngest and oldest age in question; one where it is known; none."""
    population_type: str | None = None
    sex_age_group: str | None = None
    languages: frozenset[str] = frozenset()
    special_requirements: frozenset[str] = frozenset()
    priority: str = "routine"


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason; `facts` are numbers of the entry for its text."""

    code: str
    points: int
    facts: Mapping[str, int] = field(default_factory=dict)

    def text(self, lang: Language) -> str:
        """In the reader's language."""
        return texts()[self.code][lang].format(**self.facts)


@dataclass(frozen=True, slots=True)
class Look:
    """What every rule is given."""

    needs: Needs
    entry: Entry
    now: datetime
    limits: Limits


@cache
def texts() -> Mapping[str, Mapping[Language, str]]:
    """Texts of each reason."""
    path = files("services.gateway.directory").joinpath("data/reasons.csv")
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    langs: tuple[Language, ...] = ("es", "en", "pt")
    return MappingProxyType({r["code"]: {lang: r[f"text_{lang}"] for lang in langs} for r in rows})


def reasons(look: Look) -> tuple[Reason, ...]:
    """Every reason, the weightiest first."""
    found = [reason for rule in _RULES if (reason := rule(look)) is not None]
    return tuple(sorted(found, key=lambda reason: (-reason.points, reason.code)))


def _near(look: Look) -> Reason | None:
    wanted, entry = look.needs.admin1, look.entry
    if wanted is None:
        return None
    if entry.is_secret or not entry.admin1:
        return Reason("near-unknown", 15)
    return Reason("near", 30) if wanted in entry.admin1 else Reason("near-elsewhere", 0)


def _language(look: Look) -> Reason | None:
    wanted, spoken = look.needs.languages, look.entry.languages
    if not wanted:
        return None
    if not spoken:
        return Reason("language-unknown", 5)
    primary = {one.partition("-")[0] for one in spoken}
    return Reason("language-yes", 20) if wanted & primary else Reason("language-no", 0)


def _capacity(look: Look) -> Reason:
    entry = look.entry
    if entry.capacity_status == "unknown":
        return Reason("capacity-unknown", 2)
    if entry.is_stale(look.now, look.limits):
        return Reason("capacity-stale", 6 if entry.capacity_status == "accepting" else 4)
    if entry.capacity_status == "limited":
        return Reason("capacity-limited", 12)
    if entry.capacity_free is not None:
        return Reason("capacity-places", 20, {"places": entry.capacity_free})
    return Reason("capacity-open", 20)


def _hours(look: Look) -> Reason:
    hours, weight = look.entry.opening_hours, 2 if look.needs.priority in URGENT else 1
    if hours is None:
        return Reason("hours-unknown", 3 * weight)
    now = hours.open_at(look.now)
    return Reason("hours-open", 10 * weight) if now else Reason("hours-closed", 0)


def _answers(look: Look) -> Reason:
    said = look.entry.response_time_hours
    if said is None:
        return Reason("answers-unknown", 4)
    in_time = said <= DUE_HOURS[look.needs.priority]
    code = "answers-in-time" if in_time else "answers-late"
    return Reason(code, 15 if in_time else 4, {"hours": said})


def _children(look: Look) -> Reason | None:
    if "with_children" not in look.needs.special_requirements:
        return None
    says = look.entry.accepts_children_with_adult
    if says is None:
        return Reason("children-unknown", 5)
    return Reason("children-yes", 25) if says else Reason("children-no", 0)


def _women(look: Look) -> Reason | None:
    if "women_only" not in look.needs.special_requirements:
        return None
    served = look.entry.population_served
    only = bool(served) and served <= WOMEN
    return Reason("women-group", 15) if only else Reason("women-unknown", 0)


def _lgbti(look: Look) -> Reason | None:
    if "lgbti_safe" not in look.needs.special_requirements:
        return None
    says = "lgbti" in look.entry.specialised_in
    return Reason("lgbti-yes", 15) if says else Reason("lgbti-no", 0)


def _discreet(look: Look) -> Reason | None:
    wanted = "discreet" in look.needs.special_requirements
    hidden = look.entry.address_confidentiality != "public"
    return Reason("discreet", 5) if wanted and hidden else None


def _accessible(look: Look) -> Reason | None:
    wanted = "accessible" in look.needs.special_requirements
    return Reason("ask-accessible", 0) if wanted else None


def _gender(look: Look) -> Reason | None:
    return Reason("gender-approach", 5) if look.entry.gender_approach else None


def _minors(look: Look) -> Reason | None:
    minor = bool(look.needs.ages) and max(look.needs.ages) < 18
    if minor and "child" in look.entry.specialised_in:
        return Reason("specialised-children", 10)
    return None


def _channel(look: Look) -> Reason | None:
    channels = look.entry.intake_channels
    if not channels:
        return None
    return Reason("channel-hub", 3) if "hub" in channels else Reason("channel-other", 0)


_RULES: Final[tuple[Callable[[Look], Reason | None], ...]] = (
    _near,
    _language,
    _capacity,
    _hours,
    _answers,
    _children,
    _women,
    _lgbti,
    _discreet,
    _accessible,
    _gender,
    _minors,
    _channel,
)
