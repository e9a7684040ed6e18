"""The code lists, topics and registry as other parts read them."""

import csv
import json
from pathlib import Path

import pytest

import schemas
from schemas import codes, is_code, label, models, registry
from schemas.avsc import released, sources
from schemas.codes import code_lists, fhir_code
from schemas.topics import consumers_of, event_types, retention_ms, topics

SHOWN = (
    "address_confidentiality", "age_band", "answer_stage", "appointment_outcome", "assent_status",
    "capacity_status", "case_status", "confidentiality", "consent_form", "consent_giver",
    "consent_status", "data_category", "decision_stage", "directory_status", "intake_channel",
    "legal_basis",
    "org_type", "phenomenon", "population_type", "priority", "purpose", "referral_outcome",
    "referral_reason_code", "referral_status", "risk_level", "service_specialisation",
    "service_type", "sex",
    "sex_age_group", "smuggling_status", "special_requirement", "trafficking_status",
    "withdrawal_effect",
)  # fmt: skip


def rows() -> list[dict[str, str]]:
    """The lines of the committed table."""
    text = Path(schemas.__file__).with_name("codes.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_the_table_is_sorted_and_no_code_stands_twice_in_a_list() -> None:
    keys = [(r["enum"], int(r["order"])) for r in rows()]
    assert keys == sorted(keys)
    assert len({(r["enum"], r["code"]) for r in rows()}) == len(keys)


@pytest.mark.parametrize("enum", code_lists())
def test_a_list_counts_from_one_is_open_or_closed_and_named_in_two_languages(enum: str) -> None:
    mine = [r for r in rows() if r["enum"] == enum]
    assert [int(r["order"]) for r in mine] == list(range(1, len(mine) + 1))
    assert len({r["openness"] for r in mine}) == 1
    assert {r["openness"] for r in mine} <= {"open", "closed"}
    assert all(r["label_es"] and r["label_en"] for r in mine)
    assert all(r["code"].isascii() and len(r["code"]) <= 40 for r in mine)


@pytest.mark.parametrize("enum", SHOWN)
def test_a_list_that_people_see_has_portuguese_labels(enum: str) -> None:
    assert all(r["label_pt"] for r in rows() if r["enum"] == enum)


def test_labels_come_in_the_language_asked_for() -> None:
    asked = [label("referral_status", "on_hold", lang) for lang in ("es", "en", "pt")]
    assert asked == ["En pausa", "On hold", "Em pausa"]
    assert label("country_r4v", "BRA", "pt") == label("country_r4v", "BRA", "es")


def test_codes_are_in_order_and_unknown_ones_are_none() -> None:
    assert codes("priority") == ("immediate", "urgent", "high", "routine")
    assert is_code("priority", "high")
    assert not is_code("priority", "soon")
    assert not is_code("priority", None)
    with pytest.raises(KeyError):
        is_code("no_such_list", "high")
    with pytest.raises(KeyError):
        label("priority", "soon", "en")


@pytest.mark.parametrize("enum", ["referral_status", "priority"])
def test_every_code_that_travels_on_a_task_has_a_fhir_code(enum: str) -> None:
    assert all(fhir_code(enum, c) for c in codes(enum))


def test_the_topics_are_those_of_the_design() -> None:
    day = 24 * 60 * 60 * 1000
    found = [(t.name, t.key, t.partitions, t.cleanup_policy, t.retention_ms) for t in topics()]
    assert found == [
        ("cauce.case", "case_ref", 12, "delete", 90 * day),
        ("cauce.dead", "source_event_id", 3, "delete", 30 * day),
        ("cauce.directory", "entry_ref", 3, "compact", 90 * day),
        ("cauce.indicator", "report_ref", 3, "delete", 400 * day),
    ]


@pytest.mark.parametrize("text", ["", "90", "0d", "-1d", "90 days", "9d\n"])
def test_retention_is_a_number_of_days(text: str) -> None:
    with pytest.raises(ValueError, match="number of days"):
        retention_ms(text)


GATED = {
    "case.opened", "case.updated", "consent.given", "referral.requested", "referral.sent",
    "referral.status_changed", "referral.completed",
}  # fmt: skip


def test_gates_are_those_of_the_design() -> None:
    assert {t.type for t in event_types().values() if t.gated} == GATED


def test_consumers_are_those_of_the_design() -> None:
    listens = {s: [t.type for t in consumers_of(s)] for s in ("vault", "consent")}
    assert listens == {
        "vault": ["consent.expired", "consent.withdrawn"],
        "consent": ["consent.effect_reported", "disclosure.made"],
    }


def test_every_generated_class_is_exported() -> None:
    assert {s["name"] for s in sources().values()} <= set(schemas.__all__)
    for name in schemas.__all__:
        assert hasattr(schemas, name)


def test_an_event_class_says_its_type() -> None:
    for t in event_types().values():
        assert getattr(models, t.record.rpartition(".")[2]).event_type == t.type


def test_the_registry_serves_every_released_schema_by_id_and_by_subject() -> None:
    assert registry.subjects() == sorted(released())
    for subject in registry.subjects():
        for number in registry.versions(subject):
            entry = registry.version(subject, str(number))
            assert registry.schema_by_id(entry["id"]) == {"schema": entry["schema"]}
            parsed = json.loads(entry["schema"])
            assert f"{parsed['namespace']}.{parsed['name']}" == subject
        assert registry.version(subject, "latest") == registry.version(subject, "-1")


@pytest.mark.parametrize("wanted", ["0", "2000", "x", "", "1 "])
def test_an_unknown_version_is_answered_as_confluent_does(wanted: str) -> None:
    with pytest.raises(registry.NotFoundError) as caught:
        registry.version("cauce.case.v1.CaseOpened", wanted)
    assert caught.value.error_code == 40402


def test_unknown_subjects_and_ids_are_answered_as_confluent_does() -> None:
    with pytest.raises(registry.NotFoundError) as subject:
        registry.versions("nobody")
    with pytest.raises(registry.NotFoundError) as schema:
        registry.schema_by_id(0)
    assert (subject.value.error_code, schema.value.error_code) == (40401, 40403)
