"""A recipient gets what was released, under ids of its own, and nothing of the sender's."""

from dataclasses import replace
from datetime import date
from typing import Any
from uuid import uuid4

import orjson
import pytest
from fhir.resources.R4B.bundle import Bundle

from connectors.fhir_r4.outbound.bundle import content, erasure, erasure_effect, update
from connectors.fhir_r4.outbound.content import Ids, Outgoing
from connectors.fhir_r4.outbound.patient import CATEGORIES, patient
from connectors.sdk.types import (
    Address,
    Case,
    Coded,
    Identifier,
    Name,
    Person,
    Relative,
    Release,
    Telecom,
    categories_of,
    select,
    split,
)
from schemas.codes import codes

BASE = "https://cauce.example/fhir"
PERSON = Person(
    identifiers=(
        Identifier(system="urn:ong-norte:cases", value="N-4411"),
        Identifier(system="urn:registry:passport", value="AV1234567", type="PPN"),
    ),
    names=(Name(family="Quispe", given=("Ayelén",)),),
    birth_date="1999-04-17",
    sex="female",
    age_band="age_26_40",
    nationalities=("VEN",),
    languages=("es",),
    country="COL",
    admin1="CO-NSA",
    population_type="in_destination",
    telecom=(Telecom(system="phone", value="+57 300 555 0142"),),
    addresses=(Address(line=("Calle 9 # 4-21",), city="Cúcuta"),),
    relatives=(Relative(names=(Name(text="Rosa Quispe"),), relationship=("N",)),),
    gender_identity="woman",
    ethnicity=(Coded(system="urn:oid:2.16.840.1.113883.6.238", code="1002-5"),),
)
CASE = Case(
    requisition=Identifier(system="urn:ong-norte:req", value="REQ-77"),
    risk_level="high",
    phenomenon="trafficking_in_persons",
    exploitation_types=("forced_labour",),
    conditions=(Coded(system="http://hl7.org/fhir/sid/icd-10", code="O26.9"),),
    narratives=("Relato que solo lee quien debe.",),
    opened_month="2026-01",
)
ALL = categories_of(PERSON, CASE)


def outgoing(categories: Any = ("pseudonymous_core",), **changes: Any) -> Any:
    fields = {
        "base": BASE,
        "to_org": "refugio-sur",
        "source": "ong-norte",
        "language": "es",
        "ids": Ids(task=uuid4(), service_request=uuid4(), consent=uuid4(), patient=uuid4()),
        "pseudonym": "PE-AAAA-BBBB-CC",
        "purpose": "service_referral",
        "categories": categories,
        "consent_until": date(2026, 9, 1),
        "response_due": date(2026, 3, 2),
        "today": date(2026, 3, 1),
        "reveals": False,
        "handles_labels": True,
        "service_type": "shelter_specialized",
        "priority": "urgent",
        "special_requirements": ("interpretation",),
        "release": select(split(PERSON, CASE), categories),
    }
    return Outgoing(**(fields | changes))


def entries(raw: Any) -> Any:
    return {e["resource"]["resourceType"]: e for e in orjson.loads(raw)["entry"]}


@pytest.mark.parametrize("make", [content, update])
@pytest.mark.parametrize("categories", [("pseudonymous_core",), ALL])
def test_every_transaction_is_valid_fhir(make: Any, categories: Any) -> None:
    raw = make(outgoing(categories))
    Bundle.model_validate_json(raw)


def test_the_core_alone_carries_no_identity_contact_place_or_story() -> None:
    raw = content(outgoing()).decode()
    secrets = ("Quispe", "Ayel", "1999", "300 555", "Calle", "Cúcuta", "AV123", "N-4411", "REQ-77")
    for secret in (*secrets, "Relato", "trafficking", "forced_labour", "O26.9", "1002-5"):
        assert secret not in raw
    patient = entries(content(outgoing()))["Patient"]["resource"]
    assert patient["name"][0]["extension"][0]["valueCode"] == "masked"
    assert patient["_birthDate"]["extension"][0]["valueCode"] == "masked"


@pytest.mark.parametrize("category", sorted(codes("data_category")))
def test_a_patient_shows_the_categories_that_it_is_said_to_show(category: str) -> None:
    one = outgoing(ALL, reveals=True)
    fewer = replace(one, release=select(split(PERSON, CASE), set(ALL) - {category}))
    assert category in CATEGORIES or patient(fewer) == patient(one)


def test_granted_categories_appear_and_the_senders_own_numbers_never_do() -> None:
    raw = content(outgoing(ALL)).decode()
    for shown in ("Quispe", "1999-04-17", "AV1234567", "Cúcuta", "Relato", "O26.9"):
        assert shown in raw
    assert "N-4411" not in raw
    assert "REQ-77" not in raw


def test_no_instant_of_the_sender_is_finer_than_a_day() -> None:
    found = entries(content(outgoing()))
    assert found["Task"]["resource"]["restriction"] == {"period": {"end": "2026-03-02"}}
    permit = found["Consent"]["resource"]["provision"]["provision"][0]
    assert permit["period"] == {"end": "2026-09-01"}
    assert "dateTime" not in found["Consent"]["resource"]


def test_first_content_is_created_once_and_later_content_replaces_it() -> None:
    first = orjson.loads(content(outgoing()))["entry"]
    assert [e["resource"]["resourceType"] for e in first][-1] == "Task"
    assert all(e["request"]["ifNoneExist"].startswith("identifier=") for e in first)
    later = orjson.loads(update(outgoing()))["entry"]
    assert all(e["request"]["method"] == "PUT" for e in later)
    assert "Task" not in {e["resource"]["resourceType"] for e in later}


def test_labels_reveal_the_phenomenon_only_to_those_who_may_know_it() -> None:
    def codes(out: Any) -> Any:
        return {c["code"] for c in entries(content(out))["Patient"]["resource"]["meta"]["security"]}

    assert codes(outgoing()) == {"R", "PSEUDED", "NORDSCLCD", "NORELINK", "CPLYCD", "DELAU"}
    assert {"SDV", "VIO"} <= codes(outgoing(reveals=True))
    assert "PSEUDED" not in codes(outgoing(("identity", "pseudonymous_core")))


def test_labels_are_in_the_recipients_language() -> None:
    request = entries(content(outgoing()))["ServiceRequest"]["resource"]
    other = entries(content(outgoing(language="en")))["ServiceRequest"]["resource"]
    assert request["code"]["text"] != other["code"]["text"]
    assert request["code"]["coding"] == other["code"]["coding"]


def test_an_erasure_request_names_our_task_and_nothing_else() -> None:
    erasure_ref, task_id = uuid4(), uuid4()
    raw = erasure(base=BASE, to_org="refugio-sur", erasure_ref=erasure_ref, task_id=task_id)
    found = orjson.loads(raw)
    assert found["focus"]["identifier"]["value"] == str(task_id)
    assert set(found) == {
        "resourceType", "identifier", "status", "intent", "code", "focus", "owner",
    }  # fmt: skip


def test_the_effect_is_read_only_from_a_completed_answer() -> None:
    output = [{"valueCodeableConcept": {"coding": [{"code": "deleted"}]}}]
    assert erasure_effect({"status": "completed", "output": output}) == "deleted"
    assert erasure_effect({"status": "requested", "output": output}) is None
    assert erasure_effect({"status": "completed", "output": "deleted"}) is None


def test_nothing_released_shows_in_a_repr() -> None:
    assert "Quispe" not in repr(outgoing(ALL))
    assert isinstance(Release(), Release)
