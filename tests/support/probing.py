"""Schemathesis on the OpenAPI document of a running hub: what it found, and what it sent.

The document is taken as it is served. Only what no document can know is put into the copy that
Schemathesis reads: ids of things that the caller has, and bodies that go through.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

CONFIG: dict[str, Any] = {
    "seed": 20_261_125,
    "workers": 1,
    "generation": {"deterministic": True, "no-shrink": True, "database": "none", "max-examples": 4},
    "phases": {
        "stateful": {"enabled": False},
        "coverage": {"unexpected-methods": []},
    },
    "checks": {
        "enabled": False,
        "not_a_server_error": {"enabled": True},
        "status_code_conformance": {"enabled": True},
        "content_type_conformance": {"enabled": True},
        "response_schema_conformance": {"enabled": True},
        "response_headers_conformance": {"enabled": True},
        "negative_data_rejection": {
            "enabled": True,
            "expected-statuses": [
                *("400", "401", "403", "404", "406", "409", "410", "412", "413", "415", "422"),
                "428",
            ],
        },
    },
    "operations": [
        {
            "include-name": name,
            "phases": {"coverage": {"enabled": False}},
            "generation": {"max-examples": 20},
        }
        for name in (
            "POST /fhir/",
            "POST /hooks/{org}",
            "POST /v1/cases/{id}/commands",
            "POST /v1/consents",
            "POST /v1/indicators",
            "POST /v1/referrals",
            "PUT /v1/directory/services/{id}",
        )
    ],
}
"""Of the widest bodies a sample is sent, not each of hundreds of ways to be wrong."""


@dataclass
class Probe:
    """What came of a run: each finding once for an operation, and how much was sent."""

    findings: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)


def furnished(document: Any, ids: Mapping[str, str], bodies: Mapping[str, Any]) -> Any:
    """The document with ids (by path) and bodies (by operationId) that the caller may use."""
    made = copy.deepcopy(document)
    for path, item in made["paths"].items():
        for operation in item.values():
            for parameter in operation["parameters"]:
                if parameter["in"] == "path" and path in ids:
                    parameter["schema"] = {"type": "string", "enum": [ids[path]]}
                elif parameter["name"] == "If-Match":
                    parameter["schema"] = {"type": "string", "enum": ['W/"1"']}
            if operation["operationId"] in bodies:
                for content in operation["requestBody"]["content"].values():
                    content["example"] = bodies[operation["operationId"]]
    return made


def refusals(body: Any) -> Iterator[tuple[str, str]]:
    """Code and rule of each reason in a refusal, whatever its shape."""
    yield from ((one["code"], one["rule"]) for one in body.get("faults", ()))
    for issue in body.get("issue", ()):
        code, rule = (coding["code"] for coding in issue["details"]["coding"])
        yield code, rule
    if "error_rule" in body:
        yield body["error"], body["error_rule"]


def probe(document: Any, url: str, token: str) -> Probe:
    """Call the hub at `url` with what follows from the document."""
    config = SchemathesisConfig.from_dict(CONFIG)
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.config.update(base_url=url, headers={"Authorization": f"Bearer {token}"})
    found = Probe()
    for event in from_schema(schema).execute():
        _take(found, event, document)
    found.findings = sorted(set(found.findings))
    return found


def _take(found: Probe, event: Any, document: Any) -> None:
    if isinstance(event, events.NonFatalError):
        found.findings.append(f"{event.label}: {event.value}")
    elif isinstance(event, events.FatalError):
        raise event.exception
    elif isinstance(event, events.ScenarioFinished):
        _scenario(found, event, document)


def _scenario(found: Probe, event: events.ScenarioFinished, document: Any) -> None:
    method, _, path = (event.label or "").partition(" ")
    answers = document["paths"][path][method.lower()]["responses"].values()
    told = {(row["code"], row["rule"]) for one in answers for row in one.get("x-refusals", ())}
    for one in event.recorder.interactions.values():
        found.sent[event.label or ""] += 1
        found.statuses[one.response.status_code if one.response else 0] += 1
        if one.response is not None and one.response.status_code >= 400:
            for code, rule in refusals(orjson.loads(one.response.content)):
                found.refusals[code, rule] += 1
                if (code, rule) not in told:
                    found.findings.append(f"{event.label}: not told: {code}/{rule}")
    for case, nodes in event.recorder.checks.items():
        for node in nodes:
            if node.failure_info is None:
                continue
            one = event.recorder.interactions[case]
            status = one.response.status_code if one.response else 0
            sent = (one.request.body or b"")[:500]
            failure = node.failure_info.failure
            found.findings.append(
                f"{event.label}: {node.name}: {failure.message}\n"
                f"{one.request.method} {one.request.uri} {sent!r} -> {status}"
            )
