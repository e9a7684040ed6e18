"""What a record is after changes: the named fields alone, and no rule broken between fields."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.native.mapping import to_changes
from connectors.sdk.amending import Changes, amended, categories, differences
from connectors.sdk.faults import Faults
from connectors.sdk.inbound import Context
from connectors.sdk.report import Report
from connectors.sdk.types import Case, Name, Person, Release, Telecom, select, split

TODAY = date(2026, 3, 1)
CONTEXT = Context(
    "ong-norte", datetime(2026, 3, 1, 12, tzinfo=UTC), "America/Bogota", "https://cauce.example"
)
OLD = Release(
    person=Person(
        names=(Name(text="Invented"),),
        birth_date="1990-05-02",
        sex="female",
        age_band="age_26_40",
        is_minor=False,
        telecom=(Telecom(system="phone", value="1"),),
    ),
    case=Case(risk_level="low", phenomenon="trafficking"),
)
VALUES: dict[str, Any] = {
    "person.sex": "male",
    "person.languages": ["es"],
    "person.names": [{"text": "Other"}],
    "person.telecom": [{"system": "phone", "value": "2"}],
    "case.risk_level": "high",
    "case.phenomenon": "smuggling",
}


def after(changes: Changes, old: Release = OLD) -> Release:
    report = Report()
    made = amended(old, changes, TODAY, report)
    assert report.faults == []
    return made


def faults_of(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    with pytest.raises(Faults) as found:
        to_changes(document, CONTEXT)
    return [(f.code, f.field, f.rule) for f in found.value.faults]


@given(st.sets(st.sampled_from(sorted(VALUES))), st.sets(st.sampled_from(sorted(VALUES))))
def test_nothing_changes_but_what_is_named(given_: set[str], removed: set[str]) -> None:
    removed -= given_
    parts: dict[str, dict[str, Any]] = {"person": {}, "case": {}}
    for name in given_:
        part, _, field = name.partition(".")
        parts[part][field] = VALUES[name]
    changes = Changes(parts["person"], parts["case"], tuple(removed))
    new = after(changes)
    assert set(differences(OLD, new)) <= given_ | removed
    kept = split(new.person, new.case)
    assert select(kept, kept) == new, "a record made of it says the same"
    for name in removed:
        part, _, field = name.partition(".")
        assert not getattr(getattr(new, part), field)


def test_a_birth_date_takes_along_what_was_reckoned_from_it() -> None:
    changes = to_changes({"person": {"birth_date": "2012-01-31"}}, CONTEXT)
    assert changes.fields() == ("person.age_band", "person.birth_date", "person.is_minor")
    new = after(changes)
    assert (new.person.age_band, new.person.is_minor) == ("age_12_14", True)
    assert differences(OLD, new) == changes.fields()
    assert categories(changes.fields()) == ("identity", "pseudonymous_core")


def test_a_birth_date_that_is_removed_leaves_no_age() -> None:
    new = after(Changes(removed=("person.birth_date",)))
    assert (new.person.birth_date, new.person.age_band, new.person.is_minor) == (None, None, None)


def test_an_age_reckoned_long_ago_is_no_contradiction_of_another_change() -> None:
    stale = replace_person(OLD, age_band="age_18_25")
    assert differences(stale, after(Changes({"sex": "male"}), stale)) == ("person.sex",)


def replace_person(old: Release, **fields: Any) -> Release:
    return old.model_copy(update={"person": old.person.model_copy(update=fields)})


@pytest.mark.parametrize(
    ("person", "field"),
    [
        ({"age_band": "age_0_5"}, "person.birth_date"),
        ({"is_minor": True}, "person.is_minor"),
    ],
)
def test_what_the_record_contradicts_is_named(person: dict[str, Any], field: str) -> None:
    report = Report()
    amended(OLD, Changes(person), TODAY, report)
    found = {(fault.code, fault.field, fault.rule) for fault in report.faults}
    assert ("value-invalid", field, "contradiction") in found


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, ("required", "person", "element")),
        ({"person": {}, "facts": {}}, ("required", "person", "element")),
        ({"person": []}, ("structure", "person", "wrong-type")),
        ({"person": {"sex": "blue"}}, ("code-invalid", "person.sex", "not-in-list")),
        (
            {"person": {"telecom": [{"value": "1"}]}},
            ("invariant", "person.telecom[0].system", "contact-system"),
        ),
        ({"facts": {"risk_level": "x"}}, ("code-invalid", "facts.risk_level", "not-in-list")),
        (
            {"facts": {"requisition": {"value": "7"}}},
            ("unsupported", "facts.requisition", "element"),
        ),
        ({"remove": {}}, ("structure", "remove", "wrong-type")),
        ({"remove": [7]}, ("code-invalid", "remove[0]", "not-in-list")),
        ({"remove": ["case.risk_level"]}, ("code-invalid", "remove[0]", "not-in-list")),
        ({"remove": ["facts.requisition"]}, ("code-invalid", "remove[0]", "not-in-list")),
        (
            {"person": {"sex": "male"}, "remove": ["person.sex"]},
            ("value-invalid", "remove[0]", "contradiction"),
        ),
    ],
)
def test_a_change_is_judged_as_a_referral_is(
    document: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert faults_of(document) == [expected]


def test_no_value_is_in_a_repr() -> None:
    changes = to_changes({"person": {"names": [{"text": "Invented"}]}}, CONTEXT)
    assert "Invented" not in repr(replace(changes, removed=("person.telecom",)))
