"""What the hub accepts, HAPI's validator accepts: samples, and every mutant of them.

The hub's side is the mapping with strict parsing; what the gateway checks after it only refuses
more.
"""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from connectors.fhir_r4.mapping import to_submission
from connectors.sandbox.samples import BASE, bundle, full_bundle
from connectors.sdk.faults import Faults
from connectors.sdk.inbound import Context
from connectors.sdk.strict import parse_strict
from tests.conformance.differences import Difference, problems
from tests.conformance.installation import Installation
from tests.conformance.mutants import mutants
from tests.conformance.report import Report
from tests.conformance.validator import Validator, running_validator
from tests.support.bundles import MUTATIONS

Json = dict[str, Any]
ALONE = True
FIXTURES = Path("connectors/fhir_r4/fixtures")


def refusals(sent: Json, context: Context) -> list[str]:
    """`code/rule` of everything the hub refuses a Bundle for."""
    try:
        to_submission(parse_strict(orjson.dumps(sent)), context)
    except Faults as refused:
        return [f"{fault.code}/{fault.rule}" for fault in refused.faults]
    return []


def samples(now: datetime) -> dict[str, Json]:
    """Accepted Bundles that together have every element."""
    return {
        "usual": bundle(now=now),
        "full": full_bundle(now=now),
        "minor": bundle(now=now, minor=True),
    }


def fixtures() -> dict[str, Json]:
    """What the connector's own tests accept."""
    return {file.name: orjson.loads(file.read_bytes()) for file in FIXTURES.glob("*.in.json")}


async def run(_: Installation | None, report: Report) -> None:
    """Both verdicts on every Bundle."""
    now = datetime.now(UTC)
    context = Context("ong-norte", now, "America/Bogota", BASE)
    with running_validator(report.profiles) as validator:
        for name, sample in samples(now).items():
            for problem in refusals(sample, context):
                report.fail(f"sample {name} is refused: {problem}")
        for name, sample in (samples(now) | fixtures()).items():
            for error in validator.errors(sample):
                report.fail(f"{name}: {error}")
        report(f"{len(samples(now))} samples and every fixture of the connector are valid")
        _mutants(now, context, validator, report)
        _business(now, context, validator, report)


def _mutants(now: datetime, context: Context, validator: Validator, report: Report) -> None:
    seen: set[tuple[str, str]] = set()
    lax: list[Difference] = []
    accepted, stricter = 0, Counter[str]()
    for sample in samples(now).values():
        for one in mutants(sample):
            if (one.kind, one.path) in seen:
                continue
            seen.add((one.kind, one.path))
            refused, errors = refusals(one.bundle, context), validator.errors(one.bundle)
            accepted += not refused
            if refused and not errors:
                stricter.update(set(refused))
            lax += [
                Difference(way="in", where=one.path, change=one.kind, finding=e.id, text=str(e))
                for e in errors
                if not refused
            ]
    for line in problems("in", lax):
        report.fail(line)
    report(
        f"{len(seen)} mutants: {accepted} accepted, {len(lax)} of them with a known reason "
        "although the validator refuses"
    )
    report(f"stricter than the validator, by rule: {_most(stricter)}")


def _most(counted: Counter[str]) -> str:
    return ", ".join(f"{rule} {count}" for rule, count in counted.most_common())


def _business(now: datetime, context: Context, validator: Validator, report: Report) -> None:
    """Mutations of the refusal catalogue: refused here, and mostly good FHIR all the same."""
    valid = 0
    for mutation in MUTATIONS:
        changed = bundle(now=now, rich=True, minor=mutation.minor)
        mutation.change(changed)
        if not refusals(changed, context):
            report.fail(f"accepted: {mutation.name}")
        valid += not validator.errors(changed)
    report(f"{len(MUTATIONS)} refusals by rules of ours; {valid} of those Bundles are valid FHIR")
