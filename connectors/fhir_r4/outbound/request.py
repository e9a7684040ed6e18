"""The ServiceRequest, Task and Consent extract a recipient gets.

It guards that no instant of the sender is finer than a calendar day, that the Consent shows this
recipient's permit alone, and that case facts travel as codes in one extension.
"""

from typing import Final

from connectors.fhir_r4.inbound.tables import pairs
from connectors.fhir_r4.outbound.content import (
    ACT_CODE,
    ACT_REASON,
    CONSENT_SCOPE,
    PARTICIPATION,
    TASK_CODE,
    Outgoing,
    Resource,
    concept,
    identifier,
    meta,
    present,
    reference,
    system,
)
from connectors.fhir_r4.outbound.patient import coding
from connectors.sdk.types import Case, Person

ACTION: Final = "http://terminology.hl7.org/CodeSystem/consentaction"


def service_request(out: Outgoing) -> Resource:
    """What is asked for, with the released case facts."""
    case = out.release.case
    conditions = (
        *case.conditions,
        *case.exploitation_conditions,
        *case.sexual_violence_conditions,
    )
    return present(
        {
            "resourceType": "ServiceRequest",
            "meta": meta(out),
            "extension": _extensions(out),
            "identifier": [identifier(out, "service-request", out.ids.service_request)],
            "status": "active",
            "intent": "order",
            "priority": _priority(out),
            "code": concept(out, "service_type", out.service_type) if out.service_type else None,
            "subject": reference(out, "Patient", out.ids.patient),
            "requester": {"reference": f"Organization/{out.source}"},
            "performer": [{"reference": f"Organization/{out.to_org}"}],
            "reasonCode": [{"coding": [coding(c)]} for c in conditions],
            "supportingInfo": [reference(out, "Consent", out.ids.consent)],
            "note": [{"text": text} for text in case.narratives],
        }
    )


def task(out: Outgoing) -> Resource:
    """The Task by which the recipient answers."""
    due = {"period": {"end": out.response_due.isoformat()}} if out.response_due else None
    return present(
        {
            "resourceType": "Task",
            "meta": meta(out),
            "identifier": [identifier(out, "task", out.ids.task)],
            "status": "requested",
            "intent": "order",
            "priority": _priority(out),
            "code": {"coding": [{"system": TASK_CODE, "code": "fulfill"}]},
            "focus": reference(out, "ServiceRequest", out.ids.service_request),
            "for": reference(out, "Patient", out.ids.patient),
            "authoredOn": out.today.isoformat(),
            "requester": {"reference": f"Organization/{out.source}"},
            "owner": {"reference": f"Organization/{out.to_org}"},
            "restriction": due,
        }
    )


def consent(out: Outgoing) -> Resource:
    """The permit of this recipient, and nothing of the consent it was cut from."""
    return {
        "resourceType": "Consent",
        "meta": meta(out),
        "identifier": [identifier(out, "consent", out.ids.consent)],
        "status": "active",
        "scope": {"coding": [{"system": CONSENT_SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": ACT_CODE, "code": "IDSCL"}]}],
        "patient": reference(out, "Patient", out.ids.patient),
        "organization": [{"reference": f"Organization/{out.source}"}],
        "policyRule": {"coding": [{"system": ACT_CODE, "code": "OPTOUT"}]},
        "provision": {"type": "deny", "provision": [_permit(out)]},
    }


def _permit(out: Outgoing) -> Resource:
    purpose = [{"system": system(out.base, "purpose"), "code": out.purpose}]
    nearest = pairs("purposes", "purpose", "v3").get(out.purpose)
    if nearest:
        purpose.append({"system": ACT_REASON, "code": nearest})
    return {
        "type": "permit",
        "period": {"end": out.consent_until.isoformat()},
        "actor": [
            {
                "role": {"coding": [{"system": PARTICIPATION, "code": "IRCP"}]},
                "reference": {"reference": f"Organization/{out.to_org}"},
            }
        ],
        "action": [{"coding": [{"system": ACTION, "code": "disclose"}]}],
        "purpose": purpose,
        "code": [concept(out, "data_category", code) for code in out.categories],
    }


def _priority(out: Outgoing) -> str | None:
    if out.priority is None:
        return None
    return pairs("priorities", "priority", "fhir").get(out.priority)


def _extensions(out: Outgoing) -> list[Resource]:
    base = f"{out.base}/StructureDefinition"
    found: list[Resource] = [
        {"url": f"{base}/special-requirement", "valueCode": code}
        for code in out.special_requirements
    ]
    facts = _facts(out.release.person, out.release.case)
    if facts:
        found.append({"url": f"{base}/case-facts", "extension": facts})
    return found


def _facts(person: Person, case: Case) -> list[Resource]:
    single = {
        "phenomenon": case.phenomenon,
        "trafficking_status": case.trafficking_status,
        "smuggling_status": case.smuggling_status,
        "risk_level": case.risk_level,
        "population_type": person.population_type,
        "migration_status": person.migration_status,
        "age_band": person.age_band,
        "sex": person.sex,
    }
    flags = (
        *person.profile_flags,
        *person.gender_identity_flags,
        *person.ethnicity_flags,
        *person.sexual_violence_flags,
    )
    found: list[Resource] = [
        {"url": name, "valueCode": code} for name, code in single.items() if code is not None
    ]
    found += [{"url": "exploitation_type", "valueCode": c} for c in case.exploitation_types]
    found += [{"url": "profile_flag", "valueCode": code} for code in flags]
    if case.opened_month is not None:
        found.append({"url": "opened_month", "valueString": case.opened_month})
    return found
