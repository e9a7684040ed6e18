"""fhirpy, unmodified, as the system of a sender: from token to withdrawal.

What it cannot do here is shown too: it has no token of its own, its PATCH is a merge in plain JSON
(we serve JSON Patch alone), its searches go in the URL (a person's identifier never may), and it
knows 412 only as `MultipleResourcesFound`.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import requests
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import (
    AuthorizationError,
    ForbiddenError,
    MultipleResourcesFound,
    OperationOutcome,
    ResourceNotFound,
)

from connectors.sandbox.people import person
from connectors.sandbox.samples import bundle
from connectors.sandbox.smart import ASSERTION_TYPE
from tests.strangers.fhir.exchange import (
    CANCELLED,
    PULLING,
    PUSHED,
    SOURCE,
    Exchange,
    scope_of,
    until,
)

FHIR = {"Content-Type": "application/fhir+json"}
Client = SyncFHIRClient


def token(exchange: Exchange, scope: str = scope_of(SOURCE)) -> str:
    """An access token for a signed assertion; the library leaves this to its user."""
    answer = requests.post(
        f"{exchange.url}/oauth/token",
        data={
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": exchange.assertion(),
            "scope": scope,
        },
        timeout=10,
    )
    answer.raise_for_status()
    return f"{answer.json()['token_type']} {answer.json()['access_token']}"


def client_of(exchange: Exchange, authorization: str, **headers: str) -> Client:
    """A client whose every request carries these headers; If-Match has no other way in."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(exchange.base, authorization=authorization, extra_headers=FHIR | sent)


@pytest.fixture(scope="module")
def authorization(exchange: Exchange) -> str:
    """The sender's token."""
    return token(exchange)


@pytest.fixture(scope="module")
def client(exchange: Exchange, authorization: str) -> Client:
    """The sender's client."""
    return client_of(exchange, authorization)


def refer(client: Client, number: int, to_org: str = PUSHED) -> dict[str, str]:
    """Send a referral; resource type → id."""
    sent = bundle(person=person(number), to_org=to_org, entry=f"{to_org}-casa")
    answer = client.execute("", data=sent)
    assert answer["type"] == "transaction-response"
    return dict(entry["response"]["location"].split("/")[:2] for entry in answer["entry"])


def codes(outcome: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(code, rule) of each issue."""
    return [
        (coding[0]["code"], coding[1]["code"])
        for issue in outcome["issue"]
        for coding in [issue["details"]["coding"]]
    ]


def version(resource: Mapping[str, Any]) -> str:
    """What If-Match asks for."""
    return f'W/"{resource["meta"]["versionId"]}"'


def test_a_referral_goes_its_whole_way_to_the_withdrawal(
    exchange: Exchange, client: Client, authorization: str
) -> None:
    statement = client.execute("metadata", method="get")
    assert statement.fhirVersion == "4.0.1"
    ids = refer(client, 61_001)
    mine = client.resources("Task").search(requester=f"Organization/{SOURCE}")

    def reached(status: str) -> Any:
        found = mine.search(status=status).fetch_all()
        return next((task for task in found if task.id == ids["Task"]), None)

    task = until(lambda: reached("accepted"), "never accepted")
    assert task.owner.reference == f"Organization/{PUSHED}"
    assert client.get("ServiceRequest", ids["ServiceRequest"])["status"] == "active"
    assert client.get("Patient", ids["Patient"])["id"] == ids["Patient"]

    consent = client.get("Consent", ids["Consent"])
    assert consent["status"] == "active"
    guarded = client_of(exchange, authorization, If_Match=version(consent))
    withdrawn = guarded.resource("Consent", **{**consent, "status": "inactive"}).save()
    assert withdrawn["status"] == "inactive"
    revoked = until(lambda: reached("cancelled"), "never revoked")
    assert revoked.businessStatus.coding[0].code == "consent-withdrawn"
    assert client.get("ServiceRequest", ids["ServiceRequest"])["status"] == "revoked"


def test_a_referral_is_cancelled_by_put_under_its_version(
    exchange: Exchange, client: Client, authorization: str
) -> None:
    ids = refer(client, 61_002, PULLING)
    task = until(lambda: _known(client, ids["Task"]), "never known")
    cancelled = {**task, "status": "cancelled", "statusReason": CANCELLED}
    with pytest.raises(OperationOutcome) as unguarded:
        client.resource("Task", **cancelled).save()
    assert codes(unguarded.value.resource) == [("precondition-required", "if-match")]
    stale = client_of(exchange, authorization, If_Match='W/"999"')
    with pytest.raises(MultipleResourcesFound, match="If-Match"):
        stale.resource("Task", **cancelled).save()
    guarded = client_of(exchange, authorization, If_Match=version(task))
    guarded.resource("Task", **cancelled).save()
    assert client.get("Task", ids["Task"])["status"] == "cancelled"


def _known(client: Client, task_id: str) -> Any:
    found = client.get("Task", task_id)
    return found if found["meta"]["versionId"] != "0" else None


def test_its_own_tasks_come_page_by_page(client: Client) -> None:
    wanted = {refer(client, 61_010 + n, PULLING)["Task"] for n in range(3)}
    mine = client.resources("Task").search(
        requester=f"Organization/{SOURCE}", owner=f"Organization/{PULLING}"
    )
    until(lambda: wanted <= {task.id for task in mine.limit(1)}, "never all listed")


def test_the_directory_is_read(client: Client) -> None:
    names = {one.id for one in client.resources("Organization").fetch_all()}
    assert {SOURCE, PUSHED, PULLING} <= names
    service = client.reference("HealthcareService", f"{PUSHED}-casa").to_resource()
    assert service.providedBy.reference == f"Organization/{PUSHED}"


def test_refusals_come_as_its_exceptions_with_our_outcome(client: Client) -> None:
    sent = bundle(person=person(61_020), priority="soon")
    sent["entry"][2]["resource"]["status"] = "proposed"
    with pytest.raises(OperationOutcome) as refused:
        client.execute("", data=sent)
    assert ("code-invalid", "not-in-list") in codes(refused.value.resource)
    with pytest.raises(OperationOutcome) as unknown:
        client.resources("Task").search(code="fulfill").fetch()
    assert codes(unknown.value.resource) == [("not-supported", "parameter")]
    with pytest.raises(ResourceNotFound, match="not-found"):
        client.get("Task", "b4f1e1f0-0000-4000-8000-000000000000")


def test_its_merge_patch_is_refused_by_name(
    exchange: Exchange, client: Client, authorization: str
) -> None:
    ids = refer(client, 61_021, PULLING)
    task = until(lambda: _known(client, ids["Task"]), "never known")
    guarded = client_of(exchange, authorization, If_Match=version(task))
    guarded.extra_headers = {"If-Match": version(task)}
    with pytest.raises(OperationOutcome) as refused:
        guarded.patch("Task", ids["Task"], status="cancelled")
    assert codes(refused.value.resource) == [("media-type", "media-type")]


def test_a_token_that_is_no_token_or_too_narrow_is_refused(exchange: Exchange) -> None:
    with pytest.raises(AuthorizationError):
        client_of(exchange, "Bearer x").resources("Task").fetch()
    narrow = client_of(exchange, token(exchange, "system/Organization.rs"))
    with pytest.raises(ForbiddenError, match="scope"):
        narrow.resources("Task").fetch()
    wide = client_of(exchange, token(exchange, "system/Patient.s"))
    with pytest.raises(OperationOutcome) as in_url:
        wide.resources("Patient").search(identifier="https://ong-norte.example/people|1").fetch()
    assert codes(in_url.value.resource) == [("not-supported", "identifier-in-url")]
