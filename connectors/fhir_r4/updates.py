"""What a party writes to a resource it already knows: a whole Task, or a new version of a Consent.

Guards that a body is FHIR R4 of the right type before anybody reads it. What the change means is
told by `status.py` for Tasks and by the gateway for consents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from connectors.fhir_r4.inbound.bundle import Entries
from connectors.fhir_r4.inbound.fields import field_of
from connectors.fhir_r4.inbound.provisions import to_items
from connectors.fhir_r4.inbound.structure import check_resource, validate
from connectors.fhir_r4.inbound.tables import fhir_names
from connectors.fhir_r4.inbound.values import period
from connectors.sdk.inbound import Context
from connectors.sdk.report import Report
from connectors.sdk.rules import judge_items, tell
from connectors.sdk.times import instant
from connectors.sdk.types import ConsentItem

STATUSES = ("active", "inactive")


@dataclass(frozen=True, slots=True)
class ConsentUpdate:
    """A written Consent: `inactive`, or `active` with the items it now has."""

    status: str
    given_at: datetime | None = None
    notice: str | None = None
    items: tuple[ConsentItem, ...] = ()


def _of_type(resource: Mapping[str, Any], kind: str, report: Report) -> None:
    if resource.get("resourceType") != kind:
        report.add("structure", kind, "resource-type")
        report.check()


def check_task(resource: Mapping[str, Any]) -> None:
    """Raise `Faults` unless the body is a Task by the R4 model."""
    report = Report()
    _of_type(resource, "Task", report)
    if set(resource) - fhir_names("Task") - {"resourceType"}:
        report.add("structure", "Task", "unknown-element")
    report.check()
    validate(dict(resource), "Task", report)
    report.check()


def consent_update(resource: Mapping[str, Any], context: Context) -> ConsentUpdate:
    """The update in a Consent; raises `Faults`."""
    report = Report()
    _of_type(resource, "Consent", report)
    check_resource(dict(resource), "Consent", report)
    status = resource.get("status", "")
    if status not in STATUSES:
        report.add("value-invalid", "Consent.status", "fixed-value")
    report.check()
    if status == "inactive":
        return ConsentUpdate(status)
    update = _active(resource, context, report)
    report.check()
    return update


def _active(resource: Mapping[str, Any], context: Context, report: Report) -> ConsentUpdate:
    zone, root = ZoneInfo(context.time_zone), resource.get("provision", {})
    given = instant(resource.get("dateTime"), zone, "Consent.dateTime", report)
    start, end = period(root.get("period"), zone, "Consent.provision.period", report)
    entries = Entries((), {}, {}, context.canonical_base)
    path = "Consent.provision.provision"
    written = to_items(root.get("provision", []), path, entries, zone, report)
    found = Report()
    items = judge_items(written, start or given, end, found)
    tell(found, report, field_of([]))
    policies = resource.get("policy", [{}])
    notice = str(policies[0].get("uri", "")).removeprefix(f"{context.canonical_base}/notice/")
    return ConsentUpdate("active", given, notice or None, items)
