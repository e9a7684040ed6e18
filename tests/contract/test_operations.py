"""The refusal catalogue and the operations of the public surface say the same of each other."""

import json
import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from connectors.webhook.mapping import ALLOWED, Note, to_event
from schemas.codes import code_lists
from services.gateway.documents.app import asyncapi_of, openapi_of
from services.gateway.documents.coded import _OTHERWISE, _OWN
from services.gateway.documents.openapi import JSON
from services.gateway.documents.refusals import applying, kind_of
from services.gateway.documents.requests import _bodies, request_of
from services.gateway.operation import ETAG, IF_MATCH, IF_NONE_MATCH, Operation
from services.kit.errors import catalogue
from tests.support.bundles import full_bundle
from tests.support.natives import twin
from tests.support.surface import operations

OPERATIONS = operations()
OF_NO_OPERATION = {("not-found", "path"), ("not-supported-method", "method")}
"""Told where there is no operation."""
SURFACES = {
    "fhir": {"fhir", "both"},
    "native": {"native", "both"},
    "oauth": {"auth", "both"},
}
_FORM = ("invalid_request", "form")
"""A form is read as OAuth reads one, wherever it is posted."""


def named(one: Operation) -> str:
    return f"{one.method} {one.path}"


@pytest.mark.parametrize("surface", SURFACES)
def test_every_row_of_a_surface_is_told_by_an_operation_of_it(surface: str) -> None:
    told = {
        (row.code, row.rule)
        for one in OPERATIONS
        if kind_of(one) == surface
        for row in applying(one)
    }
    own = {"auth"} if surface == "oauth" else SURFACES[surface]
    wanted = {key for key, row in catalogue().items() if row.surface in own}
    assert wanted - told == (set() if surface == "oauth" else OF_NO_OPERATION)


@pytest.mark.parametrize("one", OPERATIONS, ids=named)
def test_an_operation_tells_of_rows_of_its_own_surface(one: Operation) -> None:
    told = {(row.code, row.rule): row.surface for row in applying(one)}
    if one.form:
        told.pop(_FORM)
    assert set(told.values()) <= SURFACES[kind_of(one)]
    assert not set(told) & OF_NO_OPERATION


@pytest.mark.parametrize("one", OPERATIONS, ids=named)
def test_an_operation_reads_the_headers_that_its_refusals_ask_for(one: Operation) -> None:
    names = {header.name for header in one.headers}
    rules = {key[1] for key in one.refusals}
    assert ("If-Match" in names) == (("conflict", "version") in one.refusals and not one.for_anyone)
    assert IF_MATCH not in one.headers or ("precondition-required", "if-match") in one.refusals
    assert "idempotency-key" not in rules or "Idempotency-Key" in names
    assert IF_NONE_MATCH not in one.headers or ETAG in one.sends


def test_both_documents_are_the_same_each_time_and_the_first_is_valid() -> None:
    document = openapi_of(OPERATIONS, "https://cauce.example")
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert document == openapi_of(OPERATIONS, "https://cauce.example")
    assert asyncapi_of("https://cauce.example") == asyncapi_of("https://cauce.example")


def test_a_referral_as_it_is_sent_has_the_schema_of_the_document() -> None:
    document = openapi_of(OPERATIONS, "https://cauce.example")
    operation = document["paths"]["/v1/referrals"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    validator = OAS31Validator({**schema, "components": document["components"]})
    sent = twin(full_bundle(minor=True))
    validator.validate(sent)
    assert not validator.is_valid({**sent, "case": {**sent["case"], "risk_level": None}})
    for part in ("case", "person", "consent", "referral"):
        assert not validator.is_valid({**sent, part: {**sent[part], "zzqx": 1}})


def test_every_body_of_json_has_an_example_of_its_schema() -> None:
    document = openapi_of(OPERATIONS, "https://cauce.example")
    seen = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for media, content in operation.get("requestBody", {}).get("content", {}).items():
                if "json" in media:
                    schema = {**content["schema"], "components": document["components"]}
                    OAS31Validator(schema).validate(content["example"])
                    seen += 1
                else:
                    assert "example" not in content, (method, path)
    assert seen > 20
    bodies = {f"{one.method} {one.path}" for one in OPERATIONS if request_of(one, JSON) is not None}
    assert set(_bodies()) <= bodies


def test_the_referrals_of_the_examples_are_good_ones_and_say_the_same() -> None:
    bundle, native = (_bodies()[name] for name in ("POST /fhir", "POST /v1/referrals"))
    assert twin(bundle, now=datetime(2026, 1, 15, 15, tzinfo=UTC)) == native


def test_what_a_webhook_says_has_the_schema_of_the_document() -> None:
    messages = asyncapi_of("https://cauce.example")["components"]["messages"]
    for kind, members in ALLOWED.items():
        sample: dict[str, str | int] = dict.fromkeys(members, "recipient")
        if "version" in members:
            sample["version"] = 3
        note = Note(
            mark=uuid4(),
            type=kind,
            subject=str(uuid4()),
            at=datetime.now(UTC),
            href="https://cauce.example/v1/referrals/1",
            said=sample,
        )
        validator = OAS31Validator(messages[kind]["payload"])
        event = json.loads(to_event(note, "/cauce/cell-demo"))
        validator.validate(event)
        assert not validator.is_valid({**event, "data": {**event["data"], "zzqx": 1}})


def test_every_coded_field_names_a_list_that_is_served() -> None:
    document = openapi_of(OPERATIONS, "https://cauce.example")
    told = re.findall(r"GET /v1/codelists/(\w+)", json.dumps(document["components"]["schemas"]))
    assert len(told) > 50
    assert set(told) <= set(code_lists())
    fields = {
        (name, field)
        for name, schema in document["components"]["schemas"].items()
        for field in schema.get("properties", {})
    }
    assert set(_OTHERWISE) | _OWN <= fields


def test_every_example_has_the_schema_that_it_stands_beside() -> None:
    document = openapi_of(OPERATIONS, "https://cauce.example")
    shared, seen = document["components"], set()
    for item in document["paths"].values():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                for content in answer.get("content", {}).values():
                    for name in content.get("examples", {}):
                        value = shared["examples"][name]["value"]
                        OAS31Validator({**content["schema"], "components": shared}).validate(value)
                        assert value.get("status", int(status)) == int(status)
                        seen.add(name)
    assert seen == set(shared["examples"])
    assert {name.rsplit(".", 1)[1] for name in seen} == {"es", "en", "pt"}
