"""Proposals, filters, hours and stale capacity: the pure rules, over many entries."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.directory.domain import (
    AGE_BANDS,
    Filter,
    Scene,
    listed,
    matches,
    propose,
)
from services.gateway.directory.models import EntryBody
from services.gateway.directory.proposals import shown
from services.gateway.directory.reasons import Needs, texts
from services.gateway.directory.render import healthcare_service, native
from services.gateway.directory.rules import entry_faults
from services.gateway.intake.domain import Asked, plan
from services.kit.entry import Address, Closure, Entry, Hours, Interval, Limits, read_entry
from services.kit.errors import Refused
from services.kit.partner import Partner
from tests.unit.gateway.test_intake_rules import ENTRY, agreement, partner, submission

NOW = datetime(2026, 6, 1, 15, tzinfo=UTC)  # Monday, 10:00 in Bogota
LIMITS = Limits(counted=3, open=30, closed=14)
ZONE = ZoneInfo("America/Bogota")
ALWAYS = Hours("America/Bogota", (Interval("mon", "08:00", "17:00"),), ())
NEVER = Hours("America/Bogota", (Interval("tue", "08:00", "17:00"),), ())
LANGS = ("es", "en", "pt")


def scene(*entries: Entry, **source: Any) -> Scene:
    """A source, and a recipient for each organisation that owns an entry."""
    partners: dict[str, Partner] = {"envia": partner("envia", **source)}
    for org in sorted({one.org for one in entries}):
        mine = tuple(one for one in entries if one.org == org)
        partners[org] = partner(org, services=mine)
    return Scene(source=partners["envia"], partners=partners, now=NOW, zone=ZONE, limits=LIMITS)


def entries() -> st.SearchStrategy[Entry]:
    """Entries of every make; their ids are given later."""
    return st.builds(
        replace,
        st.just(ENTRY),
        org=st.sampled_from(["recibe", "acoge"]),
        service_types=st.sampled_from([frozenset({"shelter_specialized"}), frozenset({"food"})]),
        country=st.sampled_from(["COL", "ECU"]),
        admin1=st.sampled_from([(), ("CO-ANT",), ("CO-ATL", "CO-ANT")]),
        age_min=st.sampled_from([None, 0, 14, 18]),
        age_max=st.sampled_from([None, 17, 25, 60]),
        population_types=st.sampled_from([frozenset(), frozenset({"in_transit"})]),
        population_served=st.sampled_from([frozenset(), frozenset({"women", "girls"})]),
        languages=st.sampled_from([(), ("es",), ("pt-BR", "en")]),
        capacity_status=st.sampled_from(["accepting", "limited", "full", "suspended", "unknown"]),
        capacity_free=st.sampled_from([None, 0, 4]),
        capacity_updated_at=st.sampled_from([None, NOW, NOW - timedelta(days=8)]),
        directory_status=st.sampled_from(["active", "temporarily_closed"]),
        address_confidentiality=st.sampled_from(["public", "partners_only", "secret"]),
        response_time_hours=st.sampled_from([None, 1, 3, 24, 100]),
        opening_hours=st.sampled_from([None, ALWAYS, NEVER]),
        accepts_children_with_adult=st.sampled_from([None, True, False]),
        gender_approach=st.sampled_from([None, True]),
        specialised_in=st.sampled_from([frozenset(), frozenset({"lgbti", "child"})]),
        intake_channels=st.sampled_from([(), ("hub",), ("phone",)]),
    )


@st.composite
def directories(draw: st.DrawFn) -> tuple[Entry, ...]:
    """Up to six entries with ids of their own."""
    found = draw(st.lists(entries(), min_size=1, max_size=6))
    return tuple(
        replace(one, id=f"servicio-{n}", entry_ref=UUID(int=n)) for n, one in enumerate(found)
    )


needs = st.builds(
    Needs,
    service_type=st.just("shelter_specialized"),
    country=st.sampled_from([None, "COL"]),
    admin1=st.sampled_from([None, "CO-ANT"]),
    ages=st.sampled_from([(), (9,), (30,), *AGE_BANDS.values()]),
    population_type=st.sampled_from([None, "in_transit"]),
    sex_age_group=st.sampled_from([None, "women", "men"]),
    languages=st.sampled_from([frozenset(), frozenset({"pt"})]),
    special_requirements=st.sets(
        st.sampled_from(["with_children", "women_only", "lgbti_safe", "discreet", "accessible"])
    ).map(frozenset),
    priority=st.sampled_from(["immediate", "urgent", "high", "routine"]),
)


@given(directories(), needs)
def test_every_service_of_the_kind_is_proposed_or_left_out_with_a_reason(
    directory: tuple[Entry, ...], wanted: Needs
) -> None:
    stage = scene(*directory)
    ranking = propose(wanted, stage)
    kind = [one.id for one in directory if wanted.service_type in one.service_types]
    told = [p.entry.id for p in ranking.proposals] + [e.entry.id for e in ranking.excluded]
    assert sorted(told) == sorted(kind)
    points = [proposal.points for proposal in ranking.proposals]
    assert points == sorted(points, reverse=True)
    for lang in LANGS:
        said = shown(ranking, stage, lang)  # type: ignore[arg-type]
        assert all(r["text"] for p in said["proposals"] for r in p["reasons"])
        assert all(one["text"] for one in said["excluded"])


@given(directories(), needs)
def test_the_same_question_has_the_same_answer_in_whatever_order_the_directory_is_read(
    directory: tuple[Entry, ...], wanted: Needs
) -> None:
    assert propose(wanted, scene(*directory)) == propose(wanted, scene(*reversed(directory)))


@given(directories(), needs)
def test_what_intake_would_refuse_is_never_proposed(
    directory: tuple[Entry, ...], wanted: Needs
) -> None:
    stage = scene(*directory)
    for proposal in propose(wanted, stage).proposals:
        entry = proposal.entry
        sent = submission(to_org=entry.org, directory_entry=entry.id)
        born = f"{2026 - wanted.ages[0]}-06-01" if wanted.ages else None
        person = sent.person.model_copy(
            update={
                "birth_date": born,
                "country": wanted.country,
                "population_type": wanted.population_type,
            }
        )
        items = tuple(i.model_copy(update={"to_org": entry.org}) for i in sent.consent.items)
        consent = sent.consent.model_copy(update={"items": items})
        plan(
            Asked(
                submission=sent.model_copy(update={"person": person, "consent": consent}),
                source=stage.source,
                recipient=stage.partners[entry.org],
                entry=entry,
                known_orgs=frozenset(stage.partners),
                now=NOW,
                zone=ZONE,
            )
        )


BETTER: list[dict[str, Any]] = [
    {"response_time_hours": 1},
    {"opening_hours": ALWAYS},
    {"accepts_children_with_adult": True},
    {"gender_approach": True},
    {"specialised_in": frozenset({"lgbti", "child"})},
    {"intake_channels": ("hub",)},
    {"languages": ("es", "pt")},
    {"capacity_status": "accepting", "capacity_free": 9, "capacity_updated_at": NOW},
    {"age_min": None, "age_max": None},
    {"population_types": frozenset()},
    {"directory_status": "active"},
    {"admin1": ("CO-ANT",), "address_confidentiality": "partners_only"},
]


@given(directories(), needs, st.sampled_from(BETTER), st.integers(0, 5))
def test_a_better_entry_never_stands_lower(
    directory: tuple[Entry, ...], wanted: Needs, better: dict[str, Any], which: int
) -> None:
    entry = directory[which % len(directory)]
    before = _rank(propose(wanted, scene(*directory)), entry.id)
    improved = tuple(replace(one, **better) if one is entry else one for one in directory)
    after = _rank(propose(wanted, scene(*improved)), entry.id)
    assert after <= before


def _rank(ranking: Any, entry_id: str) -> float:
    ids = [proposal.entry.id for proposal in ranking.proposals]
    return ids.index(entry_id) if entry_id in ids else float("inf")


def test_a_band_that_is_taken_in_part_and_an_age_that_is_missing_are_told_apart() -> None:
    ranged = replace(ENTRY, age_min=16)
    kind = Needs(service_type="shelter_specialized", population_type="in_transit")
    said = {
        ages: [one.rule for one in propose(replace(kind, ages=ages), scene(ranged)).excluded]
        for ages in ((), (15, 17), (9,), (20,))
    }
    assert said == {(): ["age-unknown"], (15, 17): ["age-band"], (9,): ["entry-age"], (20,): []}


def test_a_source_that_may_refer_it_to_nobody_is_refused() -> None:
    closed = scene(ENTRY, agreement=agreement(service_types_out=frozenset()))
    with pytest.raises(Refused, match="not-permitted/source-service-type"):
        propose(Needs(service_type="shelter_specialized"), closed)


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        (NOW, True),
        (NOW.replace(hour=12, minute=59), False),
        (NOW.replace(hour=13), True),
        (NOW.replace(hour=22), False),
        (NOW + timedelta(days=1), False),
    ],
)
def test_hours_are_read_in_their_own_zone_to_the_minute(at: datetime, *, is_open: bool) -> None:
    assert ALWAYS.open_at(at) is is_open


def test_a_closure_closes_both_its_days() -> None:
    day = date(2026, 6, 1)
    closed = replace(ALWAYS, exceptions=(Closure(day, day),))
    assert not closed.open_at(NOW)
    assert closed.open_at(NOW + timedelta(days=7))


@pytest.mark.parametrize(
    ("status", "free", "days", "stale"),
    [
        ("accepting", None, 29, False),
        ("accepting", None, 31, True),
        ("accepting", 4, 4, True),
        ("limited", None, 4, True),
        ("limited", 2, 2, False),
        ("full", 0, 13, False),
        ("suspended", None, 15, True),
        ("unknown", None, 0, True),
    ],
)
def test_capacity_grows_stale_by_its_kind(
    status: str, free: int | None, days: int, *, stale: bool
) -> None:
    said = NOW - timedelta(days=days)
    entry = replace(ENTRY, capacity_status=status, capacity_free=free, capacity_updated_at=said)
    assert entry.is_stale(NOW, LIMITS) is stale


@given(entries())
def test_no_reader_learns_the_place_of_a_secret_service(entry: Entry) -> None:
    address = Address(("Calle 1",), "Ciudad", None)
    hidden = replace(entry, address=address, admin1=("CO-XYZ",), address_confidentiality="secret")
    for body in (
        native(hidden, NOW, LIMITS),
        healthcare_service("https://x", hidden, "es", NOW, LIMITS),
    ):
        assert "Calle 1" not in repr(body)
        assert "CO-XYZ" not in repr(body)


@given(entries(), st.sampled_from(LANGS))
def test_every_entry_is_a_valid_healthcare_service(entry: Entry, lang: Any) -> None:
    placed = replace(entry, address=Address(("Calle 1",), "Ciudad", "050010"))
    body = healthcare_service("https://x.example", placed, lang, NOW, LIMITS)
    get_fhir_model_class("HealthcareService").model_validate(body)


@given(entries())
def test_what_is_stored_reads_back_and_passes_the_rules(entry: Entry) -> None:
    body = native(entry, NOW, LIMITS)
    names = set(EntryBody.model_fields)
    written = EntryBody.model_validate({k: v for k, v in body.items() if k in names})
    record = {**written.record(), "entry_ref": str(entry.entry_ref), "id": entry.id}
    again = read_entry(entry.org, record)
    assert (
        native(replace(again, capacity_updated_at=entry.capacity_updated_at), NOW, LIMITS) == body
    )
    found = {fault.rule for fault in entry_faults(written)}
    assert found <= {"contradiction", "age-order", "admin1-of-country"}


def test_the_list_is_narrowed_by_each_filter_alone() -> None:
    entry = replace(
        ENTRY, languages=("es-CO",), opening_hours=ALWAYS, admin1=("CO-ANT",),
        address_confidentiality="public", age_min=18, population_types=frozenset({"pendular"}),
    )  # fmt: skip
    yes = [
        Filter(), Filter(language="es"), Filter(open_now=True), Filter(admin1="CO-ANT"),
        Filter(age=18), Filter(population_type="pendular"), Filter(country="COL"),
        Filter(capacity="accepting"), Filter(stale=True), Filter(org="recibe"),
    ]  # fmt: skip
    no = [
        Filter(language="pt"), Filter(open_now=False), Filter(admin1="CO-ATL"), Filter(age=17),
        Filter(population_type="in_transit"), Filter(country="PER"), Filter(capacity="full"),
        Filter(stale=False), Filter(org="envia"), Filter(service_type="food"),
    ]  # fmt: skip
    assert all(matches(entry, wanted, NOW, LIMITS) for wanted in yes)
    assert not any(matches(entry, wanted, NOW, LIMITS) for wanted in no)
    assert [one.id for one in listed(scene(entry).partners)] == ["casa"]


def test_every_reason_has_a_text_in_three_languages() -> None:
    for said in texts().values():
        assert all(said[lang] for lang in LANGS)  # type: ignore[index]
