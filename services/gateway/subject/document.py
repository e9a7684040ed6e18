"""An access report as a document: what is held on a person and what was done with it. Pure.

It guards that everything the hub knows of the case is in it (each version, each disclosure, each
change of consent, each opening), each thing with its code and its words, and that no member of
the staff and no reference of the hub's own but the proofs is. How it looks is `page`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from services.gateway.admin.timeline import CaseLeaf
from services.gateway.subject.permissions import permissions
from services.gateway.subject.wording import Wording, field_names, texts
from services.kit.ports.consent import ConsentRecord
from services.kit.ports.referral import ReferralState
from services.kit.ports.vault import CopiedVersion

Json = dict[str, Any]
FORMAT: Final = "cauce-access-report"
FORMAT_VERSION: Final = 1
LEFT: Final = ("disclosed", "unknown", "disclosure_intent")
"""How an authorised disclosure may stand and count as received."""
ENDS_OF_INTENT: Final = frozenset({*LEFT, "not_sent"})
KINDS_OF_NUMBER: Final = ("requisition", "bundle", "tasks", "requests")
ORDER: Final = (
    *("identity", "contact", "location_precise", "family", "biometric_or_image", "health"),
    *("experience_narrative", "exploitation_details", "sexual_violence", "migration_status"),
    *("gender_identity_orientation", "ethnicity", "pseudonymous_core"),
)
"""Data categories as a person reads them."""
WITHHELD: Final = frozenset({"approver"})
"""Of the consent as given: who approved another basis is a person of the organisation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """An opening of the identity: when, why, and by people of which organisations."""

    at: datetime
    reason_code: str
    orgs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """Everything that a report is made of."""

    report_ref: UUID
    leaf_ref: UUID
    made_at: datetime
    cell: str
    sender: str
    opened_at: datetime
    status: str
    names: Mapping[str, str]
    """Organisation → its name."""
    versions: Sequence[CopiedVersion]
    other_cases: int
    leaves: Sequence[CaseLeaf]
    consents: Sequence[ConsentRecord]
    states: Mapping[UUID, ReferralState]
    openings: Sequence[Opened]


def document(found: Gathered, wording: Wording) -> Json:
    """The whole report; times are ISO 8601 with their zone."""
    disclosures = [d for d in _intents(found, wording) if d["outcome"] in LEFT]
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "language": wording.lang,
        "report": str(found.report_ref),
        "leaf": str(found.leaf_ref),
        "made_at": wording.stamp(found.made_at),
        "time_zone": wording.zone.key,
        "hub": found.cell,
        "sender": _org(found, found.sender),
        "case": {
            "opened_at": wording.stamp(found.opened_at),
            "status": wording.pair("case_status", found.status),
        },
        "other_cases": found.other_cases,
        "record": _record(found.versions, wording),
        "recipients": _recipients(found, disclosures, wording),
        "stopped": _stopped(found, wording),
        "referrals": _referrals(found, wording),
        "consents": permissions(found.consents, found.leaves, found.names, wording),
        "openings": [_opening(found, one, wording) for one in found.openings],
        "keys_destroyed": [
            {
                "at": wording.stamp(one.at),
                "purpose": wording.pair("purpose", one.body.get("purpose")),
                "leaf": str(one.leaf_ref),
            }
            for one in found.leaves
            if one.kind == "key_destroyed"
        ],
    }


def _org(found: Gathered, org: str) -> Json:
    return {"org": org, "name": found.names.get(org, org)}


# --- what is held -------------------------------------------------------------------------------


def _record(versions: Sequence[CopiedVersion], wording: Wording) -> list[Json]:
    """Every version, newest first; `data` is null where the keys are destroyed."""
    return [
        {
            "number": one.vault_version,
            "received_at": wording.stamp(one.stored_at),
            **_content(one.record, wording),
        }
        for one in sorted(versions, key=lambda one: one.vault_version, reverse=True)
    ]


def _content(record: bytes | None, wording: Wording) -> Json:
    if record is None:
        return {"data": None, "sender_numbers": [], "consent_as_given": None}
    read = orjson.loads(record)
    originals = read.get("originals", {})
    given = originals.get("consent")
    return {
        "data": [
            {"category": code, "label": wording.category(code), "fields": _fields(parts, wording)}
            for code, parts in sorted(read["split"].items(), key=_place_of_category)
        ],
        "sender_numbers": [
            {"kind": kind, "label": wording.say(f"number-{kind}"), **number}
            for kind in KINDS_OF_NUMBER
            for number in _many(originals.get(kind))
        ],
        "consent_as_given": given and {n: v for n, v in given.items() if n not in WITHHELD},
    }


def _fields(parts: Mapping[str, Mapping[str, Any]], wording: Wording) -> list[Json]:
    return [
        {
            "name": f"{owner}.{name}",
            "label": wording.field(owner, name),
            "value": value,
            "text": wording.value(owner, name, value),
        }
        for owner, name, value in sorted(
            ((o, n, v) for o, fields in parts.items() for n, v in fields.items()), key=_place
        )
    ]


def _place_of_category(item: tuple[str, Any]) -> int:
    """Who somebody is first, the general codes last."""
    return ORDER.index(item[0]) if item[0] in ORDER else len(ORDER)


def _place(item: tuple[str, str, Any]) -> int:
    known = list(field_names())
    return known.index(item[:2]) if item[:2] in known else len(known)


def _many(value: Any) -> list[Json]:
    return [] if value is None else value if isinstance(value, list) else [value]


