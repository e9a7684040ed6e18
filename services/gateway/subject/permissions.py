"""What a person permitted: each consent with every change that touched it, in words. Pure.

It guards that a change has the time at which it took place: a withdrawal's and an expiry's by the
log, a consent's own by its date.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.gateway.admin.timeline import CaseLeaf
from services.gateway.subject.wording import Wording
from services.kit.ports.consent import ConsentRecord, ConsentRule

Json = dict[str, Any]
CHANGED = "changed"
"""A part of a consent was taken back; the rest stands."""
LIVE = frozenset({"given", "renewed"})


def permissions(
    records: Sequence[ConsentRecord],
    leaves: Sequence[CaseLeaf],
    names: Mapping[str, str],
    wording: Wording,
) -> list[Json]:
    """Each consent of the case, in the order given."""
    ends = {
        (one.body.get("consent_ref"), one.body.get("consent_version")): one
        for one in leaves
        if one.kind in {"withdrawn", "expired"}
    }
    consents: dict[Any, list[ConsentRecord]] = {}
    for record in records:
        consents.setdefault(record.consent_ref, []).append(record)
    return [_consent(changes, ends, names, wording) for changes in consents.values()]


def _consent(
    changes: Sequence[ConsentRecord],
    ends: Mapping[tuple[Any, Any], CaseLeaf],
    names: Mapping[str, str],
    wording: Wording,
) -> Json:
    last = changes[-1]
    rows = []
    for place, record in enumerate(changes):
        end = ends.get((str(record.consent_ref), record.version))
        before = changes[place - 1] if place else None
        rows.append(_change(record, before, end, names, wording))
    return {
        "in_force": last.status in LIVE and any(r.decision == "permit" for r in last.rules),
        "legal_basis": wording.pair("legal_basis", last.legal_basis),
        "reason_code": last.reason_code,
        "giver": wording.pair("consent_giver", last.giver),
        "assent": wording.pair("assent_status", last.assent),
        "form": wording.pair("consent_form", last.form),
        "notice": last.notice,
        "notice_language": last.language,
        "changes": rows,
    }


def _change(
    record: ConsentRecord,
    before: ConsentRecord | None,
    end: CaseLeaf | None,
    names: Mapping[str, str],
    wording: Wording,
) -> Json:
    same = before is not None and before.status == record.status
    what = CHANGED if same and (end is not None or record.status != "renewed") else ""
    code = what or record.status
    words = wording.say("consent-changed") if what else wording.coded("consent_status", code)
    return {
        "at": wording.stamp(end.at if end else record.given_at),
        "what": {"code": code, "label": words},
        "by": _by(record, end, names, wording),
        "valid_from": wording.stamp(record.valid_from),
        "valid_to": wording.stamp(record.valid_to),
        "rules": [_rule(rule, names, wording) for rule in record.rules],
        "leaf": str(end.leaf_ref) if end else None,
    }


def _by(
    record: ConsentRecord, end: CaseLeaf | None, names: Mapping[str, str], wording: Wording
) -> str:
    """By way of whom: the organisation, the hub's people, or time itself."""
    if end is not None and end.kind == "expired":
        return wording.say("by-time")
    if end is not None and end.body.get("staff_id"):
        return wording.say("by-hub")
    return wording.say("by-org", org=names.get(record.source_org, record.source_org))


def _rule(rule: ConsentRule, names: Mapping[str, str], wording: Wording) -> Json:
    kind = wording.coded("org_type", rule.to_kind)
    whom = names.get(rule.to_org, rule.to_org) if rule.to_org else None
    return {
        "decision": rule.decision,
        "to": whom or wording.say("kind-any", kind=kind or ""),
        "purpose": wording.pair("purpose", rule.purpose),
        "categories": wording.categories(rule.data_categories),
        "valid_to": wording.stamp(rule.valid_to),
    }
