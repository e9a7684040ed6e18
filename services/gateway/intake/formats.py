"""The formats a referral may come in: how each is read, keyed, answered, and names other referrals.

It guards that all else on the way in is one path, whatever the format. What a format's fields mean
is its connector's; the rules are the SDK's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson

from connectors.fhir_r4 import mapping as fhir_r4
from connectors.native import mapping as native_json
from connectors.sdk.inbound import Context, Mapped

Key = tuple[str, str]
"""(system, value) of an identifier."""

OwnIds = Mapping[str, UUID]
"""The sender's own ids of what was accepted, by kind of alias."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One format. `other`: the kind of alias by which its sender names another referral."""

    name: str
    key_of: Callable[[Mapping[str, Any]], Key | None]
    read: Callable[[Mapping[str, Any], Context], Mapped]
    answer: Callable[[tuple[str, ...], OwnIds, tuple[str, ...]], bytes]
    other: str
    replaces: str
    onward_of: str


def _identifier(node: Any) -> Key | None:
    if not isinstance(node, dict):
        return None
    system, value = node.get("system", ""), node.get("value")
    if not isinstance(value, str) or not isinstance(system, str) or not value.strip():
        return None
    return system, value


def _first(given: Any) -> Key | None:
    return _identifier(given[0]) if isinstance(given, list) and given else None


def fhir_key(bundle: Mapping[str, Any]) -> Key | None:
    """Bundle.identifier, else the Task's first."""
    return _identifier(bundle.get("identifier")) or _task_identifier(bundle)


def _task_identifier(bundle: Mapping[str, Any]) -> Key | None:
    entries = bundle.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and resource.get("resourceType") == "Task":
            return _first(resource.get("identifier"))
    return None


def native_key(document: Mapping[str, Any]) -> Key | None:
    """The first of `referral.task_identifiers`."""
    referral = document.get("referral")
    return _first(referral.get("task_identifiers")) if isinstance(referral, dict) else None


_KIND_OF = {
    "Task": "task",
    "ServiceRequest": "service_request",
    "Consent": "consent",
    "Patient": "patient",
}


def fhir_answer(entries: tuple[str, ...], own: OwnIds, dropped: tuple[str, ...]) -> bytes:
    """The transaction-response: where each entry is found by its sender, and what was not kept."""
    responses: list[dict[str, Any]] = []
    for name in entries:
        response: dict[str, Any] = {"status": "201 Created"}
        if name in _KIND_OF:
            response["location"] = f"{name}/{own[_KIND_OF[name]]}"
        responses.append({"response": response})
    notes = [
        {
            "severity": "information",
            "code": "informational",
            "expression": [path],
            "details": {"text": "not kept"},
        }
        for path in dropped
    ]
    if notes and responses:
        outcome = {"resourceType": "OperationOutcome", "issue": notes}
        responses[0]["response"]["outcome"] = outcome
    return orjson.dumps(
        {"resourceType": "Bundle", "type": "transaction-response", "entry": responses}
    )


def native_answer(_: tuple[str, ...], own: OwnIds, dropped: tuple[str, ...]) -> bytes:
    """The sender's own ids of referral, case and consent, and what was not kept."""
    task = own["task"]
    return orjson.dumps(
        {
            "referral": {"id": task, "href": f"/v1/referrals/{task}", "status": "sent"},
            "case": {"id": own["case"]},
            "consent": {"id": own["consent"]},
            "dropped": dropped,
        }
    )


FHIR: Final = Format(
    name="fhir",
    key_of=fhir_key,
    read=fhir_r4.to_submission,
    answer=fhir_answer,
    other="service_request",
    replaces="ServiceRequest.replaces[0]",
    onward_of="ServiceRequest.basedOn[0]",
)
NATIVE: Final = Format(
    name="native",
    key_of=native_key,
    read=native_json.to_submission,
    answer=native_answer,
    other="task",
    replaces="referral.replaces",
    onward_of="referral.onward_of",
)
FORMATS: Final[Mapping[str, Format]] = {one.name: one for one in (FHIR, NATIVE)}


def warm_up() -> None:
    """Make each format ready, so that the first referral is not slower than the others."""
    fhir_r4.warm_up()
    native_json.warm_up()