# --- who received it ----------------------------------------------------------------------------


def _intents(found: Gathered, wording: Wording) -> list[Json]:
    """Each authorised disclosure once, as it stands now, in the order of the log."""
    known: dict[str, Json] = {}
    for one in found.leaves:
        if one.kind not in ENDS_OF_INTENT:
            continue
        body = one.body
        row = known.setdefault(
            body.get("grant_ref") or str(one.leaf_ref),
            {
                "at": wording.stamp(one.at),
                "to": body["to_org"],
                "purpose": wording.pair("purpose", body.get("purpose")),
                "categories": wording.categories(body.get("categories", ())),
                "legal_basis": wording.pair("legal_basis", body.get("legal_basis")),
                "leaves": [],
            },
        )
        row["outcome"], row["outcome_text"] = one.kind, wording.say(f"outcome-{one.kind}")
        row["outcome_at"] = wording.stamp(one.at)
        row["leaves"].append(str(one.leaf_ref))
    return list(known.values())


def _recipients(found: Gathered, disclosures: Sequence[Json], wording: Wording) -> list[Json]:
    erasures = _erasures(found.leaves, wording)
    orgs = dict.fromkeys([*(d["to"] for d in disclosures), *(e["to"] for e in erasures)])
    return [
        _recipient(
            _org(found, org),
            [_without_to(d) for d in disclosures if d["to"] == org],
            [_without_to(e) for e in erasures if e["to"] == org],
            wording,
        )
        for org in orgs
    ]


def _without_to(row: Json) -> Json:
    return {name: value for name, value in row.items() if name != "to"}


def _recipient(org: Json, disclosures: list[Json], erasures: list[Json], wording: Wording) -> Json:
    standing = _standing(disclosures, erasures)
    return {
        **org,
        "standing": {"code": standing, "label": wording.say(f"standing-{standing}")},
        "disclosures": disclosures,
        "erasures": erasures,
    }


def _standing(disclosures: Sequence[Json], erasures: Sequence[Json]) -> str:
    """What the recipient may hold: its answer to the last request for all, unless it got more."""
    whole = [one for one in erasures if not one["categories"]]
    if not whole:
        return "holds"
    last = whole[-1]
    asked = datetime.fromisoformat(last["asked_at"])
    if any(datetime.fromisoformat(one["at"]) > asked for one in disclosures):
        return "holds"
    return str(last["answer"]["code"]) if last["answer"] else "pending"


def _erasures(leaves: Sequence[CaseLeaf], wording: Wording) -> list[Json]:
    """Each request to erase once, with the last answer."""
    known: dict[str, Json] = {}
    for one in leaves:
        ref = one.body.get("erasure_ref")
        if one.kind == "erasure_requested":
            known[f"{ref} {one.leaf_ref}"] = {
                "to": one.body["to_org"],
                "asked_at": wording.stamp(one.at),
                "categories": wording.categories(one.body.get("categories", ())),
                "answer": None,
                "answered_at": None,
                "leaves": [str(one.leaf_ref)],
            }
        elif one.kind == "erasure_reported":
            for key in [key for key in known if key.startswith(f"{ref} ")][-1:]:
                status = one.body.get("status")
                known[key]["answer"] = wording.pair("withdrawal_effect", status)
                known[key]["answered_at"] = wording.stamp(one.at)
                known[key]["leaves"].append(str(one.leaf_ref))
    return list(known.values())


def _stopped(found: Gathered, wording: Wording) -> list[Json]:
    """What was kept from leaving or could not leave."""
    unsent = [
        {
            "at": row["outcome_at"],
            "to": _org(found, row["to"]),
            "categories": row["categories"],
            "outcome": row["outcome"],
            "outcome_text": row["outcome_text"],
            "leaf": row["leaves"][-1],
        }
        for row in _intents(found, wording)
        if row["outcome"] == "not_sent"
    ]
    kept = [
        {
            "at": wording.stamp(one.at),
            "to": _org(found, one.body["to_org"]),
            "categories": [],
            "outcome": "suppressed",
            "outcome_text": wording.say("outcome-suppressed"),
            "leaf": str(one.leaf_ref),
        }
        for one in found.leaves
        if one.kind == "suppressed"
    ]
    return sorted([*unsent, *kept], key=lambda row: str(row["at"]))


# --- what else happened -------------------------------------------------------------------------


def _referrals(found: Gathered, wording: Wording) -> list[Json]:
    rows = []
    for one in found.leaves:
        if one.kind != "accepted" or one.referral_ref is None:
            continue
        state = found.states.get(one.referral_ref)
        rows.append(
            {
                "at": wording.stamp(one.at),
                "from": _org(found, one.body["actor"]),
                "to": _org(found, one.body["to_org"]),
                "purpose": wording.pair("purpose", one.body.get("purpose")),
                "categories": wording.categories(one.body.get("categories", ())),
                "legal_basis": wording.pair("legal_basis", one.body.get("legal_basis")),
                "service": wording.pair("service_type", state.service_type if state else None),
                "status": wording.pair("referral_status", state.status if state else "sent"),
                "leaf": str(one.leaf_ref),
            }
        )
    return rows


def _opening(found: Gathered, one: Opened, wording: Wording) -> Json:
    key = f"reason-{one.reason_code}"
    label = wording.say(key if key in texts() else "reason-other")
    return {
        "at": wording.stamp(one.at),
        "reason": {"code": one.reason_code, "label": label},
        "organisations": [_org(found, org) for org in one.orgs],
    }
