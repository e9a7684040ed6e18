"""Who may refer what to whom (`wire.md` §4), in its order, as pure rules.

It guards that a referral goes only where both agreements, the directory and the need-to-know matrix
let it go; the first rule that says no is the answer. Consent itself is decided by the consent
service over the record that `records` makes of the submission.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from connectors.sdk.faults import Fault
from connectors.sdk.types import Submission
from services.kit.errors import Refused, catalogue
from services.kit.needs import Need, NoNeed, need_for
from services.kit.partner import Entry, Partner

NEVER_BY_REFERRAL: Final = frozenset(
    {"prosecution", "police", "judiciary", "migration_authority", "central_authority"}
)
"""Kinds of organisation that get packets, never referrals."""

DUE_HOURS: Final[Mapping[str, int]] = {"immediate": 1, "urgent": 3, "high": 24, "routine": 72}
"""Hours until an answer is due, by priority."""

CLOSED_CAPACITY: Final = frozenset({"full", "suspended"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A submission with the parties and the entry it names, as they stand now."""

    submission: Submission
    source: Partner
    recipient: Partner | None
    entry: Entry | None
    known_orgs: frozenset[str]
    now: datetime
    zone: ZoneInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What may be asked of consent: the need and the categories meant for the recipient."""

    need: Need
    recipient: Partner
    entry: Entry
    categories: tuple[str, ...]
    response_due: datetime


@dataclass(frozen=True, slots=True)
class _Known:
    """An `Asked` whose recipient and entry exist."""

    asked: Asked
    recipient: Partner
    entry: Entry

    @property
    def day(self) -> date:
        return self.asked.now.astimezone(self.asked.zone).date()


@dataclass(frozen=True, kw_only=True, slots=True)
class Parties:
    """Who would receive what for: everything that is decided before consent is looked at."""

    recipient: Partner
    entry: Entry
    need: Need


def plan(asked: Asked) -> Plan:
    """The plan of a submission; Refused by the first rule that forbids it."""
    found = parties(asked)
    _check_actors(asked)
    categories = _categories(asked, found.recipient, found.need)
    return Plan(
        need=found.need,
        recipient=found.recipient,
        entry=found.entry,
        categories=categories,
        response_due=_due(asked),
    )


def parties(asked: Asked) -> Parties:
    """Recipient, entry and need of a submission; Refused by the first rule that forbids it."""
    check_source(asked)
    recipient = _recipient(asked)
    entry = _entry(asked, recipient)
    known = _Known(asked, recipient, entry)
    for rule, broken in _RULES:
        if broken(known):
            raise Refused.of("not-permitted", rule)
    _check_age(known)
    if recipient.org_type in NEVER_BY_REFERRAL:
        raise Refused.of("use-packet", "org-type")
    need = _need(asked, recipient)
    return Parties(recipient=recipient, entry=entry, need=need)


def check_source(asked: Asked) -> None:
    """Refused when this source may not refer for this kind of service to anybody."""
    source, service = asked.source, asked.submission.referral.service_type
    if not source.in_force(asked.now.astimezone(asked.zone).date()):
        raise Refused.of("forbidden", "partner")
    if "source" not in source.roles:
        raise Refused.of("not-permitted", "source-role")
    if service in ("justice_access_prosecution", "police_protection"):
        raise Refused.of("use-packet", "service-type-not-referred")
    if service not in source.agreement.service_types_out:
        raise Refused.of("not-permitted", "source-service-type")


def _recipient(asked: Asked) -> Partner:
    recipient = asked.recipient
    day = asked.now.astimezone(asked.zone).date()
    if recipient is None or not recipient.in_force(day):
        raise Refused.of("not-permitted", "recipient-agreement")
    if "recipient" not in recipient.roles:
        raise Refused.of("not-permitted", "recipient-role")
    if recipient.org == asked.source.org:
        raise Refused.of("not-permitted", "recipient-itself")
    return recipient


def _entry(asked: Asked, recipient: Partner) -> Entry:
    if asked.entry is None or asked.entry.org != recipient.org:
        raise Refused.of("not-permitted", "entry-of-recipient")
    return asked.entry


def _not_covered(known: _Known) -> bool:
    service = known.asked.submission.referral.service_type
    covered = known.entry.service_types & known.recipient.agreement.service_types_in
    return service not in covered


def _wrong_population(known: _Known) -> bool:
    population = known.asked.submission.person.population_type
    return bool(known.entry.population_types) and population not in known.entry.population_types


def _wrong_country(known: _Known) -> bool:
    return known.asked.submission.person.country not in (None, known.entry.country)


def _no_transfer(known: _Known) -> bool:
    source = known.asked.source
    abroad = known.recipient.country != source.country
    return abroad and source.agreement.transfer_mechanism is None


_RULES: Final[tuple[tuple[str, Callable[[_Known], bool]], ...]] = (
    ("entry-active", lambda known: known.entry.directory_status != "active"),
    ("entry-capacity", lambda known: known.entry.capacity_status in CLOSED_CAPACITY),
    ("entry-service-type", _not_covered),
    ("entry-population", _wrong_population),
    ("entry-country", _wrong_country),
    ("transfer", _no_transfer),
)


def _check_age(known: _Known) -> None:
    entry, person = known.entry, known.asked.submission.person
    if entry.age_min is None and entry.age_max is None:
        return
    if person.birth_date is None:
        raise Refused.of("required", "age")
    years = age(person.birth_date, known.day)
    if years < (entry.age_min or 0) or (entry.age_max is not None and years > entry.age_max):
        raise Refused.of("not-permitted", "entry-age")


def age(birth_date: str, today: date) -> int:
    """Whole years on a day; a partial birth date counts as the youngest age it allows."""
    parts = [int(part) for part in birth_date.split("-")]
    month, day = (*parts[1:], *(12, 31)[len(parts) - 1 :])
    return today.year - parts[0] - ((today.month, today.day) < (month, day))


def _need(asked: Asked, recipient: Partner) -> Need:
    emergency = asked.submission.consent.legal_basis == "vital_interest"
    service = asked.submission.referral.service_type or ""
    need = need_for(service, recipient.org_type, emergency=emergency)
    if isinstance(need, NoNeed):
        raise Refused.of(need.code, need.rule)
    return need


def _check_actors(asked: Asked) -> None:
    """Every organisation that the consent names is known here."""
    named = {item.to_org for item in asked.submission.consent.items} - {None}
    if named - asked.known_orgs:
        raise Refused.of("consent-actor", "unknown-organization")


def _categories(asked: Asked, recipient: Partner, need: Need) -> tuple[str, ...]:
    """What the permits for this recipient and purpose name; an excess is named and refused."""
    permitted = {
        category
        for item in asked.submission.consent.items
        if item.decision == "permit"
        and item.to_org == recipient.org
        and item.purpose == need.purpose
        for category in item.data_categories
    }
    agreements = (asked.source.agreement, recipient.agreement)
    if any(need.purpose not in agreement.purposes for agreement in agreements):
        raise Refused.of("not-permitted", "purpose-agreed")
    _refuse_excess(need.excess(permitted), "category-needed")
    for agreement in agreements:
        _refuse_excess(sorted(permitted - agreement.categories), "category-agreed")
    return tuple(sorted(permitted))


def _refuse_excess(excess: tuple[str, ...] | list[str], rule: str) -> None:
    """Name each category too many: they are codes of ours."""
    if excess:
        at = catalogue()["not-permitted", rule].field
        faults = [Fault("not-permitted", f"{at}.where(coding.code = '{c}')", rule) for c in excess]
        raise Refused(faults)


def _due(asked: Asked) -> datetime:
    referral = asked.submission.referral
    longest = asked.now + timedelta(hours=DUE_HOURS[referral.priority or "routine"])
    return min(longest, referral.response_due or longest)
