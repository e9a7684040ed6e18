"""The rules of a submission, over the identified types: one code for every format (`wire.md` §2).

Guards that who gave a consent, for how long, on what basis and for whom is judged alike however it
was written. A fault names the native field; a format that calls it otherwise has a table for that.
Rules that need the hub's own state (partners, directory, live consent) belong to the gateway.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from connectors.sdk.report import Report
from connectors.sdk.rules_codes import (
    DECISIONS,
    check_case,
    check_codes,
    check_person,
    check_referral,
)
from connectors.sdk.tables import notices, pairs
from connectors.sdk.times import age_band, is_minor, months_later, youngest_age
from connectors.sdk.types import Case, Consent, ConsentItem, Person, Referral, Submission

LEEWAY = timedelta(seconds=60)
LONGEST_MONTHS = 12
NARRATIVE = "experience_narrative"
FieldOf = Callable[[str], str]
"""The name that a format has for a native field."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a submission is judged, and by which calendar."""

    now: datetime
    zone: ZoneInfo

    @property
    def today(self) -> date:
        """The cell's day."""
        return self.now.astimezone(self.zone).date()


def judge(
    submission: Submission, moment: Moment, report: Report, field_of: FieldOf = str
) -> Submission:
    """The submission with what follows from it filled in; every broken rule is in the report."""
    found = Report()
    person = judge_person(submission.person, moment.today, found)
    consent = judge_consent(
        submission.consent, moment, found, minor=person.is_minor, relatives=len(person.relatives)
    )
    referral = _referral(submission.referral, consent, moment, found)
    check_case(submission.case, found)
    tell(found, report, field_of)
    _check_narratives(submission.case, consent, report, field_of)
    return Submission.model_construct(
        case=submission.case, person=person, consent=consent, referral=referral
    )


def judge_changes(
    person: Person, case: Case, today: date, report: Report, field_of: FieldOf = str
) -> Person:
    """The given fields of a person, with what follows from them, judged as those of a referral."""
    found = Report()
    judged = judge_person(person, today, found)
    check_case(case, found)
    tell(found, report, field_of)
    return judged


def tell(found: Report, report: Report, field_of: FieldOf) -> None:
    """Add the faults of rules, the first of each field, but for fields that could not be read."""
    known = [fault.field for fault in report.faults]
    seen: list[str] = []
    for fault in found.faults:
        at = field_of(fault.field)
        if not any(_same(fault.field, other) for other in seen):
            seen.append(fault.field)
            if not any(_same(at, other) for other in known):
                report.add(fault.code, at, fault.rule)


def _same(one: str, other: str) -> bool:
    """Whether one field is the other or part of it."""
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return longer.startswith(shorter) and longer[len(shorter) : len(shorter) + 1] in ("", ".", "[")


def judge_person(person: Person, today: date, report: Report) -> Person:
    """The person with age band and minority as the birth date gives them."""
    check_person(person, report)
    band = _band(person, today, report)
    minor = is_minor(band)
    if minor is None:
        minor = person.is_minor
    elif person.is_minor not in (None, minor):
        report.add("value-invalid", "person.is_minor", "contradiction")
    if (band, minor) == (person.age_band, person.is_minor):
        return person
    return person.model_copy(update={"age_band": band, "is_minor": minor})


def _band(person: Person, today: date, report: Report) -> str | None:
    birth, given = person.birth_date, person.age_band
    if birth is None:
        return given
    try:
        age = youngest_age(birth, today)
    except (ValueError, TypeError):
        report.add("structure", "person.birth_date", "bad-format")
        return None
    if age is None:
        report.add("value-invalid", "person.birth_date", "birth-date-future")
        return None
    band = age_band(age)
    if given not in (None, "unknown", band):
        report.add("value-invalid", "person.birth_date", "contradiction")
    return band


