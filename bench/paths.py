"""The paths that are measured: what is sent where, and what counts as its arrival at the recipient.

`fhir`: Bundle in, Bundle out, accepted by PATCH. `native-webhook`: native JSON in, a signed webhook
out, the data fetched with a token, accepted by signed message. `native-told`: native JSON in, the
webhook taken, and no more. Arrival is always judged by the recipient's own journal.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal
from uuid import uuid4

import orjson

from connectors.sandbox.natives import NativeSample
from connectors.sandbox.people import SamplePerson
from connectors.sandbox.samples import Sample
from services.console.local import plan

Kind = Literal["told", "stored", "answered"]
TASK_SYSTEM: Final = "/NamingSystem/task"
CATEGORIES: Final = (
    "pseudonymous_core",
    "identity",
    "exploitation_details",
    "experience_narrative",
    "migration_status",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the recipient has noted of a referral, by its own id of it; seconds of wall clock."""

    kind: Kind
    task: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Way:
    """One path."""

    name: str
    recipient: str
    journal: str
    """File in the recipient's folder."""
    post_to: str
    content_type: str
    body: Callable[[tuple[str, ...]], bytes]
    """A referral, with these categories too, with `@@PERSON@@` and `@@KEY@@` in it."""
    seen: Callable[[bytes], Seen | None]
    """What a line of the journal says."""
    behaviour: Mapping[str, Any]
    """Switches of the recipient."""
    last: Kind = "answered"
    """The step that ends a referral here."""
    kinds: tuple[Kind, ...] = field(default=("stored", "answered"))


def of_shelter(line: bytes) -> Seen | None:
    """`refugio-sur`: `effect` when a referral is stored, `answer` when the hub took its answer."""
    if line.startswith(b'{"kind":"call"'):
        return None
    record = orjson.loads(line)
    kinds: dict[str, Kind] = {"effect": "stored", "answer": "answered"}
    kind = kinds.get(record["kind"])
    if kind is None:
        return None
    for resource in record.get("resources", ()):
        if resource["resourceType"] != "Task":
            continue
        if kind == "stored" and resource["meta"]["versionId"] != "1":
            continue  # later content of a referral that was counted
        own = next(i for i in resource["identifier"] if i["system"].endswith(TASK_SYSTEM))
        return _at(kind, own["value"], record)
    return None


def of_clinic(line: bytes) -> Seen | None:
    """`clinica-demo`: `hook` when it was told, `data` when it has it, `sent` when it was heard."""
    if line.startswith(b'{"kind":"done"'):
        return None
    record = orjson.loads(line)
    match record:
        case {"kind": "hook", "type": "cauce.referral.sent"}:
            return _at("told", record["data"]["id"], record)
        case {"kind": "data"}:
            return _at("stored", record["referral"], record)
        case {"kind": "sent", "what": "accept", "status": 200}:
            return _at("answered", record["referral"], record)
        case _:
            return None


def _at(kind: Kind, task: str, record: Mapping[str, Any]) -> Seen:
    return Seen(kind, task, datetime.fromisoformat(record["at"]).timestamp())


def _person() -> SamplePerson:
    return SamplePerson(number="@@PERSON@@", given="Aurelia Benita", family="Quintalba")


def bundle(more: tuple[str, ...]) -> bytes:
    """A FHIR referral to the shelter."""
    sample = Sample(
        person=_person(),
        service_type="legal_counsel",
        purpose="legal_assistance",
        categories=(*CATEGORIES, *more),
        rich=True,
    )
    sample.key = "@@KEY@@"
    return orjson.dumps(sample.bundle())


def native(more: tuple[str, ...]) -> bytes:
    """A native referral to the clinic."""
    categories = ("pseudonymous_core", "health", *more)
    sample = NativeSample(person=_person(), categories=categories, key="@@KEY@@", rich=True)
    return orjson.dumps(sample.body())


def made(template: bytes, number: int) -> bytes:
    """The bytes of referral `number`: another person and another key."""
    person, key = b"ZZ%08d" % number, str(uuid4()).encode()
    return template.replace(b"@@PERSON@@", person).replace(b"@@KEY@@", key)


def _to_clinic(name: str, behaviour: Mapping[str, Any], kinds: tuple[Kind, ...]) -> Way:
    return Way(
        name=name,
        recipient=plan.CLINICA,
        journal="clinica.jsonl",
        post_to="/v1/referrals",
        content_type="application/json",
        body=native,
        seen=of_clinic,
        behaviour=behaviour,
        last=kinds[-1],
        kinds=kinds,
    )


FHIR: Final = Way(
    name="fhir",
    recipient=plan.REFUGIO,
    journal="refugio.jsonl",
    post_to="/fhir",
    content_type="application/fhir+json",
    body=bundle,
    seen=of_shelter,
    behaviour={"answers": [["accepted", 0]]},
)
WEBHOOK: Final = _to_clinic(
    "native-webhook",
    {"fetches": True, "commands": ["accept"]},
    ("told", "stored", "answered"),
)
TOLD: Final = _to_clinic("native-told", {"fetches": False, "commands": []}, ("told",))
WAYS: Final[Mapping[str, Way]] = MappingProxyType({way.name: way for way in (FHIR, WEBHOOK, TOLD)})


def journal_of(home: Path, way: Way) -> Path:
    """The recipient's own store in its folder."""
    return home / "data" / way.journal
