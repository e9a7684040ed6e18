"""Everything that the hub emits passes HAPI's validator, base FHIR and the profiles we claim."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.conformance.differences import Difference, problems
from tests.conformance.emitted import SOURCE, collect
from tests.conformance.installation import Installation
from tests.conformance.report import Report
from tests.conformance.validator import Validator, running_validator

Json = dict[str, Any]
HL7 = "http://hl7.org/fhir"
BACKPORT = f"{HL7}/uv/subscriptions-backport/StructureDefinition/backport-subscription"


@dataclass(frozen=True)
class Claim:
    """The resources that are to conform to a profile."""

    profile: str
    of: Callable[[str, Json], bool]


def _is_task(code: str) -> Callable[[Json], bool]:
    def check(resource: Json) -> bool:
        if resource["resourceType"] != "Task":
            return False
        return any(coding["code"] == code for coding in resource["code"]["coding"])

    return check


_order, _abort = _is_task("fulfill"), _is_task("abort")


def _delivered(name: str, resource: Json) -> bool:
    return _order(resource) and name.startswith("sent")


def _for_a_party(name: str, resource: Json) -> bool:
    """An order that names the person: as delivered, and as its sender reads it."""
    return _order(resource) and (_delivered(name, resource) or f"({SOURCE}" in name)


def _of_type(kind: str, name: str) -> Callable[[str, Json], bool]:
    return lambda where, resource: resource["resourceType"] == kind and name in where


CLAIMS = (
    Claim(
        f"{HL7}/us/sdoh-clinicalcare/StructureDefinition/SDOHCC-TaskForReferralManagement",
        lambda name, resource: _for_a_party(name, resource) and resource["status"] != "received",
    ),
    Claim(f"{HL7}/us/bser/StructureDefinition/referral-task", _for_a_party),
    Claim(f"{HL7}/uv/cow/StructureDefinition/coordination-task", _delivered),
    Claim(
        f"{HL7}/uv/cow/StructureDefinition/cancellation-request-task",
        lambda _, resource: _abort(resource),
    ),
    Claim(BACKPORT, _of_type("Subscription", "")),
    Claim(f"{BACKPORT}-notification-r4", _of_type("Bundle", "notification")),
    Claim(f"{BACKPORT}-status-r4", _of_type("Parameters", "")),
)


async def run(installation: Installation, report: Report) -> None:
    """Collect and judge."""
    found = await collect(installation)
    with running_validator(report.profiles) as validator:
        _base(found, validator, report)
        for claim in CLAIMS:
            _claim(claim, found, validator, report)


def _base(found: dict[str, Json], validator: Validator, report: Report) -> None:
    seen = [
        Difference(way="out", where=name, change="emitted", finding=error.id, text=str(error))
        for name, resource in found.items()
        for error in validator.errors(resource)
    ]
    for line in problems("out", seen):
        report.fail(line)
    kinds = len({resource["resourceType"] for resource in found.values()})
    report(f"{len(found)} resources of {kinds} types as FHIR R4; {len(seen)} with a known reason")


def _claim(claim: Claim, found: dict[str, Json], validator: Validator, report: Report) -> None:
    count = 0
    for name, resource in _parts(found):
        if not claim.of(name, resource):
            continue
        count += 1
        for error in validator.errors(resource, claim.profile):
            report.fail(f"{name} as {claim.profile}: {error}")
    if not count:
        report.fail(f"nothing to judge by {claim.profile}")
    report(f"{count} resources as {claim.profile.rpartition('/')[2]}")


def _parts(found: dict[str, Json]) -> Iterator[tuple[str, Json]]:
    """Every resource, and those inside Bundles."""
    for name, resource in found.items():
        yield name, resource
        for entry in resource.get("entry", []):
            if "resource" in entry:
                yield name, entry["resource"]
