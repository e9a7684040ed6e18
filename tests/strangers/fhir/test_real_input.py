"""Referrals of the guides SDOHCC and BSeR: refused for exactly what they lack, and after the
changes of one file accepted and delivered.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from connectors.sandbox.smart import ASSERTION_TYPE
from tests.strangers.fhir.exchange import SOURCE, Exchange, scope_of, until
from tests.strangers.fhir.real_input import Example, examples

EXAMPLES = examples()


@pytest.fixture(scope="module")
def session(exchange: Exchange) -> requests.Session:
    """A session with the sender's token."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": exchange.assertion(),
        "scope": scope_of(SOURCE),
    }
    answer = requests.post(f"{exchange.url}/oauth/token", data=form, timeout=10).json()
    made = requests.Session()
    made.headers["Authorization"] = f"Bearer {answer['access_token']}"
    made.headers["Content-Type"] = "application/fhir+json"
    return made


def faults(outcome: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(code, rule, field) of each issue, in path order."""
    found = []
    for issue in outcome["issue"]:
        code, rule = (coding["code"] for coding in issue["details"]["coding"])
        found.append((code, rule, issue.get("expression", [""])[0]))
    return sorted(found, key=lambda fault: fault[2])


@pytest.mark.parametrize(
    ("guide", "number"),
    [(guide, number) for guide, one in EXAMPLES.items() for number in range(len(one.rounds))],
)
def test_it_is_refused_for_exactly_what_it_lacks(
    guide: str, number: int, exchange: Exchange, session: requests.Session
) -> None:
    example = EXAMPLES[guide]
    answer = session.post(exchange.base, json=example.after(number, datetime.now(UTC)))
    assert faults(answer.json()) == example.rounds[number].refused
    assert answer.status_code == 422


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_after_the_changes_it_is_accepted_and_delivered(
    example: Example, exchange: Exchange, session: requests.Session
) -> None:
    sent = example.after(len(example.rounds), datetime.now(UTC))
    answer = session.post(exchange.base, json=sent)
    assert answer.status_code == 200, answer.text
    wanted = _service(_resource(sent, "ServiceRequest"))
    # Updates of the other example may arrive meanwhile.
    first = until(lambda: _delivered(exchange, wanted), "never delivered")[0]
    given = next(one for one in first if one["resourceType"] == "Patient")
    assert given["gender"] == _resource(sent, "Patient")["gender"]
    assert "birthDate" not in given
    family = _resource(sent, "Patient")["name"][0]["family"]
    assert family not in str(exchange.arrived("Patient"))


def _delivered(exchange: Exchange, service: str) -> list[list[dict[str, Any]]]:
    """The deliveries that ask for a service."""
    return [
        taken
        for taken in exchange.deliveries()
        if any(r["resourceType"] == "ServiceRequest" and _service(r) == service for r in taken)
    ]


def _service(request: dict[str, Any]) -> str:
    return str(request["code"]["coding"][0]["code"])


def _resource(bundle: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind)
