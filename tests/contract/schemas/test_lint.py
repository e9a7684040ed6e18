"""The committed schemas keep every rule, and each rule turns red for a fault planted against it."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from schemas import generate, lint, release
from schemas.avsc import Released, released, sources

Tree = dict[str, Any]
Plant = Callable[[Tree, dict[str, tuple[Released, ...]]], None]


def test_the_committed_schemas_keep_every_rule() -> None:
    assert lint.faults(sources(), released()) == []


def test_the_committed_classes_are_those_of_the_schemas() -> None:
    assert generate.main(["--check"]) == 0


def test_every_schema_is_released_as_it_stands() -> None:
    assert release.unreleased() == []


def field(tree: Tree, stem: str, name: str) -> dict[str, Any]:
    """The field of a schema file."""
    found: dict[str, Any] = next(f for f in tree[stem]["fields"] if f["name"] == name)
    return found


def in_file(stem: str, /, **changes: Any) -> Plant:
    """Change attributes of a record."""
    return lambda tree, _: tree[stem].update(changes)


def in_field(stem: str, name: str, /, **changes: Any) -> Plant:
    """Change attributes of a field."""
    return lambda tree, _: field(tree, stem, name).update(changes)


def without(stem: str, attribute: str, name: str | None = None) -> Plant:
    """Drop an attribute of a record or of its field."""

    def plant(tree: Tree, _: object) -> None:
        part = tree[stem] if name is None else field(tree, stem, name)
        del part[attribute]

    return plant


def more(stem: str, /, **spec: Any) -> Plant:
    """Add a field before the last two."""
    return lambda tree, _: tree[stem]["fields"].insert(-2, spec)


def less(stem: str, name: str) -> Plant:
    """Drop a field."""
    return lambda tree, _: tree[stem]["fields"].remove(field(tree, stem, name))


def reorder(stem: str, name: str, to: int) -> Plant:
    """Move a field."""

    def plant(tree: Tree, _: object) -> None:
        spec = field(tree, stem, name)
        tree[stem]["fields"].remove(spec)
        tree[stem]["fields"].insert(to, spec)

    return plant


def same_id_twice(_: Tree, old: dict[str, tuple[Released, ...]]) -> None:
    """Give two subjects one id."""
    first, second = list(old)[:2]
    old[second] = (replace(old[second][0], id=old[first][0].id),)


def starts_at_two(_: Tree, old: dict[str, tuple[Released, ...]]) -> None:
    """Skip version 1."""
    first = next(iter(old))
    old[first] = (replace(old[first][0], version=2),)


def edited_after_release(_: Tree, old: dict[str, tuple[Released, ...]]) -> None:
    """Touch a released file."""
    first = next(iter(old))
    old[first] = (replace(old[first][0], text=old[first][0].text + " "),)


ENUM = {"type": "enum", "name": "CaseStatus", "codes": "case_status"}
TEXT = {"name": "note", "type": "string", "class": "routing", "doc": "A note."}
PLANTS: list[tuple[Plant, str]] = [
    (in_file("case_opened", name="CaseOpen"), "name: differs from the file"),
    (in_file("case_opened", namespace="cauce.other.v1"), "namespace: not that of the family"),
    (without("case_opened_facts", "facts_of"), "topic: neither an event nor facts of one"),
    (without("case_opened", "topic"), "topic: neither an event nor facts of one"),
    *[
        (without("case_opened", name), f"{name}: missing")
        for name in ("key", "owner", "consumers", "retention", "gate", "partitions", "cleanup")
    ],
    (in_file("case_opened", gate="sometimes"), "gate: neither consent nor exempt"),
    (in_file("case_opened", key="person"), "key: not a field"),
    (in_file("case_opened", owner=[]), "owner: nobody"),
    (in_file("case_opened", consumers=["referral", "delivery"]), "consumers: not a sorted list"),
    (in_file("case_opened", owner=["stranger"]), "owner: not a sorted list"),
    (in_file("case_opened", retention="long"), "retention: not a number of days"),
    (reorder("case_opened", "event_id", 0), "the head is not complete and in order"),
    (less("case_opened", "correlation_id"), "the head is not complete and in order"),
    (reorder("dead_letter", "topic", 0), "key_seq and event_id are not first"),
    (in_field("case_opened", "case_seq", type="int"), "the position is not a long"),
    (reorder("case_opened", "facts", 11), "facts: not the last two fields"),
    (in_file("case_opened", gate="exempt"), "facts: on an exempt event"),
    (in_field("case_opened", "facts", seals="cauce.case.v1.X"), "facts: seals an unknown record"),
    (without("case_opened", "doc"), "CaseOpened: doc missing"),
    (without("case_opened", "doc", "country"), "country: doc missing"),
    (without("case_opened", "class", "country"), "country: class is not routing"),
    (in_field("case_opened", "facts", **{"class": "routing"}), "facts: class is not sealed"),
    (in_field("case_opened_facts", "sex", **{"class": "routing"}), "sex: class is not coded"),
    (more("case_opened", **TEXT), "note: a string without code list or format"),
    (
        more("case_opened", **{**TEXT, "type": {"type": "string", "codes": "names"}}),
        "note: a string without code list or format",
    ),
    (
        more("case_opened", **{**TEXT, "type": {"type": "array", "items": "string"}}),
        "note: a string without code list or format",
    ),
    (more("case_opened", **{**TEXT, "type": "bytes"}), "note: bytes outside the sealed facts"),
    (more("case_opened", **{**TEXT, "type": "double"}), "note: a type that events do not use"),
    (
        more("case_opened", **{**TEXT, "type": {"type": "map", "values": "long"}}),
        "note: a type that events do not use",
    ),
    (more("case_opened", **{**TEXT, "type": ["int", "null"]}), "a union other than [null, type]"),
    (
        more("case_opened", **{**TEXT, "type": ["null", "int"]}),
        "note: a nullable field without default null",
    ),
    (
        in_field("case_opened", "case_status", type={**ENUM, "symbols": ["open", "unknown"]}),
        "case_status: an enum that is not its closed code list",
    ),
    (
        in_field("case_opened", "case_status", type={**ENUM, "symbols": ["open", "closed"]}),
        "case_status: an enum without default unknown",
    ),
    (in_field("case_opened", "codelist_version", type="boolean"), "v1: not compatible by Avro"),
    (
        in_field("case_opened", "occurred_at", type="long"),
        "occurred_at: another meaning than in v1",
    ),
    (
        in_field("case_opened", "country", type={"type": "string", "format": "name"}),
        "country: another meaning than in v1",
    ),
    (
        in_field("case_opened", "confidentiality", type={"type": "string", "codes": "priority"}),
        "confidentiality: another meaning than in v1",
    ),
    (in_field("case_opened", "country", name="land"), "land: new since v1 and without default"),
    (more("case_opened", **{**TEXT, "type": "int"}), "note: new since v1 and without default"),
    (in_file("consent_given", gate="exempt"), "gate, key: differ from v1"),
    (in_file("case_opened", retention="30d"), "topic: declared otherwise elsewhere"),
    (in_file("case_opened_facts", facts_of="referral.sent"), "facts_of: not sealed by that event"),
    (lambda tree, _: tree.pop("referral_sent"), "ReferralSent has no file any more"),
    (same_id_twice, "released: an id given twice"),
    (edited_after_release, "case_closed.v1.avsc is not what was released"),
    (starts_at_two, "does not count from 1"),
]


@pytest.mark.parametrize(
    ("plant", "rule"), PLANTS, ids=[f"{i}-{r}" for i, (_, r) in enumerate(PLANTS)]
)
def test_a_planted_fault_breaks_its_rule(plant: Plant, rule: str) -> None:
    tree = copy.deepcopy(dict(sources()))
    old = dict(released())
    plant(tree, old)
    found = lint.faults(tree, old)
    assert any(rule in fault for fault in found), found


def test_a_field_with_a_default_may_be_added() -> None:
    tree = copy.deepcopy(dict(sources()))
    spec = {**TEXT, "type": ["null", "int"], "default": None}
    tree["case_opened"]["fields"].insert(-2, spec)
    assert lint.faults(tree, released()) == []


def test_an_inner_record_is_held_to_the_same_rules() -> None:
    tree = copy.deepcopy(dict(sources()))
    inner = field(tree, "consent_withdrawn", "affected")["type"]["items"]
    inner["fields"].append({"name": "note", "type": "string", "doc": "A note."})
    found = lint.faults(tree, {})
    assert "consent_withdrawn: note: a string without code list or format" in found
    assert "consent_withdrawn: note: class is not routing" in found
    inner["fields"][-1] = {**TEXT, "type": "int"}
    assert "consent_withdrawn: v1: not compatible by Avro" in lint.faults(tree, released())


def test_words_and_consumers_may_change_without_a_new_version() -> None:
    schema = json.loads(json.dumps(sources()["case_opened"]))
    changed = {**schema, "doc": "Other words.", "consumers": ["referral"], "retention": "30d"}
    assert release.wire_form(changed) == release.wire_form(schema)
    assert release.wire_form({**schema, "gate": "exempt"}) != release.wire_form(schema)
