"""Who may refer what to whom: each rule by one change to a referral that is permitted."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from connectors.sdk.types import Case, Consent, ConsentItem, Person, Referral, Submission
from services.gateway.intake.domain import Asked, age, plan
from services.kit.errors import Refused
from services.kit.partners import Agreement, Entry, Partner

NOW = datetime(2026, 6, 1, 15, tzinfo=UTC)
SERVICES = frozenset({"shelter_specialized", "asylum", "rescue"})


def agreement(**changes: Any) -> Agreement:
    base = Agreement(
        ref="A-1",
        valid_from=date(2026, 1, 1),
        valid_to=date(2026, 6, 1),
        purposes=frozenset({"service_referral", "emergency"}),
        categories=frozenset({"pseudonymous_core", "contact", "identity"}),
        service_types_out=SERVICES,
        service_types_in=SERVICES,
        erasure_days=15,
    )
    return replace(base, **changes)


def partner(org: str, **changes: Any) -> Partner:
    base = Partner(
        org=org,
        version=1,
        name=org,
        alias=f"{org}-x",
        org_type="shelter",
        country="COL",
        language="es",
        roles=frozenset({"source", "recipient"}),
        agreement=agreement(),
        connector=None,
        jwks={},
        transport="pull",
        requests_per_minute=None,
        concurrency=None,
        labels=frozenset(),
        status="active",
        services=(),
    )
    return replace(base, **changes)


ENTRY = Entry(
    entry_ref=uuid4(),
    id="casa",
    org="recibe",
    name="Casa",
    service_types=SERVICES,
    country="COL",
    admin1=(),
    age_min=None,
    age_max=None,
    population_types=frozenset(),
    languages=(),
    capacity_status="accepting",
    directory_status="active",
    address_confidentiality="secret",
    response_time_hours=None,
)


def submission(**referral: Any) -> Submission:
    item = ConsentItem(
        decision="permit",
        purpose="service_referral",
        to_org="recibe",
        data_categories=("contact", "pseudonymous_core"),
    )
    asked = {"to_org": "recibe", "service_type": "shelter_specialized", **referral}
    return Submission(
        case=Case(),
        person=Person(country="COL", population_type="in_transit", birth_date="2000-06-02"),
        consent=Consent(legal_basis="consent", items=(item,)),
        referral=Referral(**asked),
    )


def asked(**changes: Any) -> Asked:
    base = Asked(
        submission=submission(),
        source=partner("envia"),
        recipient=partner("recibe"),
        entry=ENTRY,
        known_orgs=frozenset({"envia", "recibe"}),
        now=NOW,
        zone=ZoneInfo("America/Bogota"),
    )
    return replace(base, **changes)


def entry(**changes: Any) -> Callable[[], Asked]:
    return lambda: asked(entry=replace(ENTRY, **changes))


def source(**changes: Any) -> Callable[[], Asked]:
    return lambda: asked(source=partner("envia", **changes))


def recipient(**changes: Any) -> Callable[[], Asked]:
    return lambda: asked(recipient=partner("recibe", **changes))


def named(**changes: Any) -> Callable[[], Asked]:
    return lambda: asked(submission=submission(**changes))


def permit(**changes: Any) -> Callable[[], Asked]:
    def make() -> Asked:
        base = submission()
        item = base.consent.items[0].model_copy(update=changes)
        consent = base.consent.model_copy(update={"items": (item,)})
        return asked(submission=base.model_copy(update={"consent": consent}))

    return make


def test_a_permitted_referral_has_a_plan() -> None:
    made = plan(asked())
    assert made.categories == ("contact", "pseudonymous_core")
    assert made.need.purpose == "service_referral"
    assert made.response_due == NOW + timedelta(hours=72)


@pytest.mark.parametrize(
    ("code", "rule", "change"),
    [
        (
            "forbidden",
            "partner",
            source(agreement=agreement(valid_to=date(2026, 5, 31))),
        ),
        ("forbidden", "partner", source(status="suspended")),
        ("not-permitted", "source-role", source(roles=frozenset({"recipient"}))),
        ("not-permitted", "source-service-type", named(service_type="food")),
        ("use-packet", "service-type-not-referred", named(service_type="police_protection")),
        ("not-permitted", "recipient-agreement", lambda: asked(recipient=None)),
        ("not-permitted", "recipient-role", recipient(roles=frozenset({"source"}))),
        ("not-permitted", "recipient-itself", lambda: asked(recipient=partner("envia"))),
        ("not-permitted", "entry-of-recipient", entry(org="otra")),
        ("not-permitted", "entry-of-recipient", lambda: asked(entry=None)),
        ("not-permitted", "entry-active", entry(directory_status="inactive")),
        ("not-permitted", "entry-capacity", entry(capacity_status="full")),
        ("not-permitted", "entry-service-type", entry(service_types=frozenset({"asylum"}))),
        ("not-permitted", "entry-population", entry(population_types=frozenset({"pendular"}))),
        ("not-permitted", "entry-country", entry(country="PER")),
        ("not-permitted", "entry-age", entry(age_min=26)),
        ("not-permitted", "entry-age", entry(age_max=24)),
        ("not-permitted", "transfer", recipient(country="PER")),
        ("use-packet", "org-type", recipient(org_type="police")),
        ("not-permitted", "service-type-not-referred", named(service_type="rescue")),
        ("not-permitted", "org-type-of-service", named(service_type="asylum")),
        ("consent-actor", "unknown-organization", permit(to_org="nadie")),
        (
            "not-permitted",
            "purpose-agreed",
            recipient(agreement=agreement(purposes=frozenset({"emergency"}))),
        ),
        (
            "not-permitted",
            "category-needed",
            permit(data_categories=("pseudonymous_core", "evidence")),
        ),
        (
            "not-permitted",
            "category-agreed",
            recipient(agreement=agreement(categories=frozenset({"contact"}))),
        ),
    ],
)
def test_each_rule_refuses_by_its_name(code: str, rule: str, change: Callable[[], Asked]) -> None:
    with pytest.raises(Refused) as refused:
        plan(change())
    fault = refused.value.faults[0]
    assert (fault.code, fault.rule) == (code, rule)


def test_an_excess_is_named_by_its_category() -> None:
    with pytest.raises(Refused) as refused:
        plan(permit(data_categories=("evidence", "pseudonymous_core"))())
    assert [fault.field for fault in refused.value.faults] == [
        "Consent.provision.provision.code.where(coding.code = 'evidence')"
    ]


def test_an_age_range_needs_an_age() -> None:
    base = submission()
    unknown = base.person.model_copy(update={"birth_date": None})
    with pytest.raises(Refused) as refused:
        plan(
            asked(
                submission=base.model_copy(update={"person": unknown}),
                entry=replace(ENTRY, age_min=18),
            )
        )
    assert refused.value.faults[0].rule == "age"


def test_a_deadline_may_only_shorten() -> None:
    soon, late = NOW + timedelta(hours=1), NOW + timedelta(days=30)
    assert plan(named(response_due=soon)()).response_due == soon
    assert plan(named(response_due=late)()).response_due == NOW + timedelta(hours=72)


@pytest.mark.parametrize(
    ("born", "years"),
    [("2000-06-01", 26), ("2000-06-02", 25), ("2000-06", 25), ("2000-05", 26), ("2000", 25)],
)
def test_a_partial_birth_date_is_the_youngest_age_it_allows(born: str, years: int) -> None:
    assert age(born, date(2026, 6, 1)) == years
