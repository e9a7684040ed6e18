"""One Patient at a recipient: it is written anew only where nothing of another referral is lost."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest

from connectors.fhir_r4.outbound.bundle import erasure
from services.delivery.render import transaction
from tests.unit.connectors.test_outbound_bundle import outgoing
from tests.unit.delivery.test_rules import task

CORE, CONTACT = frozenset({"pseudonymous_core"}), frozenset({"pseudonymous_core", "contact"})


def method(
    kind: str, categories: frozenset[str], *others: frozenset[str], again: bool = False
) -> Any:
    """How the Patient is written, beside what other referrals left there."""
    one = replace(task(), kind=kind, again=again)
    standing = {uuid4(): held for held in others} | {one.referral_ref: CONTACT}
    bundle = orjson.loads(transaction(outgoing(tuple(sorted(categories))), one, standing))
    (found,) = [e for e in bundle["entry"] if e["resource"]["resourceType"] == "Patient"]
    return found["request"]["method"]


@pytest.mark.parametrize(
    ("kind", "categories", "others", "expected"),
    [
        ("content", CORE, (), "POST"),
        ("content", CORE, (CORE,), "PUT"),
        ("content", CONTACT, (CORE, CONTACT), "PUT"),
        ("content", CORE, (CONTACT,), "POST"),
        ("update", CORE, (), "PUT"),
        ("update", CONTACT, (CORE,), "PUT"),
        ("update", CONTACT, (CORE | {"health", "experience_narrative"},), "PUT"),
        ("update", CORE, (CORE, CONTACT), "POST"),
    ],
)
def test_the_patient_is_renewed_where_that_takes_nothing_away(
    kind: str, categories: frozenset[str], others: tuple[frozenset[str], ...], expected: str
) -> None:
    assert method(kind, categories, *others) == expected


def test_a_referral_sent_again_renews_everything() -> None:
    assert method("content", CORE, again=True) == "PUT"


def test_a_request_to_delete_a_part_names_its_categories_under_a_code_of_its_own() -> None:
    names = {"base": "https://cauce.example/fhir", "to_org": "refugio-sur"}
    ids = {"erasure_ref": uuid4(), "task_id": uuid4()}
    whole = orjson.loads(erasure(**names, **ids))  # type: ignore[arg-type]
    part = orjson.loads(erasure(**names, **ids, categories=("contact",)))  # type: ignore[arg-type]
    assert whole["code"]["coding"][0]["code"] == "erase"
    assert "input" not in whole
    assert part["code"]["coding"][0]["code"] == "erase-categories"
    (value,) = part["input"]
    assert value["valueCodeableConcept"]["coding"] == [
        {"system": "https://cauce.example/fhir/CodeSystem/data-category", "code": "contact"}
    ]
    assert {k: v for k, v in part.items() if k not in ("code", "input")} == {
        k: v for k, v in whole.items() if k != "code"
    }
