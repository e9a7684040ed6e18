"""What a recipient takes away when asked to delete: no more and no less."""

from typing import Any

from connectors.sandbox.erasing import categories, is_erasure, needed_elsewhere, parts_of, without

PATIENT = {"resourceType": "Patient", "id": "p", "telecom": [{}], "name": [{}], "gender": "female"}


def referral(name: str) -> dict[tuple[str, str], dict[str, Any]]:
    """A referral of the one Patient."""
    request = {
        "resourceType": "ServiceRequest",
        "id": f"r{name}",
        "supportingInfo": [{"reference": f"Consent/c{name}"}],
    }
    task = {
        "resourceType": "Task",
        "id": name,
        "focus": {"reference": f"ServiceRequest/r{name}"},
        "for": {"reference": "Patient/p"},
    }
    consent = {"resourceType": "Consent", "id": f"c{name}"}
    found = (task, request, consent, PATIENT)
    return {(str(one["resourceType"]), str(one["id"])): one for one in found}


def erase(code: str, *gone: str) -> dict[str, Any]:
    values = [{"valueCodeableConcept": {"coding": [{"code": one}]}} for one in gone]
    return {"resourceType": "Task", "code": {"coding": [{"code": code}]}, "input": values}


def test_a_referral_is_its_task_patient_request_and_consent() -> None:
    assert set(parts_of(referral("1"), "1")) == {
        ("Task", "1"), ("Patient", "p"), ("ServiceRequest", "r1"), ("Consent", "c1"),
    }  # fmt: skip


def test_what_another_referral_needs_stays() -> None:
    both = referral("1") | referral("2")
    assert ("Patient", "p") in needed_elsewhere(both, "1")
    assert ("Consent", "c1") not in needed_elsewhere(both, "1")
    assert needed_elsewhere(referral("1"), "1") == set()


def test_only_elements_of_the_named_categories_go() -> None:
    left = without(PATIENT, ["contact"])
    assert left is not None
    assert set(left) == {"resourceType", "id", "name", "gender"}
    assert without(PATIENT, ["health"]) is None
    assert without(left, ["contact"]) is None


def test_a_request_to_delete_is_told_from_other_tasks() -> None:
    assert is_erasure(erase("erase"))
    assert is_erasure(erase("erase-categories", "contact"))
    assert not is_erasure(erase("fulfill"))
    assert categories(erase("erase")) == []
    assert categories(erase("erase-categories", "contact", "health")) == ["contact", "health"]
