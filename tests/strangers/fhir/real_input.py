"""Referrals put together from the examples of two HL7 guides: as they are, and after the changes
that stand in `data/changes.json`.

As they are: one transaction whose references lead from entry to entry. The changes are JSON Patch
(RFC 6902: add, remove, replace) by resource, each group with its reason; a value `@now` is the
moment, `@end` a day 90 days later.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

DATA = Path(__file__).parent.parent / "data"
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One group of changes to one resource."""

    resource: str
    why: str
    patch: list[Json]


@dataclass(frozen=True, kw_only=True)
class Round:
    """Everything that a referral is refused for, in path order, and what mends it."""

    refused: list[tuple[str, str, str]]
    changes: list[Change]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A guide's referral, round after round until nothing is left to refuse."""

    guide: str
    rounds: list[Round]

    def raw(self) -> Json:
        """The transaction of the guide's resources."""
        files = sorted((DATA / self.guide).glob("*.json"))
        resources = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        urns = {
            f"{one['resourceType']}/{one['id']}": f"urn:uuid:{uuid5(NAMESPACE_URL, one['id'])}"
            for one in resources
        }
        entries = [
            {
                "fullUrl": urns[f"{one['resourceType']}/{one['id']}"],
                "resource": _pointed(one, urns),
                "request": {"method": "POST", "url": one["resourceType"]},
            }
            for one in resources
        ]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    def after(self, rounds: int, now: datetime) -> Json:
        """The transaction after the changes of so many rounds."""
        bundle = self.raw()
        values = _values(bundle, now)
        for change in (c for one in self.rounds[:rounds] for c in one.changes):
            target = bundle if change.resource == "Bundle" else _resource(bundle, change.resource)
            for operation in _filled(change.patch, values):
                apply(target, operation)
        return bundle


def examples() -> dict[str, Example]:
    """Every example, by guide."""
    found = json.loads((DATA / "changes.json").read_text(encoding="utf-8"))
    return {
        guide: Example(guide=guide, rounds=[_round(r) for r in rs]) for guide, rs in found.items()
    }


def _round(found: Json) -> Round:
    return Round(
        refused=[tuple(row) for row in found["refused"]],
        changes=[Change(**change) for change in found["changes"]],
    )


def apply(target: Json, operation: Json) -> None:
    """One operation of JSON Patch, in place."""
    *path, last = (step.replace("~1", "/") for step in operation["path"].split("/")[1:])
    node: Any = target
    for step in path:
        node = node[int(step)] if isinstance(node, list) else node[step]
    at: Any = last
    if isinstance(node, list):
        at = len(node) if last == "-" else int(last)
    if operation["op"] == "remove":
        del node[at]
    elif operation["op"] == "add" and isinstance(node, list):
        node.insert(at, operation["value"])
    else:
        if operation["op"] == "replace":
            node[at]
        node[at] = operation["value"]


def _resource(bundle: Json, kind: str) -> Json:
    found: Json = next(
        e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind
    )
    return found


def _values(bundle: Json, now: datetime) -> dict[str, str]:
    """What `@…` in a change stands for."""
    found = {f"@{e['resource']['resourceType']}": e["fullUrl"] for e in bundle["entry"]}
    end = (now + timedelta(days=90)).date().isoformat()
    return found | {"@now": now.astimezone(UTC).isoformat(timespec="seconds"), "@end": end}


def _filled(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, values) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return values.get(value, value) if isinstance(value, str) else value


def _pointed(value: Any, urns: dict[str, str]) -> Any:
    """References to other resources of the example as a transaction has them."""
    if isinstance(value, dict):
        return {
            name: urns.get(item, item)
            if name == "reference" and isinstance(item, str)
            else _pointed(item, urns)
            for name, item in value.items()
        }
    return [_pointed(item, urns) for item in value] if isinstance(value, list) else value
