"""What the parties see of a referral and its consent, as FHIR dictionaries. Pure.

It guards that every id is the reader's own, that a recipient sees the sender under its neutral name
where its own name would tell what happened, and that no instant of the sender is finer than a day.
Content about the person comes from delivery alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from connectors.fhir_r4.inbound.tables import pairs
from connectors.fhir_r4.outbound.content import (
    ACT_CODE,
    ACT_REASON,
    CONSENT_SCOPE,
    PARTICIPATION,
    TASK_CODE,
    present,
    system,
)
from connectors.fhir_r4.status import task_view
from schemas.codes import Lang, label
from services.kit.aliases import AliasKind, alias, own_day, own_instant
from services.kit.needs import Need, need_for
from services.kit.partners import Partner
from services.kit.ports.consent import ConsentRecord, ConsentRule
from services.kit.ports.referral import ReferralState

Resource = dict[str, Any]
ACTION: Final = "http://terminology.hl7.org/CodeSystem/consentaction"


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What is the same for every view of this cell."""

    base: str
    zone: ZoneInfo
    alias_key: bytes = field(repr=False)
    partner: Callable[[str], Partner | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A referral as one of its parties may see it."""

    frame: Frame
    org: str
    state: ReferralState
    subject_ref: UUID

    def id(self, kind: AliasKind) -> str:
        """The reader's own id of a part of it."""
        refs = {"consent": self.state.consent_ref, "patient": self.subject_ref}
        ref = refs.get(kind, self.state.referral_ref)
        return str(alias(self.frame.alias_key, kind, ref, self.org))

    @property
    def is_source(self) -> bool:
        """Whether the reader is the sender."""
        return self.org == self.state.from_org

    @property
    def changed_at(self) -> str:
        """When it last changed, as this reader sees it."""
        state = self.state
        if self.is_source:
            return instant(state.updated_at)
        key = self.frame.alias_key
        at = own_instant(key, state.referral_ref, state.version, self.org, state.updated_at)
        return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    @property
    def source(self) -> str:
        """Name of the sender for this reader."""
        partner, recipient = (
            self.frame.partner(org) for org in (self.state.from_org, self.state.to_org)
        )
        if self.is_source or partner is None:
            return self.state.from_org
        kind = recipient.org_type if recipient is not None else ""
        need = need_for(self.state.service_type or "", kind)
        reveals = isinstance(need, Need) and need.may_know_phenomenon
        return partner.org if reveals else partner.alias


def coded(base: str, enum: str, code: str, lang: Lang) -> Resource:
    """A code of ours with its label."""
    coding = [{"system": system(base, enum), "code": code}]
    return {"coding": coding, "text": label(enum, code, lang)}


def etag(version: int) -> str:
    """The weak entity tag of a version."""
    return f'W/"{version}"'


def instant(at: datetime) -> str:
    """An instant of ours."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def task(view: View, lang: Lang) -> Resource:
    """The Task."""
    state, base = view.state, view.frame.base
    shown = task_view(state.status)
    business = system(base, "business_status")
    reason, outcome = state.reason_code, state.outcome
    return present(
        {
            "resourceType": "Task",
            "id": view.id("task"),
            "meta": {"versionId": str(state.version), "lastUpdated": view.changed_at},
            "status": shown.task_status,
            "statusReason": coded(base, "referral_reason_code", reason, lang) if reason else None,
            "businessStatus": {"coding": [{"system": business, "code": shown.business_status}]}
            if shown.business_status
            else None,
            "intent": "order",
            "priority": _priority(state),
            "code": {"coding": [{"system": TASK_CODE, "code": "fulfill"}]},
            "focus": {"reference": f"ServiceRequest/{view.id('service_request')}"},
            "for": {"reference": f"Patient/{view.id('patient')}"} if view.is_source else None,
            "authoredOn": own_day(state.created_at, view.frame.zone).isoformat(),
            "lastModified": view.changed_at,
            "requester": {"reference": f"Organization/{view.source}"},
            "owner": {"reference": f"Organization/{state.to_org}"},
            "restriction": _due(view),
            "output": [_output(base, outcome, lang)] if outcome else None,
        }
    )


def _priority(state: ReferralState) -> str | None:
    return pairs("priorities", "priority", "fhir").get(state.priority or "")


def _due(view: View) -> Resource | None:
    due = view.state.response_due
    if due is None:
        return None
    end = instant(due) if view.is_source else due.astimezone(view.frame.zone).date().isoformat()
    return {"period": {"end": end}}


def _output(base: str, outcome: str, lang: Lang) -> Resource:
    kind = {"coding": [{"system": system(base, "task_output"), "code": "referral-outcome"}]}
    return {"type": kind, "valueCodeableConcept": coded(base, "referral_outcome", outcome, lang)}


def own_service_request(view: View, lang: Lang) -> Resource:
    """The sender's own view: the request in codes; what it wrote about the person is not read."""
    state, base = view.state, view.frame.base
    extensions = [
        {"url": f"{base}/StructureDefinition/special-requirement", "valueCode": code}
        for code in state.special_requirements
    ]
    service = state.service_type
    return present(
        {
            "resourceType": "ServiceRequest",
            "id": view.id("service_request"),
            "meta": {"versionId": str(state.version), "lastUpdated": instant(state.updated_at)},
            "extension": extensions,
            "status": task_view(state.status).service_request_status,
            "intent": "order",
            "priority": _priority(state),
            "code": coded(base, "service_type", service, lang) if service else None,
            "subject": {"reference": f"Patient/{view.id('patient')}"},
            "requester": {"reference": f"Organization/{state.from_org}"},
            "performer": [{"reference": f"Organization/{state.to_org}"}],
            "supportingInfo": [{"reference": f"Consent/{view.id('consent')}"}],
        }
    )


def own_patient(alias_id: str) -> Resource:
    """The sender's own view of the person: that the hub knows them, and no more."""
    label_ = {
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        "code": "SUBSETTED",
    }
    return {"resourceType": "Patient", "id": alias_id, "meta": {"tag": [label_]}}


def own_consent(frame: Frame, record: ConsentRecord, ids: Mapping[str, str]) -> Resource:
    """The sender's own view of a consent; `ids` are its ids of `consent` and `patient`."""
    base = frame.base
    rules = [_provision(base, rule, frame.zone) for rule in record.rules]
    active = record.status in ("given", "renewed")
    end = last_day(record.valid_to, frame.zone)
    return present(
        {
            "resourceType": "Consent",
            "id": ids["consent"],
            "meta": {"versionId": str(record.version)},
            "language": record.language,
            "extension": _giving(base, record),
            "status": "active" if active else "inactive",
            "scope": {"coding": [{"system": CONSENT_SCOPE, "code": "patient-privacy"}]},
            "category": [{"coding": [{"system": ACT_CODE, "code": "IDSCL"}]}],
            "patient": {"reference": f"Patient/{ids['patient']}"},
            "dateTime": instant(record.given_at),
            "organization": [{"reference": f"Organization/{record.source_org}"}],
            "policy": [{"uri": f"{base}/notice/{record.notice}"}],
            "policyRule": {"coding": [{"system": ACT_CODE, "code": "OPTOUT"}]},
            "provision": present({"type": "deny", "period": {"end": end}, "provision": rules}),
        }
    )


def _giving(base: str, record: ConsentRecord) -> list[Resource]:
    """How and on what basis it was given, as the sender wrote it."""
    given = {
        "consent-form": record.form,
        "legal-basis": record.legal_basis,
        "legal-basis-reason": record.reason_code,
        "assent": record.assent,
    }
    return [
        {"url": f"{base}/StructureDefinition/{name}", "valueCode": code}
        for name, code in given.items()
        if code is not None
    ]


def last_day(end: datetime, zone: ZoneInfo) -> str:
    """An end as FHIR writes it: the last day when it is a midnight of the cell, else an instant."""
    local = end.astimezone(zone)
    if (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0):
        return (local - timedelta(days=1)).date().isoformat()
    return instant(end)


def _provision(base: str, rule: ConsentRule, zone: ZoneInfo) -> Resource:
    role = {"coding": [{"system": PARTICIPATION, "code": "IRCP"}]}
    who: Resource = {"reference": f"Organization/{rule.to_org}"}
    if rule.to_org is None:
        who = {"identifier": {"system": system(base, "org_type"), "value": rule.to_kind}}
    return present(
        {
            "type": rule.decision,
            "period": {"start": instant(rule.valid_from), "end": last_day(rule.valid_to, zone)},
            "actor": [{"role": role, "reference": who}],
            "action": [{"coding": [{"system": ACTION, "code": "disclose"}]}]
            if rule.decision == "permit"
            else None,
            "purpose": _purpose(base, rule.purpose) if rule.purpose else None,
            "code": [
                {"coding": [{"system": system(base, "data_category"), "code": code}]}
                for code in rule.data_categories  # no label: a text is refused when written back
            ],
        }
    )


def _purpose(base: str, purpose: str) -> list[Resource]:
    nearest = pairs("purposes", "purpose", "v3").get(purpose)
    ours = [{"system": system(base, "purpose"), "code": purpose}]
    return [*ours, {"system": ACT_REASON, "code": nearest}] if nearest else ours


def organization(base: str, partner: Partner, lang: Lang) -> Resource:
    """A partner in the directory."""
    return {
        "resourceType": "Organization",
        "id": partner.org,
        "meta": {"versionId": str(partner.version)},
        "active": partner.status == "active",
        "type": [coded(base, "org_type", partner.org_type, lang)],
        "name": partner.name,
        "address": [{"country": partner.country}],
    }


def _full_url(base: str, resource: Resource) -> str:
    """What an entry is known by: its address, or, for what has none, its id alone."""
    kind, name = resource["resourceType"], resource["id"]
    return f"urn:uuid:{name}" if kind == "Parameters" else f"{base}/{kind}/{name}"


def searchset(resources: list[Resource], self_url: str, next_url: str | None) -> Resource:
    """A searchset Bundle."""
    links = [{"relation": "self", "url": self_url}]
    if next_url is not None:
        links.append({"relation": "next", "url": next_url})
    base = self_url.rpartition("/fhir/")[0] + "/fhir"
    entries = [
        {"fullUrl": _full_url(base, one), "resource": one, "search": {"mode": "match"}}
        for one in resources
    ]
    return present({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries})
