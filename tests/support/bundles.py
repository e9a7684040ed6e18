"""FHIR Bundles for tests: accepted samples, and one mutation for each inbound refusal."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from connectors.sandbox.samples import BASE, FULL, Sample, bundle, full_bundle

__all__ = ["BASE", "FULL", "MUTATIONS", "Mutation", "Sample", "bundle", "full_bundle", "resource"]

Bundle = dict[str, Any]


def resource(of: Bundle, kind: str) -> dict[str, Any]:
    """The first resource of a kind."""
    found: dict[str, Any] = next(
        e["resource"] for e in of["entry"] if e["resource"]["resourceType"] == kind
    )
    return found


@dataclass(frozen=True)
class Mutation:
    """One change to the full sample and the refusal it must get."""

    name: str
    code: str
    rule: str
    field: str
    change: Callable[[Bundle], None]
    minor: bool = False


def put(kind: str, *path: str | int, value: Any) -> Callable[[Bundle], None]:
    """Set a value deep in a resource."""

    def change(of: Bundle) -> None:
        node: Any = of if kind == "Bundle" else resource(of, kind)
        for step in path[:-1]:
            node = node[step]
        if path[-1] == "+":
            node.append(value)
        else:
            node[path[-1]] = value

    return change


def cut(kind: str, *path: str | int) -> Callable[[Bundle], None]:
    """Remove a value deep in a resource."""

    def change(of: Bundle) -> None:
        node: Any = of if kind == "Bundle" else resource(of, kind)
        for step in path[:-1]:
            node = node[step]
        del node[path[-1]]

    return change


def extension(kind: str, name: str, **value: Any) -> Callable[[Bundle], None]:
    """Replace one of our extensions of a resource; without a value, remove it."""

    def change(of: Bundle) -> None:
        url = f"{BASE}/StructureDefinition/{name}"
        node = resource(of, kind)
        node["extension"] = [e for e in node["extension"] if e["url"] != url]
        if value:
            node["extension"].append({"url": url, **value})

    return change


def part(name: str, **value: Any) -> Callable[[Bundle], None]:
    """Replace one part of the case facts."""

    def change(of: Bundle) -> None:
        facts = resource(of, "ServiceRequest")["extension"][0]
        facts["extension"] = [e for e in facts["extension"] if e["url"] != name]
        facts["extension"].append({"url": name, **value})

    return change


def concept(system: str, code: str) -> dict[str, Any]:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code}]}


def in_future(of: Bundle) -> None:
    """Date the consent a day ahead."""
    node = resource(of, "Consent")
    given = datetime.fromisoformat(node["dateTime"]) + timedelta(days=1)
    node["dateTime"] = given.isoformat()


def both(*changes: Callable[[Bundle], None]) -> Callable[[Bundle], None]:
    """Several changes in turn."""

    def change(of: Bundle) -> None:
        for one in changes:
            one(of)

    return change


def second(kind: str) -> Callable[[Bundle], None]:
    """A second resource of a kind."""

    def change(of: Bundle) -> None:
        entry = next(e for e in of["entry"] if e["resource"]["resourceType"] == kind)
        of["entry"].append({**entry, "fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000001"})

    return change


def other_resource(kind: str) -> Callable[[Bundle], None]:
    """An entry of another resource type."""
    entry = {"resource": {"resourceType": kind}, "request": {"method": "POST", "url": kind}}
    return put("Bundle", "entry", "+", value=entry)


def reference_of(kind: str) -> Callable[[Bundle], str]:
    """Address of an entry."""

    def find(of: Bundle) -> str:
        found: str = next(
            e["fullUrl"] for e in of["entry"] if e["resource"]["resourceType"] == kind
        )
        return found

    return find


def point(kind: str, *path: str | int, at: str) -> Callable[[Bundle], None]:
    """Make a reference lead to the entry of another kind."""
    return lambda of: put(kind, *path, "reference", value=reference_of(at)(of))(of)


PROVISION = ("provision", "provision", 0)
AT = "Consent.provision.provision[0]"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
ABSENT = "urn:uuid:00000000-0000-4000-8000-00000000dead"

_ROWS: list[Any] = [
        # structure
        ("element unknown to FHIR", "structure", "unknown-element", "Task",
         put("Task", "apodo", value="x")),
        ("Python name of an element", "structure", "unknown-element", "Task",
         put("Task", "for_fhir", value={"reference": "x"})),
        ("comments", "structure", "unknown-element", "Patient",
         put("Patient", "fhir_comments", value=["x"])),
        ("integer as string", "structure", "wrong-type", "Patient.telecom[0].rank",
         put("Patient", "telecom", 0, "rank", value="1")),
        ("object where a list stands", "structure", "wrong-type", "Patient.name",
         put("Patient", "name", value={"family": "x"})),
        ("system that is no address", "structure", "bad-format", "Patient.identifier[0].system",
         put("Patient", "identifier", 0, "system", value="people")),
        ("photo of no type", "required", "element", "Patient.photo[0].contentType",
         cut("Patient", "photo", 0, "contentType")),
        ("unknown verification", "code-invalid", "not-in-list",
         "Bundle.entry[5].resource.verificationStatus",
         put("Condition", "verificationStatus", "coding", 0, "code", value="x")),
        ("null", "structure", "null-value", "Patient.gender", put("Patient", "gender", value=None)),
        ("empty list", "structure", "empty-value", "Patient.name",
         put("Patient", "name", value=[])),
        ("empty object", "structure", "empty-value", "Task.for", put("Task", "for", value={})),
        ("blank string", "structure", "empty-value", "Patient.name[0].family",
         put("Patient", "name", 0, "family", value=" ")),
        ("instant without zone", "structure", "bad-format", "Consent.dateTime",
         put("Consent", "dateTime", value="2026-01-10T09:00:00")),
        ("not a date", "structure", "bad-format", "Patient.birthDate",
         put("Patient", "birthDate", value="12/04/1998")),
        ("unknown resource type", "structure", "resource-type", "Bundle.entry[6].resource",
         other_resource("Persona")),
        ("two values of a choice", "structure", "several-choices", "ServiceRequest.extension[1]",
         put("ServiceRequest", "extension", 1, "valueString", value="x")),
        # unsupported
        ("element without a row", "unsupported", "element", "Patient.link",
         put("Patient", "link", value=[{"other": {"reference": "x"}, "type": "seealso"}])),
        ("contained resources", "unsupported", "element", "Patient.contained",
         put("Patient", "contained", value=[{"resourceType": "Patient"}])),
        ("modifier extensions", "unsupported", "element", "Task.modifierExtension",
         put("Task", "modifierExtension", value=[{"url": "http://x.example", "valueCode": "x"}])),
        ("primitive extension", "unsupported", "element", "Patient._birthDate",
         put("Patient", "_birthDate", value={"extension": [{"url": "u", "valueCode": "x"}]})),
        ("conditional create", "unsupported", "element", "Bundle.entry[0].request.ifNoneExist",
         put("Bundle", "entry", 0, "request", "ifNoneExist", value="identifier=x")),
        ("resource type without a row", "unsupported", "resource", "Bundle.entry[6].resource",
         other_resource("Observation")),
        ("unknown extension", "unsupported", "extension", "Patient.extension[3]",
         put("Patient", "extension", "+", value={"url": "http://x.example/y", "valueCode": "z"})),
        ("narrative by hand", "unsupported", "text-status", "Patient.text",
         put("Patient", "text", "status", value="additional")),
        ("consent data element", "unsupported", "element", f"{AT}.data",
         put("Consent", *PROVISION, "data", value=[{"meaning": "related", "reference": {}}])),
        ("consent class", "unsupported", "element", f"{AT}.class",
         put("Consent", *PROVISION, "class", value=[{"code": "Task"}])),
        ("consent security label", "unsupported", "element", f"{AT}.securityLabel",
         put("Consent", *PROVISION, "securityLabel", value=[{"code": "R"}])),
        # required, codes, values
        ("no owner", "required", "element", "Task.owner", cut("Task", "owner")),
        ("no intent", "required", "element", "Task.intent", cut("Task", "intent")),
        ("no performer", "required", "element", "ServiceRequest.performer",
         cut("ServiceRequest", "performer")),
        ("no service", "required", "element", "ServiceRequest.code", cut("ServiceRequest", "code")),
        ("no legal basis", "required", "element", "Consent.extension",
         extension("Consent", "legal-basis")),
        ("unknown gender", "code-invalid", "not-in-list", "Patient.gender",
         put("Patient", "gender", value="x")),
        ("unknown phenomenon", "code-invalid", "not-in-list",
         "ServiceRequest.extension[0].extension[10].valueCode", part("phenomenon", valueCode="x")),
        ("unknown service", "code-invalid", "not-in-list", "ServiceRequest.code",
         put("ServiceRequest", "code", value=concept(f"{BASE}/CodeSystem/service-type", "x"))),
        ("foreign service", "code-invalid", "unmapped", "ServiceRequest.code",
         put("ServiceRequest", "code", value=concept("http://snomed.info/sct", "1"))),
        ("unmapped condition", "code-invalid", "unmapped", "Bundle.entry[5].resource.code",
         put("Condition", "code", value=concept("http://snomed.info/sct", "1"))),
        ("Task not requested", "value-invalid", "fixed-value", "Task.status",
         put("Task", "status", value="draft")),
        ("Task of somebody else", "value-invalid", "fixed-value", "Task.requester",
         put("Task", "requester", "reference", value="Organization/otra-org")),
        ("born tomorrow", "value-invalid", "birth-date-future", "Patient.birthDate",
         put("Patient", "birthDate", value="2400-01-01")),
        ("two priorities", "value-invalid", "contradiction", "Task.priority",
         put("Task", "priority", value="stat")),
        ("due in the past", "value-invalid", "due-past", "Task.restriction.period.end",
         put("Task", "restriction", "period", "end", value="2020-01-01")),
        ("two performers", "value-invalid", "repeated", "ServiceRequest.performer",
         put("ServiceRequest", "performer", "+", value={"reference": "HealthcareService/x"})),
        ("period backwards", "invariant", "period-order", f"{AT}.period",
         put("Consent", *PROVISION, "period", value={"start": "2030-01-02", "end": "2030-01-01"})),
        ("telecom without system", "invariant", "contact-system", "Patient.telecom[0].system",
         cut("Patient", "telecom", 0, "system")),
        # references and the Bundle
        ("dangling reference", "reference-invalid", "unresolved", "Task.focus",
         put("Task", "focus", "reference", value=ABSENT)),
        ("focus on the Patient", "reference-invalid", "target", "Task.focus",
         point("Task", "focus", at="Patient")),
        ("owner is not an Organization", "reference-invalid", "target", "Task.owner",
         put("Task", "owner", "reference", value="Practitioner/x")),
        ("batch", "bundle-invalid", "type", "Bundle.type", put("Bundle", "type", value="batch")),
        ("two Tasks", "bundle-invalid", "resource-count", "Bundle.entry", second("Task")),
        ("same address twice", "bundle-invalid", "full-url", "Bundle.entry[5].fullUrl",
         lambda of: put("Bundle", "entry", 5, "fullUrl", value=of["entry"][0]["fullUrl"])(of)),
        ("PUT entry", "bundle-invalid", "request", "Bundle.entry[0].request",
         put("Bundle", "entry", 0, "request", "method", value="PUT")),
        # consent, row by row
        ("consent inactive", "consent-status", "status", "Consent.status",
         put("Consent", "status", value="inactive")),
        ("consent scope", "consent-scope", "scope", "Consent.scope",
         put("Consent", "scope", value=concept("x:y", "research"))),
        ("consent category", "consent-category", "category", "Consent.category",
         put("Consent", "category", value=[concept("http://loinc.org", "59284-0")])),
        ("consent of somebody else", "consent-patient", "patient", "Consent.patient",
         point("Consent", "patient", at="RelatedPerson")),
        ("consent of another organisation", "consent-organization", "organization",
         "Consent.organization[0]",
         put("Consent", "organization", 0, "reference", value="Organization/otra-org")),
        ("consent in the future", "consent-future", "future", "Consent.dateTime", in_future),
        ("giver is the Task", "consent-giver", "giver", "Consent.performer",
         point("Consent", "performer", 0, at="Task")),
        ("minor consents alone", "consent-minor-giver", "minor-giver", "Consent.performer",
         point("Consent", "performer", 0, at="Patient"), True),
        ("minor without assent", "consent-assent", "assent", "Consent.extension",
         extension("Consent", "assent"), True),
        ("dissent", "consent-assent", "assent", "Consent.extension",
         extension("Consent", "assent", valueCode="dissented"), True),
        ("giver linked to perpetrator", "consent-perpetrator", "perpetrator", "Consent.extension",
         extension("Consent", "linked-to-perpetrator", valueBoolean=True)),
        ("unknown notice", "consent-notice", "notice", "Consent.policy",
         put("Consent", "policy", 0, "uri", value=f"{BASE}/notice/x/9")),
        ("notice not in that language", "consent-language", "language", "Consent.language",
         put("Consent", "language", value="de")),
        ("no form", "consent-form", "form", "Consent.extension",
         extension("Consent", "consent-form", valueCode="none")),
        ("other basis without reason", "consent-basis", "basis", "Consent.extension",
         extension("Consent", "legal-basis", valueCode="vital_interest")),
        ("opt-in", "consent-policy-rule", "policy-rule", "Consent.policyRule",
         put("Consent", "policyRule", "coding", 0, "code", value="OPTIN")),
        ("root permits", "consent-root", "root", "Consent.provision",
         put("Consent", "provision", "type", value="permit")),
        ("no end", "consent-period", "period", "Consent.provision.period",
         cut("Consent", "provision", "period")),
        ("longer than a year", "consent-period", "period", "Consent.provision.period",
         put("Consent", "provision", "period", "end", value="2100-01-01")),
        ("expired", "consent-expired", "expired", "Consent.provision.period",
         both(put("Consent", "provision", "period", "end", value="2020-01-01"),
              put("Consent", "dateTime", value="2019-12-01"))),
        ("permit beyond the consent", "consent-item-period", "item-period", f"{AT}.period",
         put("Consent", *PROVISION, "period", value={"end": "2100-01-01"})),
        ("nothing permitted", "consent-no-permit", "no-permit", "Consent.provision.provision",
         cut("Consent", "provision", "provision")),
        ("permit without actor", "consent-actor", "actor", f"{AT}.actor",
         cut("Consent", *PROVISION, "actor")),
        ("two purposes", "consent-purpose", "purpose", f"{AT}.purpose",
         put("Consent", *PROVISION, "purpose", "+",
             value={"system": f"{BASE}/CodeSystem/purpose", "code": "statistics"})),
        ("wrong v3 code", "consent-purpose", "purpose", f"{AT}.purpose",
         put("Consent", *PROVISION, "purpose", 1, "code", value="TREAT")),
        ("permit without categories", "consent-codes", "codes", f"{AT}.code",
         cut("Consent", *PROVISION, "code")),
        ("other action", "consent-action", "action", f"{AT}.action",
         put("Consent", *PROVISION, "action", 0, "coding", 0, "code", value="use")),
        ("third level", "consent-nesting", "nesting", f"{AT}.provision",
         put("Consent", *PROVISION, "provision", value=[{"type": "deny"}])),
        ("narrative not declared", "consent-narrative", "narrative", "ServiceRequest.note[0].text",
         put("Consent", *PROVISION, "code",
             value=[concept(f"{BASE}/CodeSystem/data-category", "contact")])),
]  # fmt: skip

MUTATIONS = tuple(Mutation(*row) for row in _ROWS)
"""Every refusal that the mapping can give, each by one change to the full sample."""
