"""What is made of a referral is the same whether it came by FHIR or natively."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from connectors.fhir_r4 import mapping as fhir_r4
from connectors.native import mapping as native
from connectors.sandbox.samples import BASE, Sample, full_bundle
from connectors.sdk.inbound import Context
from connectors.sdk.types import Submission
from services.gateway.intake.keys import Keys
from services.gateway.intake.records import (
    case_facts,
    consent_record,
    request_facts,
    stats_facts,
    vault_record,
)
from tests.support.natives import twin

NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
CONTEXT = Context("ong-norte", NOW, "America/Bogota", BASE)
KEYS = Keys(b"i" * 32, b"d" * 32)
ALL = ("pseudonymous_core", "exploitation_details", "contact", "migration_status", "identity")
EMERGENCY = {
    "legal_basis": "vital_interest",
    "purpose": "emergency",
    "basis_reason": "danger_to_life",
    "approver": "coordinadora-1",
}
BUNDLES: dict[str, Any] = {
    "usual": Sample(now=NOW).bundle(),
    "full": full_bundle(now=NOW),
    "minor": full_bundle(now=NOW, minor=True),
    "emergency": Sample(now=NOW, **EMERGENCY).bundle(),  # type: ignore[arg-type]
    "case number": Sample(now=NOW, requisition="C-1").bundle(),
}


def made_of(submission: Submission) -> list[Any]:
    record = consent_record(
        submission.consent,
        keys=KEYS,
        org="ong-norte",
        consent_ref=UUID(int=1),
        case_ref=UUID(int=2),
        now=NOW,
    )
    return [
        submission,
        vault_record(submission, None),
        record,
        case_facts(submission, ALL),
        request_facts(submission),
        stats_facts(submission, "2026-03"),
    ]


@pytest.mark.parametrize("name", BUNDLES)
def test_twins_become_one_record_one_consent_and_the_same_facts(name: str) -> None:
    bundle = BUNDLES[name]
    by_fhir = fhir_r4.to_submission(bundle, CONTEXT).submission
    natively = native.to_submission(twin(bundle, now=NOW), CONTEXT).submission
    assert made_of(by_fhir) == made_of(natively)
