"""Legal bases: what a consent record may rest on (`design.md` §5), as pure rules.

Guards that a basis other than consent is explicit, reasoned and approved, and that vital
interest carries an emergency and nothing else. The gateway refuses by these rules and consent
decides by them, so both see the same answer. Who may give consent is checked at intake.
"""

from typing import Final

from services.kit.needs import EMERGENCY
from services.kit.ports.consent import ConsentRecord, ConsentRule

VITAL_CATEGORIES: Final = frozenset({"pseudonymous_core", "contact"})
"""All that vital interest may carry."""

REASONED_BASES: Final = frozenset({"vital_interest", "legal_obligation", "best_interests_of_child"})
"""Bases beside consent that may be used, each with a reason code and a named approver."""


def covered(record: ConsentRecord, rule: ConsentRule) -> frozenset[str]:
    """Categories of a permit that its legal basis may carry."""
    given = frozenset(rule.data_categories)
    if basis_fault(record) is not None:
        return frozenset()
    if (record.legal_basis == "vital_interest") != (rule.purpose == EMERGENCY):
        return frozenset()
    return given & VITAL_CATEGORIES if rule.purpose == EMERGENCY else given


def basis_fault(record: ConsentRecord) -> str | None:
    """Why the record's own basis cannot stand, as a rule name; None when it can."""
    if record.legal_basis == "consent":
        return None
    if record.legal_basis not in REASONED_BASES:
        return "basis-not-allowed"
    if record.reason_code is None:
        return "basis-needs-reason"
    return None if record.approver_ref is not None else "basis-needs-approver"


def record_fault(record: ConsentRecord) -> str | None:
    """Why the record must not be stored, as a rule name; None when it may."""
    fault = basis_fault(record)
    for rule in record.rules:
        if fault is None and rule.decision == "permit":
            fault = _permit_fault(record, rule)
    return fault


def _permit_fault(record: ConsentRecord, rule: ConsentRule) -> str | None:
    if (record.legal_basis == "vital_interest") != (rule.purpose == EMERGENCY):
        return "emergency-is-vital-interest"
    if covered(record, rule) != frozenset(rule.data_categories):
        return "emergency-core-and-contact-only"
    return None
