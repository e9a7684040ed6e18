"""What `refugio-sur` takes away when it is asked to delete.

All of a referral (code `erase`), but for what another referral of the same person still needs; or
only what belongs to the named data categories (`erase-categories`).
"""

from collections.abc import Iterable
from typing import Any

Resource = dict[str, Any]
Key = tuple[str, str]

ERASE = "erase"
ERASE_CATEGORIES = "erase-categories"
ELEMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "contact": {"Patient": ("telecom",)},
    "identity": {"Patient": ("name", "birthDate")},
    "biometric_or_image": {"Patient": ("photo",)},
    "location_precise": {"Patient": ("address",)},
    "family": {"Patient": ("contact",)},
    "health": {"ServiceRequest": ("reasonCode",)},
    "exploitation_details": {"ServiceRequest": ("reasonCode",)},
    "sexual_violence": {"ServiceRequest": ("reasonCode",)},
    "experience_narrative": {"ServiceRequest": ("note",)},
}
"""Data category to the elements of ours that hold it."""


def code_of(task: Resource) -> str | None:
    """The first code of a Task."""
    codings = task.get("code", {}).get("coding", [])
    return next((c.get("code") for c in codings), None)


def is_erasure(resource: Resource) -> bool:
    """Whether a resource asks to delete."""
    wanted = {ERASE, ERASE_CATEGORIES}
    return resource["resourceType"] == "Task" and code_of(resource) in wanted


def categories(task: Resource) -> list[str]:
    """The data categories that are to go; none where everything is."""
    values = [one.get("valueCodeableConcept", {}) for one in task.get("input", [])]
    return [coding["code"] for value in values for coding in value.get("coding", [])]


def parts_of(resources: dict[Key, Resource], rid: str) -> list[Key]:
    """A referral's Task with its Patient, ServiceRequest and Consent."""
    referral = resources[("Task", rid)]
    found: list[Key] = [("Task", rid)]
    found += _there(resources, (referral.get(name, {}) for name in ("focus", "for")))
    requests = [resources[key] for key in found if key[0] == "ServiceRequest"]
    return found + _there(resources, (i for r in requests for i in r.get("supportingInfo", [])))


def needed_elsewhere(resources: dict[Key, Resource], rid: str) -> set[Key]:
    """What other referrals refer to."""
    others = [
        key[1]
        for key, resource in resources.items()
        if key[0] == "Task" and key[1] != rid and not is_erasure(resource)
    ]
    return {part for other in others for part in parts_of(resources, other)}


def without(resource: Resource, gone: Iterable[str]) -> Resource | None:
    """The resource without what belongs to the categories; None when it held nothing of them."""
    kind = resource["resourceType"]
    names = {n for category in gone for n in ELEMENTS.get(category, {}).get(kind, ())}
    kept = {name: value for name, value in resource.items() if name not in names}
    return kept if kept != resource else None


def _there(resources: dict[Key, Resource], references: Iterable[Resource]) -> list[Key]:
    keys = (reference.get("reference", "").partition("/") for reference in references)
    return [(kind, rid) for kind, _, rid in keys if (kind, rid) in resources]
