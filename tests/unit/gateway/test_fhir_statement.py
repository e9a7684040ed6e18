"""The CapabilityStatement is made of the operations, all of them and nothing else."""

import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement

from services.gateway.fhir import operations as fhir
from services.gateway.fhir.metadata import capability_statement, interaction_of, served
from services.gateway.operation import Operation, Parameter
from services.gateway.subscriptions import app as subscriptions

ALL = (
    fhir.METADATA,
    fhir.SMART,
    fhir.TOKEN,
    fhir.submit("/fhir"),
    fhir.submit("/fhir/"),
    fhir.TASK_SEARCH,
    fhir.read("Task"),
    fhir.PATCH_TASK,
    fhir.PUT_TASK,
    fhir.PATIENT_SEARCH,
    fhir.PATIENT_BY_URL,
    fhir.read("Patient"),
    subscriptions.CREATE,
    subscriptions.READ,
    subscriptions.UPDATE,
    subscriptions.DELETE,
    subscriptions.SEARCH,
    subscriptions.STATUS,
    subscriptions.EVENTS,
)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/fhir", ("", "transaction")),
        ("POST", "/fhir/Task", ("Task", "create")),
        ("GET", "/fhir/Task", ("Task", "search-type")),
        ("POST", "/fhir/Task/_search", ("Task", "search-type")),
        ("DELETE", "/fhir/Task/{id}", ("Task", "delete")),
        ("GET", "/fhir/Task/{id}/$x", ("Task", "$x")),
        ("GET", "/v1/referrals", None),
        ("GET", "/fhir/Task/{id}/_history/{version}", None),
    ],
)
def test_each_route_is_one_interaction(
    method: str, path: str, expected: tuple[str, str] | None
) -> None:
    operation = Operation(method=method, path=path, summary="", tag="")
    assert interaction_of(operation) == expected


def test_the_statement_is_fhir_and_says_what_the_operations_are() -> None:
    statement = capability_statement("http://hub", "https://cauce.example/fhir", ALL)
    CapabilityStatement.model_validate(statement)
    rest = statement["rest"][0]
    assert rest["interaction"] == [{"code": "transaction"}]
    said = {
        one["type"]: {i["code"] for i in one["interaction"]}
        | {f"${o['name']}" for o in one.get("operation", [])}
        for one in rest["resource"]
    }
    assert said == {
        "Task": {"search-type", "read", "patch", "update"},
        "Patient": {"search-type", "read"},
        "Subscription": {
            "create",
            "read",
            "update",
            "delete",
            "search-type",
            "$status",
            "$events",
        },
    }


def test_parameters_that_search_are_said_and_those_that_steer_are_not() -> None:
    found, _ = served(ALL)
    assert set(found["Task"].parameters) == {"_lastUpdated", "status", "owner", "requester"}
    assert set(found["Patient"].parameters) == {"identifier"}
    assert found["Subscription"].parameters.keys() == {"status"}
    assert isinstance(found["Patient"].parameters["identifier"], Parameter)
