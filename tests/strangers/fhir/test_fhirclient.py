"""The SMART project's fhirclient, unmodified, as the system of a sender: its own parser reads every
resource we show, and refuses what FHIR does not know.

It gets its token by itself (`jwt_token`). What it has no words for: If-Match goes into the headers
of its session, a transaction is posted by its server object, and it has no PATCH.
"""

from typing import Any

import pytest
import requests
from fhirclient.client import FHIRClient
from fhirclient.models.auditevent import AuditEvent
from fhirclient.models.bundle import Bundle
from fhirclient.models.codeableconcept import CodeableConcept
from fhirclient.models.consent import Consent
from fhirclient.models.healthcareservice import HealthcareService
from fhirclient.models.operationoutcome import OperationOutcome
from fhirclient.models.organization import Organization
from fhirclient.models.patient import Patient
from fhirclient.models.servicerequest import ServiceRequest
from fhirclient.models.task import Task
from fhirclient.server import (
    FHIRNotFoundException,
    FHIRPermissionDeniedException,
    FHIRUnauthorizedException,
)

from connectors.sandbox.people import person
from connectors.sandbox.samples import bundle
from tests.strangers.fhir.exchange import (
    CANCELLED,
    PULLING,
    PUSHED,
    SOURCE,
    Exchange,
    scope_of,
    until,
)


def client_of(exchange: Exchange, scope: str) -> FHIRClient:
    """A client that has fetched the statement and its token."""
    client = FHIRClient(
        settings={
            "app_id": SOURCE,
            "api_base": exchange.base,
            "jwt_token": exchange.assertion(),
            "scope": scope,
        }
    )
    client.wants_patient = False
    client.server.prepare()
    client.server.authorize()
    assert client.ready
    return client


@pytest.fixture(scope="module")
def client(exchange: Exchange) -> FHIRClient:
    """The sender's client."""
    return client_of(exchange, f"{scope_of(SOURCE)} system/AuditEvent.rs")


def refer(client: FHIRClient, number: int, to_org: str = PUSHED) -> dict[str, str]:
    """Send a referral; resource type → id."""
    sent = Bundle(bundle(person=person(number), to_org=to_org, entry=f"{to_org}-casa"))
    answer = Bundle(client.server.post_json("", sent.as_json()).json())
    return dict(entry.response.location.split("/")[:2] for entry in answer.entry)


def issues(answer: requests.Response | None) -> list[tuple[str, str]]:
    """(code, rule) of each issue of a refusal, read by the library's own model."""
    assert answer is not None
    outcome = OperationOutcome(answer.json())
    return [(one.details.coding[0].code, one.details.coding[1].code) for one in outcome.issue]


def status_of(error: requests.HTTPError) -> int | None:
    """The HTTP status of a refusal."""
    return None if error.response is None else error.response.status_code


def found(client: FHIRClient, kind: Any, **criteria: str) -> list[Any]:
    """The resources on all pages of a search."""
    return list(kind.where(criteria).perform_resources_iter(client.server))


def put(client: FHIRClient, resource: Any, version: str | None) -> Any:
    """Update under a version."""
    headers = client.server.session.headers
    if version is not None:
        headers["If-Match"] = f'W/"{version}"'
    try:
        return resource.update(client.server)
    finally:
        headers.pop("If-Match", None)


def test_a_referral_goes_its_whole_way_to_the_withdrawal(client: FHIRClient) -> None:
    assert client.server.capabilityStatement.fhirVersion == "4.0.1"
    ids = refer(client, 62_001)

    def reached(status: str) -> Any:
        found = Task.read(ids["Task"], client.server)
        return found if found.status == status else None

    task = until(lambda: reached("accepted"), "never accepted")
    assert task.owner.reference == f"Organization/{PUSHED}"
    assert ServiceRequest.read(ids["ServiceRequest"], client.server).status == "active"
    assert Patient.read(ids["Patient"], client.server).id == ids["Patient"]

    consent = Consent.read(ids["Consent"], client.server)
    consent.status = "inactive"
    put(client, consent, consent.meta.versionId)
    revoked = until(lambda: reached("cancelled"), "never revoked")
    assert revoked.businessStatus.coding[0].code == "consent-withdrawn"
    assert Consent.read(ids["Consent"], client.server).status == "inactive"


def test_a_referral_is_cancelled_by_put_under_its_version(client: FHIRClient) -> None:
    ids = refer(client, 62_002, PULLING)
    task = until(lambda: _known(client, ids["Task"]), "never known")
    version, task.status = task.meta.versionId, "cancelled"
    task.statusReason = CodeableConcept(CANCELLED)
    for given, status, issue in (
        (None, 428, ("precondition-required", "if-match")),
        ("999", 412, ("conflict", "version")),
    ):
        with pytest.raises(requests.HTTPError) as refused:
            put(client, task, given)
        assert status_of(refused.value) == status
        assert issues(refused.value.response) == [issue]
    put(client, task, version)
    assert Task.read(ids["Task"], client.server).status == "cancelled"


def _known(client: FHIRClient, task_id: str) -> Any:
    found = Task.read(task_id, client.server)
    return found if found.meta.versionId != "0" else None


def test_searches_answer_with_resources_that_its_parser_takes(client: FHIRClient) -> None:
    refer(client, 62_003)
    own = {"requester": f"Organization/{SOURCE}"}
    assert until(lambda: found(client, Task, **own), "no Task")
    names = {one.id for one in found(client, Organization)}
    assert {SOURCE, PUSHED, PULLING} <= names
    assert found(client, HealthcareService)
    until(lambda: found(client, AuditEvent), "no disclosure")


def test_refusals_come_as_its_exceptions_with_our_outcome(client: FHIRClient) -> None:
    with pytest.raises(FHIRNotFoundException) as missing:
        Task.read("b4f1e1f0-0000-4000-8000-000000000000", client.server)
    assert issues(missing.value.response) == [("not-found", "resource")]
    sent = bundle(person=person(62_010))
    del sent["entry"][2]["resource"]["policy"]
    with pytest.raises(requests.HTTPError) as refused:
        client.server.post_json("", sent)
    assert status_of(refused.value) == 422
    assert issues(refused.value.response) == [("required", "element")]
    with pytest.raises(requests.HTTPError) as unknown:
        found(client, Task, code="fulfill")
    assert issues(unknown.value.response) == [("not-supported", "parameter")]


def test_a_token_that_is_no_token_or_too_narrow_is_refused(exchange: Exchange) -> None:
    narrow = client_of(exchange, "system/Organization.rs")
    with pytest.raises(FHIRPermissionDeniedException) as forbidden:
        found(narrow, Task)
    assert issues(forbidden.value.response) == [("forbidden", "scope")]
    narrow.server.auth.access_token = "x"
    with pytest.raises(FHIRUnauthorizedException):
        found(narrow, Task)
