"""The transactions that a recipient's server gets.

It guards that a repeat has no second effect: first content is created only where our identifier is
unknown, later content replaces what stands under our identifiers. The Task comes last, so that a
server which works in order never shows a request without its person.
"""

from typing import Final
from uuid import UUID

import orjson

from connectors.fhir_r4.outbound.content import (
    Outgoing,
    Resource,
    naming,
    pairwise,
    system,
    urn,
)
from connectors.fhir_r4.outbound.patient import patient
from connectors.fhir_r4.outbound.request import consent, service_request, task

ERASE: Final = "erase"


def content(out: Outgoing) -> bytes:
    """The first delivery of a referral: conditional creates of Patient, request, consent, Task."""
    entries = [
        _created(patient(out), urn(out.ids.patient), _person(out)),
        _created(consent(out), urn(out.ids.consent), _ours(out, "consent", out.ids.consent)),
        _created(
            service_request(out),
            urn(out.ids.service_request),
            _ours(out, "service-request", out.ids.service_request),
        ),
        _created(task(out), urn(out.ids.task), _ours(out, "task", out.ids.task)),
    ]
    return _transaction(entries)


def update(out: Outgoing) -> bytes:
    """Content that changed since: what stands under our identifiers becomes what is granted now."""
    entries = [
        _replaced(patient(out), urn(out.ids.patient), _person(out)),
        _replaced(consent(out), urn(out.ids.consent), _ours(out, "consent", out.ids.consent)),
        _replaced(
            service_request(out),
            urn(out.ids.service_request),
            _ours(out, "service-request", out.ids.service_request),
        ),
    ]
    return _transaction(entries)


def erasure(*, base: str, to_org: str, erasure_ref: UUID, task_id: UUID) -> bytes:
    """The request to delete what was received with one of our Tasks; it names nothing else."""
    resource: Resource = {
        "resourceType": "Task",
        "identifier": [{"system": naming(base, "erasure"), "value": str(erasure_ref)}],
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": system(base, "task_code"), "code": ERASE}]},
        "focus": {
            "type": "Task",
            "identifier": {"system": naming(base, "task"), "value": str(task_id)},
        },
        "owner": {"reference": f"Organization/{to_org}"},
    }
    return orjson.dumps(resource)


def erasure_effect(answer: Resource) -> str | None:
    """The `withdrawal_effect` code in a completed erasure Task; None while it is not completed."""
    if answer.get("status") != "completed":
        return None
    outputs = answer.get("output")
    for output in outputs if isinstance(outputs, list) else []:
        value = output.get("valueCodeableConcept") if isinstance(output, dict) else None
        codings = value.get("coding") if isinstance(value, dict) else None
        for item in codings if isinstance(codings, list) else []:
            code = item.get("code") if isinstance(item, dict) else None
            if isinstance(code, str):
                return code
    return None


def task_criteria(base: str, task_id: UUID) -> str:
    """Search criteria for our Task at a partner."""
    return f"identifier={naming(base, 'task')}|{task_id}"


def erasure_criteria(base: str, erasure_ref: UUID) -> str:
    """Search criteria for our erasure Task at a partner."""
    return f"identifier={naming(base, 'erasure')}|{erasure_ref}"


def _person(out: Outgoing) -> str:
    return f"identifier={pairwise(out.base, out.to_org)}|{out.pseudonym}"


def _ours(out: Outgoing, kind: str, value: UUID) -> str:
    return f"identifier={naming(out.base, kind)}|{value}"


def _created(resource: Resource, full_url: str, criteria: str) -> Resource:
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": criteria}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def _replaced(resource: Resource, full_url: str, criteria: str) -> Resource:
    request = {"method": "PUT", "url": f"{resource['resourceType']}?{criteria}"}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def _transaction(entries: list[Resource]) -> bytes:
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})
