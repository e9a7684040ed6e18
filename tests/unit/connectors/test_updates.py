"""Written Tasks and Consents are checked as FHIR before they are read."""

from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.fhir_r4.mapping import Context
from connectors.fhir_r4.updates import ConsentUpdate, check_task, consent_update
from connectors.sdk.faults import Faults
from tests.support.bundles import BASE, full_bundle, resource

NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
CONTEXT = Context("ong-norte", NOW, "America/Bogota", BASE)


def consent(**changes: Any) -> dict[str, Any]:
    return resource(full_bundle(now=NOW, seed=5), "Consent") | changes


def test_an_inactive_consent_is_a_withdrawal() -> None:
    assert consent_update(consent(status="inactive"), CONTEXT) == ConsentUpdate("inactive")


def test_an_active_consent_carries_its_items() -> None:
    update = consent_update(consent(), CONTEXT)
    assert [item.to_org for item in update.items] == ["refugio-sur"]
    assert update.notice == "referral-notice/1"


@pytest.mark.parametrize(
    "changes", [{"status": "draft"}, {"resourceType": "Task"}, {"apodo": "x"}, {"provision": {}}]
)
def test_other_consents_are_refused(changes: Any) -> None:
    with pytest.raises(Faults):
        consent_update(consent(**changes), CONTEXT)


def test_a_task_must_be_a_task() -> None:
    task = resource(full_bundle(now=NOW), "Task")
    check_task(task | {"businessStatus": {"coding": [{"code": "visit-scheduled"}]}})
    changes: list[dict[str, Any]] = [
        {"apodo": "x"},
        {"for_fhir": {}},
        {"authoredOn": "ayer"},
        {"resourceType": "X"},
    ]
    for broken in changes:
        with pytest.raises(Faults):
            check_task(task | broken)
