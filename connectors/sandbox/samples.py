"""Sample referrals of `ong-norte`: invented people and the Bundles a case manager would send.

Used by the sandbox and by tests. Nobody here exists: names are put together at random, documents
and telephone numbers are from ranges that are not given out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from connectors.sandbox.people import SamplePerson, person

BASE = "https://cauce.example/fhir"
V3 = "http://terminology.hl7.org/CodeSystem/v3-"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition"

V3_OF_PURPOSE = {
    "service_referral": "COC",
    "family_tracing": "COC",
    "legal_assistance": "HLEGAL",
    "international_protection": "HLEGAL",
    "emergency": "ETREAT",
    "case_management": "TREAT",
}


@dataclass(frozen=True)
class Permit:
    """One permit of the consent."""

    to_org: str
    purpose: str
    categories: tuple[str, ...]


@dataclass
class Sample:
    """A referral to be sent; change fields, then `bundle()`.

    `rich` adds every element the hub reads; without it the Bundle holds the usual ones.
    """

    person: SamplePerson = field(default_factory=lambda: person(1))
    org: str = "ong-norte"
    to_org: str = "refugio-sur"
    entry: str = "refugio-sur-casa"
    service_type: str = "shelter_specialized"
    purpose: str = "service_referral"
    categories: tuple[str, ...] = ("pseudonymous_core", "contact")
    priority: str = "urgent"
    more_permits: tuple[Permit, ...] = ()
    denies: tuple[tuple[str, tuple[str, ...]], ...] = ()
    legal_basis: str = "consent"
    basis_reason: str | None = None
    approver: str | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    valid_days: int = 180
    seed: int | None = None
    base: str = BASE
    rich: bool = False
    minor: bool = False
    requisition: str | None = None

    def __post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311 -- a seed repeats a Bundle
        names = ("patient", "request", "consent", "task", "caregiver", "condition")
        self.urns = {name: f"urn:uuid:{self._uuid()}" for name in names}
        self.key = str(self._uuid())

    def _uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)

    def code_system(self, name: str) -> str:
        """One of our code systems."""
        return f"{self.base}/CodeSystem/{name}"

    def concept(self, system: str, code: str) -> dict[str, Any]:
        """A CodeableConcept of one coding."""
        return {"coding": [{"system": system, "code": code}]}

    def extension(self, name: str, **value: Any) -> dict[str, Any]:
        """One of our extensions."""
        return {"url": f"{self.base}/StructureDefinition/{name}", **value}

    def ref(self, name: str) -> dict[str, Any]:
        """Reference to another entry of the Bundle."""
        return {"reference": self.urns[name]}

    def bundle(self) -> dict[str, Any]:
        """The transaction Bundle."""
        resources = {
            "patient": self.patient(),
            "request": self.service_request(),
            "consent": self.consent(),
            "task": self.task(),
        }
        if self.minor or self.rich:
            resources["caregiver"] = self.related_person()
        if self.rich:
            resources["condition"] = self.condition()
        return {
            "resourceType": "Bundle",
            "type": "transaction",
            "identifier": {"system": f"https://{self.org}.example/bundles", "value": self.key},
            "entry": [
                {
                    "fullUrl": self.urns[name],
                    "resource": resource,
                    "request": {"method": "POST", "url": resource["resourceType"]},
                }
                for name, resource in resources.items()
            ],
        }

    def patient(self) -> dict[str, Any]:
        """The person, identified."""
        who = self.person
        basic: dict[str, Any] = {
            "resourceType": "Patient",
            "identifier": [{"system": f"https://{self.org}.example/people", "value": who.number}],
            "name": [{"use": "official", "family": who.family, "given": who.given.split()}],
            "gender": who.gender,
            "birthDate": "2014-03" if self.minor else who.birth_date,
            "telecom": [{"system": "phone", "value": who.phone, "use": "mobile", "rank": 1}],
            "address": [{"city": who.town, "state": who.admin1, "country": who.country}],
            "communication": [{"language": self.concept("urn:ietf:bcp:47", who.language)}],
            "extension": [self.nationality(who.nationality)],
        }
        if self.rich:
            _enrich_patient(basic, self)
        return basic

    def nationality(self, country: str) -> dict[str, Any]:
        """The standard nationality extension."""
        value = self.concept("urn:iso:std:iso:3166", country)
        return {
            "url": "http://hl7.org/fhir/StructureDefinition/patient-nationality",
            "extension": [{"url": "code", "valueCodeableConcept": value}],
        }

    def related_person(self) -> dict[str, Any]:
        """The caregiver."""
        return {
            "resourceType": "RelatedPerson",
            "patient": self.ref("patient"),
            "relationship": [self.concept(f"{V3}RoleCode", "MTH")],
            "name": [{"family": self.person.family, "given": ["Leocadia"]}],
            "telecom": [{"system": "phone", "value": "+57 000 5550199"}],
            "gender": "female",
        }

    def condition(self) -> dict[str, Any]:
        """A diagnosis."""
        return {
            "resourceType": "Condition",
            "verificationStatus": self.concept(f"{TERMINOLOGY}/condition-ver-status", "confirmed"),
            "code": self.concept("http://hl7.org/fhir/sid/icd-10", "F43.1"),
            "subject": self.ref("patient"),
        }

    def service_request(self) -> dict[str, Any]:
        """The request."""
        basic: dict[str, Any] = {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "priority": self.priority,
            "code": self.concept(self.code_system("service-type"), self.service_type),
            "subject": self.ref("patient"),
            "requester": {"reference": f"Organization/{self.org}"},
            "performer": [{"reference": f"HealthcareService/{self.entry}"}],
            "supportingInfo": [self.ref("consent")],
            "extension": [self.case_facts()],
        }
        if self.requisition is not None:
            system = f"https://{self.org}.example/cases"
            basic["requisition"] = {"system": system, "value": self.requisition}
        if self.rich:
            _enrich_request(basic, self)
        return basic

    def case_facts(self) -> dict[str, Any]:
        """The coded facts that have no home in FHIR."""
        parts: list[tuple[str, dict[str, str]]] = [
            ("phenomenon", {"valueCode": "trafficking"}),
            ("risk_level", {"valueCode": "high"}),
            ("population_type", {"valueCode": "in_transit"}),
        ]
        if self.rich:
            parts += [
                ("trafficking_status", {"valueCode": "possible_victim"}),
                ("smuggling_status", {"valueCode": "not_assessed"}),
                ("exploitation_type", {"valueCode": "forced_labour"}),
                ("profile_flag", {"valueCode": "survivor_gbv"}),
                ("profile_flag", {"valueCode": "indigenous"}),
                ("profile_flag", {"valueCode": "person_in_transit"}),
                ("migration_status", {"valueCode": "asylum_seeker"}),
                ("opened_month", {"valueDate": self.now.strftime("%Y-%m")}),
            ]
        return self.extension("case-facts", extension=[{"url": u, **v} for u, v in parts])

    def consent(self) -> dict[str, Any]:
        """The consent: deny by default, one permit for the recipient, more where asked."""
        given = self.now - timedelta(minutes=5)
        end = (self.now + timedelta(days=self.valid_days)).date().isoformat()
        permit = Permit(self.to_org, self.purpose, self.categories)
        provisions = [self.permit(one) for one in (permit, *self.more_permits)]
        provisions += [self.deny(kind, codes) for kind, codes in self.denies]
        notice = "child-notice/1" if self.minor else "referral-notice/1"
        return {
            "resourceType": "Consent",
            "language": "es",
            "status": "active",
            "scope": self.concept(f"{TERMINOLOGY}/consentscope", "patient-privacy"),
            "category": [self.concept(f"{V3}ActCode", "IDSCL")],
            "patient": self.ref("patient"),
            "dateTime": given.isoformat(timespec="seconds"),
            "performer": [self.ref("caregiver" if self.minor else "patient")],
            "organization": [{"reference": f"Organization/{self.org}"}],
            "policy": [{"uri": f"{self.base}/notice/{notice}"}],
            "policyRule": self.concept(f"{V3}ActCode", "OPTOUT"),
            "extension": self.consent_extensions(),
            "provision": {"type": "deny", "period": {"end": end}, "provision": provisions},
        }

    def consent_extensions(self) -> list[dict[str, Any]]:
        """Form, collector, basis and what the case asks for beside them."""
        codes = {
            "consent-form": "written_signature" if self.legal_basis == "consent" else "none",
            "collected-by-role": "case_manager",
            "legal-basis": self.legal_basis,
            "legal-basis-reason": self.basis_reason,
            "assent": "assented" if self.minor else None,
        }
        found = [self.extension(name, valueCode=code) for name, code in codes.items() if code]
        if self.approver is not None:
            found.append(self.extension("approver", valueString=self.approver))
        if self.rich or self.minor:
            found.append(self.extension("linked-to-perpetrator", valueBoolean=False))
        return found

    def permit(self, permit: Permit) -> dict[str, Any]:
        """A nested permit: one organisation, one purpose, its categories."""
        return {
            "type": "permit",
            "actor": [self.recipient({"reference": f"Organization/{permit.to_org}"})],
            "action": [self.concept(f"{TERMINOLOGY}/consentaction", "disclose")],
            "purpose": [
                {"system": self.code_system("purpose"), "code": permit.purpose},
                *self.nearest(permit.purpose),
            ],
            "code": self.category_codes(permit.categories),
        }

    def nearest(self, purpose: str) -> list[dict[str, Any]]:
        """The nearest v3 code of a purpose, where the sample knows it."""
        code = V3_OF_PURPOSE.get(purpose)
        return [{"system": f"{V3}ActReason", "code": code}] if code else []

    def deny(self, who: str, categories: Sequence[str]) -> dict[str, Any]:
        """A nested deny: a kind of organisation as `kind:<org_type>`, else an organisation."""
        reference: dict[str, Any] = {"reference": f"Organization/{who}"}
        if who.startswith("kind:"):
            system = self.code_system("org-type")
            reference = {"identifier": {"system": system, "value": who.removeprefix("kind:")}}
        return {
            "type": "deny",
            "actor": [self.recipient(reference)],
            "code": self.category_codes(categories),
        }

    def recipient(self, reference: dict[str, Any]) -> dict[str, Any]:
        """An actor in the role of recipient."""
        return {"role": self.concept(f"{V3}ParticipationType", "IRCP"), "reference": reference}

    def category_codes(self, categories: Sequence[str]) -> list[dict[str, Any]]:
        """Data categories as CodeableConcepts."""
        return [self.concept(self.code_system("data-category"), code) for code in categories]

    def task(self) -> dict[str, Any]:
        """The order to the recipient."""
        basic: dict[str, Any] = {
            "resourceType": "Task",
            "identifier": [{"system": f"https://{self.org}.example/tasks", "value": self.key}],
            "status": "requested",
            "intent": "order",
            "priority": self.priority,
            "code": self.concept("http://hl7.org/fhir/CodeSystem/task-code", "fulfill"),
            "focus": self.ref("request"),
            "for": self.ref("patient"),
            "requester": {"reference": f"Organization/{self.org}"},
            "owner": {"reference": f"Organization/{self.to_org}"},
        }
        if self.rich:
            due = self.now + timedelta(hours=2)
            basic["restriction"] = {"period": {"end": due.isoformat(timespec="seconds")}}
            basic["description"] = "Pide un lugar tranquilo, de ser posible cerca de su hermana."
            basic["note"] = [{"text": "Prefiere que la llamen por la tarde."}]
        return basic


def _enrich_patient(patient: dict[str, Any], sample: Sample) -> None:
    """Every other element of Patient that the hub reads."""
    patient["identifier"].append(
        {
            "type": sample.concept(f"{TERMINOLOGY}/v2-0203", "PPN"),
            "system": "https://pasaportes.example",
            "value": f"P{sample.person.number}",
        }
    )
    patient["text"] = {
        "status": "generated",
        "div": '<div xmlns="http://www.w3.org/1999/xhtml">resumen</div>',
    }
    patient["maritalStatus"] = sample.concept(f"{V3}MaritalStatus", "S")
    patient["address"][0] |= {
        "use": "temp",
        "line": ["Calle de los Aleros 12"],
        "district": "Comuna Cuarta",
        "postalCode": "000123",
    }
    patient["photo"] = [{"contentType": "image/png", "data": "iVBORw0KGgo="}]
    patient["contact"] = [
        {
            "relationship": [sample.concept(f"{TERMINOLOGY}/v2-0131", "C")],
            "name": {"text": "Prudencia Tolmares"},
            "telecom": [{"system": "phone", "value": "+57 000 5550142"}],
            "gender": "female",
        }
    ]
    omb = {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2135-2"}
    patient["extension"] += [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/patient-genderIdentity",
            "valueCodeableConcept": sample.concept(sample.code_system("gender-identity"), "woman"),
        },
        {
            "url": f"{US_CORE}/us-core-ethnicity",
            "extension": [{"url": "ombCategory", "valueCoding": omb}],
        },
    ]


def _enrich_request(request: dict[str, Any], sample: Sample) -> None:
    """Every other element of ServiceRequest that the hub reads."""
    label = {"system": f"{V3}Confidentiality", "code": "R"}
    request["meta"] = {"security": [label]}
    request["identifier"] = [
        {"system": f"https://{sample.org}.example/requests", "value": sample.key}
    ]
    request["reasonCode"] = [
        sample.concept(sample.code_system("exploitation-type"), "domestic_servitude"),
        sample.concept("http://hl7.org/fhir/sid/icd-10", "T74.2"),
        sample.concept("http://hl7.org/fhir/sid/icd-10", "Z65.4"),
    ]
    request["reasonReference"] = [sample.ref("condition")]
    request["note"] = [{"text": "Viajó varios días y llegó sola; pide hablar con una mujer."}]
    request["extension"] += [
        sample.extension("special-requirement", valueCode="women_only"),
        sample.extension("special-requirement", valueCode="discreet"),
    ]


FULL = {
    "rich": True,
    "service_type": "legal_counsel",
    "purpose": "legal_assistance",
    "entry": "refugio-sur-legal",
    "categories": (
        "pseudonymous_core",
        "contact",
        "identity",
        "exploitation_details",
        "experience_narrative",
        "migration_status",
    ),
}
"""Fields of a sample that has everything the hub reads, to a legal service that may have most of
it.
"""


def bundle(**changes: Any) -> dict[str, Any]:
    """The Bundle of a `Sample` with these fields changed."""
    return Sample(**changes).bundle()


def full_bundle(**changes: Any) -> dict[str, Any]:
    """The Bundle of a `FULL` sample with these fields changed."""
    return Sample(**{**FULL, **changes}).bundle()