def judge_consent(
    consent: Consent,
    moment: Moment,
    report: Report,
    *,
    minor: bool | None,
    relatives: int | None = None,
    again: bool = False,
) -> Consent:
    """The consent with its periods filled in. `again`: a new version of one the hub holds."""
    check_codes(consent, "consent", report)
    if consent.given_at is None:
        report.add("required", "consent.given_at", "element")
    elif consent.given_at > moment.now + LEEWAY:
        report.add("consent-future", "consent.given_at", "future")
    start = consent.valid_from or consent.given_at
    _check_validity(consent, start, moment, report)
    _check_notice(consent, report)
    _check_giver(consent, relatives, report, minor=minor)
    _check_assent(consent, report, minor=minor)
    if consent.linked_to_perpetrator:
        report.add("consent-perpetrator", "consent.linked_to_perpetrator", "perpetrator")
    _check_basis(consent, report, again=again)
    items = judge_items(consent.items, start, consent.valid_to, report)
    return consent.model_copy(update={"valid_from": start, "items": items})


def judge_items(
    items: tuple[ConsentItem, ...], start: datetime | None, end: datetime | None, report: Report
) -> tuple[ConsentItem, ...]:
    """The items of a consent that holds from `start` to `end`; at least one permits."""
    found = tuple(
        _item(item, f"consent.items[{place}]", start, end, report)
        for place, item in enumerate(items)
    )
    if not any(item.decision == "permit" for item in found):
        report.add("consent-no-permit", "consent.items", "no-permit")
    return found


def _check_validity(
    consent: Consent, start: datetime | None, moment: Moment, report: Report
) -> None:
    end, given, now = consent.valid_to, consent.given_at, moment.now
    if start is not None and end is not None and end <= start and consent.valid_from is not None:
        report.add("invariant", "consent.valid_to", "period-order")
        return
    if start and given and months_later(start, LONGEST_MONTHS, moment.zone) <= given:
        report.add("consent-period", "consent.valid_from", "period")
        return
    anchor = None if given is None else min(given, now)
    if end is None or (anchor and end > months_later(anchor, LONGEST_MONTHS, moment.zone)):
        report.add("consent-period", "consent.valid_to", "period")
    elif end <= now:
        report.add("consent-expired", "consent.valid_to", "expired")


def _check_notice(consent: Consent, report: Report) -> None:
    for name in ("notice", "language"):
        if getattr(consent, name) is None:
            report.add("required", f"consent.{name}", "element")
    if consent.notice is None:
        return
    known = notices().get(consent.notice)
    if known is None:
        report.add("consent-notice", "consent.notice", "notice")
    elif consent.language is not None and consent.language not in known:
        report.add("consent-language", "consent.language", "language")


def _check_giver(
    consent: Consent, relatives: int | None, report: Report, *, minor: bool | None
) -> None:
    """`self`, `caregiver` or `legal_guardian`; absent only under another legal basis."""
    if consent.giver is None:
        if consent.legal_basis in (None, "consent"):
            report.add("consent-giver", "consent.giver", "giver")
    elif consent.giver == "self":
        if minor:
            report.add("consent-minor-giver", "consent.giver", "minor-giver")
    elif relatives is not None and not 0 <= _index(consent) < relatives:
        report.add("consent-giver", "consent.giver_relative", "giver")


def _index(consent: Consent) -> int:
    return -1 if consent.giver_relative is None else consent.giver_relative


def _check_assent(consent: Consent, report: Report, *, minor: bool | None) -> None:
    """A minor's assent beside the consent of a caregiver; no other basis waits for it."""
    consented = consent.legal_basis in (None, "consent")
    missing = minor and consented and consent.assent in (None, "not_applicable")
    if missing or consent.assent == "dissented":
        report.add("consent-assent", "consent.assent", "assent")


