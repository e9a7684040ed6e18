"""Sample referrals in the hub's native JSON, as a system without FHIR would send them.

Used by the sandbox, the bench and tests. The people are those of `people.py`; nobody exists.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from connectors.sandbox.people import SamplePerson, person

ICD_10 = "http://hl7.org/fhir/sid/icd-10"


@dataclass
class NativeSample:
    """A referral to the clinic; change fields, then `body()`.

    `rich` adds what a referral to a health service usually says beyond the necessary.
    """

    person: SamplePerson = field(default_factory=lambda: person(1))
    org: str = "ong-norte"
    to_org: str = "clinica-demo"
    entry: str = "clinica-demo-consulta"
    service_type: str = "health_medical"
    purpose: str = "service_referral"
    categories: tuple[str, ...] = ("pseudonymous_core", "health", "contact")
    priority: str = "high"
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    valid_days: int = 180
    key: str = field(default_factory=lambda: str(uuid4()))
    rich: bool = False

    def body(self) -> dict[str, Any]:
        """The document of `POST /v1/referrals`."""
        made = {
            "case": {"phenomenon": "trafficking", "risk_level": "high"},
            "person": self._person(),
            "consent": self._consent(),
            "referral": {
                "to_org": self.to_org,
                "service_type": self.service_type,
                "directory_entry": self.entry,
                "priority": self.priority,
                "task_identifiers": [
                    {"system": f"https://{self.org}.example/tasks", "value": self.key}
                ],
            },
        }
        if self.rich:
            _enrich(made, self)
        return made

    def _person(self) -> dict[str, Any]:
        who = self.person
        system = f"https://{self.org}.example/people"
        phone = {"system": "phone", "value": who.phone, "use": "mobile", "rank": 1}
        return {
            "identifiers": [{"system": system, "value": who.number}],
            "names": [{"use": "official", "family": who.family, "given": who.given.split()}],
            "birth_date": who.birth_date,
            "sex": who.gender,
            "nationalities": [who.nationality],
            "languages": [who.language],
            "country": who.country,
            "admin1": who.admin1,
            "population_type": "in_transit",
            "telecom": [phone],
            "addresses": [{"city": who.town}],
        }

    def _consent(self) -> dict[str, Any]:
        permit = {
            "decision": "permit",
            "purpose": self.purpose,
            "to_org": self.to_org,
            "data_categories": list(self.categories),
        }
        given = (self.now - timedelta(minutes=5)).isoformat(timespec="seconds")
        return {
            "notice": "referral-notice/1",
            "language": "es",
            "form": "written_signature",
            "collected_by_role": "case_manager",
            "giver": "self",
            "legal_basis": "consent",
            "given_at": given,
            "valid_from": given,
            "valid_to": (self.now + timedelta(days=self.valid_days)).date().isoformat(),
            "items": [permit],
        }


def _enrich(made: dict[str, Any], sample: NativeSample) -> None:
    made["case"] |= {
        "trafficking_status": "possible_victim",
        "smuggling_status": "not_assessed",
        "exploitation_types": ["forced_labour", "domestic_servitude"],
        "conditions": [{"system": ICD_10, "code": "F43.1"}],
        "opened_month": sample.now.strftime("%Y-%m"),
    }
    made["person"] |= {
        "marital_status": "S",
        "gender_identity": "woman",
        "profile_flags": ["person_in_transit"],
        "migration_status": "asylum_seeker",
        "relatives": [
            {
                "relationship": ["MTH"],
                "names": [{"family": sample.person.family, "given": ["Leocadia"]}],
                "telecom": [{"system": "phone", "value": "+57 000 5550199"}],
                "sex": "female",
            }
        ],
    }
    made["consent"]["linked_to_perpetrator"] = False
    made["referral"]["special_requirements"] = ["women_only", "discreet"]
