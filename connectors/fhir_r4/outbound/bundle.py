"""The transactions that a recipient's server gets.

It guards that a repeat has no second effect: first content is created only where our identifier is
unknown, later content replaces what stands under our identifiers. The Task comes last, so that a
server which works in order never shows a request without its person.
"""

from collections.abc import Sequence
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
ERASE_CATEGORIES: Final = "erase-categories"
"""A code of its own: who does not know it deletes nothing, instead of everything."""


def content(out: Outgoing, *, renew_person: bool = False) -> bytes:
    """The first delivery of a referral: conditional creates of Patient, request, consent, Task.

    `renew_person`: a Patient that is there by an earlier referral becomes what is granted now.
    """
    entries = [
        _person_of(out, renew=renew_person),
        _created(consent(out), urn(out.ids.consent), _ours(out, "consent", out.ids.consent)),
        _created(
            service_request(out),
            urn(out.ids.service_request),
            _ours(out, "service-request", out.ids.service_request),
        ),
        _created(task(out), urn(out.ids.task), _task(out)),
    ]
    return _transaction(entries)


def again(out: Outgoing) -> bytes:
    """A referral sent again: everything that stands under our identifiers is replaced."""
    return _transaction(
        [*_changed(out, renew=True), _replaced(task(out), urn(out.ids.task), _task(out))]
    )


def update(out: Outgoing, *, renew_person: bool = True) -> bytes:
    """Content that changed since: what stands under our identifiers becomes what is granted now.

    Without `renew_person` the Patient stays as it is.
    """
    return _transaction(_changed(out, renew=renew_person))


def resource(out: Outgoing, kind: str) -> bytes:
    """One resource for a recipient that reads here, under the id it knows."""
    made, own = {
        "Patient": (patient, out.ids.patient),
        "ServiceRequest": (service_request, out.ids.service_request),
        "Consent": (consent, out.ids.consent),
    }[kind]
    return orjson.dumps({**made(out), "id": str(own)})


def _changed(out: Outgoing, *, renew: bool) -> list[Resource]:
    return [
        _person_of(out, renew=renew),
        _replaced(consent(out), urn(out.ids.consent), _ours(out, "consent", out.ids.consent)),
        _replaced(
            service_request(out),
            urn(out.ids.service_request),
            _ours(out, "service-request", out.ids.service_request),
        ),
    ]


def erasure(
    *, base: str, to_org: str, erasure_ref: UUID, task_id: UUID, categories: Sequence[str] = ()
) -> bytes:
    """The request to delete what was received with one of our Tasks; it names nothing else.

    With `categories`, only what belongs to them is to go and the rest stays.
    """
    code = ERASE_CATEGORIES if categories else ERASE
    resource: Resource = {
        "resourceType": "Task",
        "identifier": [{"system": naming(base, "erasure"), "value": str(erasure_ref)}],
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": system(base, "task_code"), "code": code}]},
        "focus": {
            "type": "Task",
            "identifier": {"system": naming(base, "task"), "value": str(task_id)},
        },
        "owner": {"reference": f"Organization/{to_org}"},
    }
    if categories:
        resource["input"] = [_category(base, one) for one in categories]
    return orjson.dumps(resource)


def _category(base: str, code: str) -> Resource:
    kind = {"coding": [{"system": system(base, "task_input"), "code": "data-category"}]}
    value = {"coding": [{"system": system(base, "data_category"), "code": code}]}
    return {"type": kind, "valueCodeableConcept": value}


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


def our_task(resource: Resource, base: str) -> UUID | None:
    """The id that we gave a partner's Task, None for a Task that is not ours."""
    return _ours_of(resource, naming(base, "task"))


def our_erasure(resource: Resource, base: str) -> UUID | None:
    """The erasure request that a partner's Task stands for, None for any other Task."""
    return _ours_of(resource, naming(base, "erasure"))


def _ours_of(resource: Resource, wanted: str) -> UUID | None:
    found = resource.get("identifier")
    for item in found if isinstance(found, list) else []:
        if isinstance(item, dict) and item.get("system") == wanted:
            try:
                return UUID(str(item.get("value")))
            except ValueError:
                return None
    return None


def task_criteria(base: str, task_id: UUID) -> str:
    """Search criteria for our Task at a partner."""
    return f"identifier={naming(base, 'task')}|{task_id}"


def erasure_criteria(base: str, erasure_ref: UUID) -> str:
    """Search criteria for our erasure Task at a partner."""
    return f"identifier={naming(base, 'erasure')}|{erasure_ref}"


def _person_of(out: Outgoing, *, renew: bool) -> Resource:
    write = _replaced if renew else _created
    return write(patient(out), urn(out.ids.patient), _person(out))


def _person(out: Outgoing) -> str:
    return f"identifier={pairwise(out.base, out.to_org)}|{out.pseudonym}"


def _ours(out: Outgoing, kind: str, value: UUID) -> str:
    return f"identifier={naming(out.base, kind)}|{value}"


def _task(out: Outgoing) -> str:
    return _ours(out, "task", out.ids.task)


def _created(resource: Resource, full_url: str, criteria: str) -> Resource:
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": criteria}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def _replaced(resource: Resource, full_url: str, criteria: str) -> Resource:
    request = {"method": "PUT", "url": f"{resource['resourceType']}?{criteria}"}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def _transaction(entries: list[Resource]) -> bytes:
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})