def _check_basis(consent: Consent, report: Report, *, again: bool) -> None:
    """Form and basis; who collected it is asked of a new consent, not of one written back."""
    for name in ("form", "collected_by_role", "legal_basis"):
        if getattr(consent, name) is None and not (again and name == "collected_by_role"):
            report.add("required", f"consent.{name}", "element")
    basis, reason, approver = consent.legal_basis, consent.reason_code, consent.approver
    if basis == "consent":
        if reason is not None or approver is not None:
            at = "reason_code" if reason is not None else "approver"
            report.add("consent-basis", f"consent.{at}", "basis")
        if consent.form == "none":
            report.add("consent-form", "consent.form", "form")
    elif basis is not None:
        if pairs("basis_reasons", "code", "legal_basis").get(reason or "") != basis:
            report.add("consent-basis", "consent.reason_code", "basis")
        elif approver is None:
            report.add("consent-basis", "consent.approver", "basis")


def _item(
    item: ConsentItem, at: str, start: datetime | None, end: datetime | None, report: Report
) -> ConsentItem:
    """One item, whose own period may not exceed the consent's; else it has the consent's."""
    check_codes(item, at, report)
    if item.decision in DECISIONS:
        _check_item(item, at, report)
    first, last = _item_period(item, at, start, end, report)
    made: dict[str, Any] = {
        "data_categories": tuple(sorted(set(item.data_categories))),
        "valid_from": first or start,
        "valid_to": last or end,
    }
    return item.model_copy(update=made)


def _check_item(item: ConsentItem, at: str, report: Report) -> None:
    _check_actor(item, at, report)
    if (item.purpose is None) == (item.decision == "permit"):
        report.add("consent-purpose", f"{at}.purpose", "purpose")
    if not item.data_categories:
        report.add("consent-codes", f"{at}.data_categories", "codes")


def _item_period(
    item: ConsentItem, at: str, start: datetime | None, end: datetime | None, report: Report
) -> tuple[datetime | None, datetime | None]:
    first, last = item.valid_from, item.valid_to
    begin = first or start
    if begin is not None and last is not None and last <= begin:
        report.add("invariant", f"{at}.valid_to", "period-order")
        return None, None
    if first is not None and start is not None and first < start:
        report.add("consent-item-period", f"{at}.valid_from", "item-period")
    elif last is not None and end is not None and last > end:
        report.add("consent-item-period", f"{at}.valid_to", "item-period")
    return first, last


def _check_actor(item: ConsentItem, at: str, report: Report) -> None:
    """A permit names one organisation; a deny names one, or a kind of them."""
    both = item.to_org is not None and item.to_kind is not None
    if both or (item.to_org is None and (item.to_kind is None or item.decision != "deny")):
        report.add("consent-actor", f"{at}.to_org", "actor")


def _referral(referral: Referral, consent: Consent, moment: Moment, report: Report) -> Referral:
    """The request with the categories that the permit for its recipient names."""
    check_referral(referral, report)
    for name in ("to_org", "service_type", "directory_entry"):
        if getattr(referral, name) is None:
            report.add("required", f"referral.{name}", "element")
    if referral.response_due is not None and referral.response_due <= moment.now:
        report.add("value-invalid", "referral.response_due", "due-past")
    categories = _data_categories(consent, referral.to_org)
    if referral.data_categories and tuple(sorted(set(referral.data_categories))) != categories:
        report.add("value-invalid", "referral.data_categories", "contradiction")
    made = {
        "data_categories": categories,
        "special_requirements": tuple(dict.fromkeys(referral.special_requirements)),
    }
    return referral.model_copy(update=made)


def _data_categories(consent: Consent, to_org: str | None) -> tuple[str, ...]:
    """What the one permit for the recipient names; with several the purpose decides, later."""
    permits = [i for i in consent.items if i.decision == "permit" and i.to_org == to_org]
    return permits[0].data_categories if len(permits) == 1 else ()


def _check_narratives(case: Case, consent: Consent, report: Report, field_of: FieldOf) -> None:
    """Free text is kept only where the person's consent declares it for somebody."""
    if report.faults or not case.narratives:
        return
    permits = (item for item in consent.items if item.decision == "permit")
    if not any(NARRATIVE in item.data_categories for item in permits):
        report.add("consent-narrative", field_of("case.narratives[0]"), "narrative")
