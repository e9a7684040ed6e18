"""The resources of the sandbox FHIR server.

Versions, identifiers, conditional writes, all in memory.

Pure state: `plan` turns a transaction into effects without touching anything, `apply` performs
recorded effects. The server writes the effects to its journal between the two, so a restart
replays exactly what was answered.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

Resource = dict[str, Any]


class FhirError(Exception):
    """A request the server will not serve: HTTP status and issue code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Effect:
    """One resource written: `created` false when it was there and stays as it is or is updated."""

    resource: Resource
    created: bool
    changed: bool


def identifiers(resource: Resource) -> Iterable[tuple[str, str]]:
    """The `(system, value)` pairs of a resource."""
    found = resource.get("identifier", [])
    for item in found if isinstance(found, list) else [found]:
        if "value" in item:
            yield item.get("system", ""), item["value"]


@dataclass
class FhirStore:
    """Current version of every resource and an index by identifier."""

    resources: dict[tuple[str, str], Resource] = field(default_factory=dict)
    by_identifier: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def get(self, kind: str, rid: str) -> Resource:
        """The current version or a 404."""
        try:
            return self.resources[kind, rid]
        except KeyError:
            raise FhirError(404, "not-found") from None

    def find(self, kind: str, criteria: str) -> str | None:
        """Id of the one resource with `identifier=system|value`."""
        name, _, value = criteria.partition("=")
        if name != "identifier":
            raise FhirError(400, "not-supported")
        system, bar, code = value.partition("|")
        if not bar:
            raise FhirError(400, "value")
        return self.by_identifier.get((kind, system, code))

    def apply(self, resource: Resource) -> None:
        """Make a recorded version current."""
        kind, rid = resource["resourceType"], resource["id"]
        old = self.resources.get((kind, rid))
        if old is not None:
            for pair in identifiers(old):
                self.by_identifier.pop((kind, *pair), None)
        self.resources[kind, rid] = resource
        for pair in identifiers(resource):
            self.by_identifier[(kind, *pair)] = rid

    def remove(self, kind: str, rid: str) -> None:
        """Forget a resource and its identifiers."""
        old = self.resources.pop((kind, rid), None)
        for pair in identifiers(old or {}):
            self.by_identifier.pop((kind, *pair), None)

    def next_version(self, resource: Resource, rid: str, now: datetime) -> Resource:
        """The resource as stored: id, version one above the current, lastUpdated."""
        kind = resource["resourceType"]
        old = self.resources.get((kind, rid))
        version = int(old["meta"]["versionId"]) + 1 if old else 1
        meta = {
            **resource.get("meta", {}),
            "versionId": str(version),
            "lastUpdated": now.isoformat(),
        }
        return {**resource, "id": rid, "meta": meta}

    def plan(self, entries: Sequence[dict[str, Any]], now: datetime) -> list[Effect]:
        """What a transaction would write, references between its entries resolved."""
        targets = [self._target(entry) for entry in entries]
        names = {
            entry["fullUrl"]: f"{entry['resource']['resourceType']}/{rid}"
            for entry, (rid, _) in zip(entries, targets, strict=True)
            if "fullUrl" in entry
        }
        effects = []
        for entry, (rid, write) in zip(entries, targets, strict=True):
            kind = entry["resource"]["resourceType"]
            if write:
                resource = self.next_version(_renamed(entry["resource"], names), rid, now)
                effects.append(Effect(resource, (kind, rid) not in self.resources, changed=True))
            else:
                effects.append(Effect(self.resources[kind, rid], created=False, changed=False))
        return effects

    def _target(self, entry: dict[str, Any]) -> tuple[str, bool]:
        request, kind = entry.get("request", {}), entry["resource"]["resourceType"]
        method, url = request.get("method"), request.get("url", "")
        if method == "POST":
            condition = request.get("ifNoneExist")
            found = self.find(kind, condition) if condition else None
            return (found, False) if found else (str(uuid4()), True)
        if method == "PUT" and "?" in url:
            return self.find(kind, url.partition("?")[2]) or str(uuid4()), True
        if method == "PUT" and "/" in url:
            return url.partition("/")[2], True
        raise FhirError(400, "not-supported")


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: names.get(item, item)
            if key == "reference" and isinstance(item, str)
            else _renamed(item, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value


def outcome(code: str, detail: str = "") -> Resource:
    """A minimal OperationOutcome."""
    issue: dict[str, Any] = {"severity": "error", "code": code}
    if detail:
        issue["details"] = {"coding": [{"code": detail}]}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
