"""A clean run of three referrals as the four witnesses tell it, to be spoilt one rule at a time."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from schemas import models
from schemas.codes import CODELIST_VERSION
from services.kit.aliases import alias
from tests.support.crash_seen import Evidence, LeafSeen, Published

START = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
KEY = bytes(range(32))
PARTNER, CLIENT = "refugio-sur", "ong-norte"
TASK, REQUEST = "urn:task", "urn:request"


def alias_of(kind: str, ref: UUID, org: str) -> UUID:
    """The id of a thing at an organisation."""
    return alias(KEY, kind, ref, org)  # type: ignore[arg-type]


def at(seconds: float) -> datetime:
    """Seconds after the start of the run."""
    return START + timedelta(seconds=seconds)


@dataclass
class Told:
    """What the witnesses say; tests change one of them."""

    partner: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    topic: list[Published] = field(default_factory=list)
    leaves: list[LeafSeen] = field(default_factory=list)
    seqs: dict[UUID, int] = field(default_factory=dict)
    hooked: list[dict[str, Any]] = field(default_factory=list)
    """What partners with a webhook were told, read and answered."""

    def evidence(self) -> Evidence:
        """For the judge."""
        return Evidence(
            partner=self.partner,
            ledger=self.ledger,
            topic=self.topic,
            leaves=self.leaves,
            told=self.hooked,
            alias=alias_of,
        )

    def publish(self, seconds: float, kind: type[Any], case_ref: UUID, **fields: Any) -> None:
        """The next event of a case."""
        self.seqs[case_ref] = self.seqs.get(case_ref, 0) + 1
        event = kind(
            case_seq=self.seqs[case_ref],
            event_id=uuid4(),
            occurred_at=at(seconds),
            case_ref=case_ref,
            source_org=CLIENT,
            correlation_id=uuid4(),
            codelist_version=CODELIST_VERSION,
            confidentiality="restricted",
            **fields,
        )
        offset = len(self.topic)
        self.topic.append(Published(at=at(seconds), partition=0, offset=offset, event=event))

    def note(
        self, seconds: float, org: str, sent: "Sent", version: int, kind: str = "status_changed"
    ) -> None:
        """A message about a referral arrives at one of its parties."""
        said = {"kind": "told", "org": org, "version": version, "referral": None}
        self.hooked.append(
            {**said, "at": at(seconds).isoformat(), "mark": str(uuid4()),
             "type": f"cauce.referral.{kind}", "subject": sent.task(org)}
        )  # fmt: skip

    def leaf(self, seconds: float, kind: str, **body: Any) -> None:
        """A leaf of the custody log."""
        self.leaves.append(
            LeafSeen(at=at(seconds), kind=kind, body={k: str(v) for k, v in body.items()})
        )

    def change_event(self, kind: type[Any], **changes: Any) -> None:
        """Say something else in the first event of a type."""
        n = next(n for n, one in enumerate(self.topic) if isinstance(one.event, kind))
        self.topic[n] = replace(self.topic[n], event=replace(self.topic[n].event, **changes))

    def without_event(self, kind: type[Any]) -> None:
        """Leave out an event, with the later ones of its case moving up."""
        n = next(n for n, one in enumerate(self.topic) if isinstance(one.event, kind))
        gone = self.topic.pop(n).event
        for n, one in enumerate(self.topic):
            if one.event.case_ref == gone.case_ref and one.event.case_seq > gone.case_seq:
                moved = replace(one.event, case_seq=one.event.case_seq - 1)
                self.topic[n] = replace(one, event=moved)

    def records(self, kind: str) -> list[dict[str, Any]]:
        """The partner's records of one kind."""
        return [r for r in self.partner if r["kind"] == kind]


@dataclass(frozen=True)
class Sent:
    """The ids of one referral in the run."""

    case_ref: UUID
    referral_ref: UUID = field(default_factory=uuid4)
    consent_ref: UUID = field(default_factory=uuid4)
    delivery: str = field(default_factory=lambda: str(uuid4()))

    def task(self, org: str) -> str:
        """The Task's id at an organisation."""
        return str(alias_of("task", self.referral_ref, org))


def clean_run() -> Told:
    """Two referrals of one case, both delivered and accepted; one of another, withdrawn."""
    told = Told()
    case, other = uuid4(), uuid4()
    for seconds, sent in ((0, Sent(case)), (5, Sent(case)), (20, Sent(other))):
        accept(told, sent, seconds)
        deliver(told, sent, seconds + 1)
    withdraw(told, sent, 24)
    return told


def accept(told: Told, sent: Sent, seconds: float) -> None:
    """The client sends a referral and is told that it was accepted."""
    key = str(uuid4())
    located = [{"response": {"location": f"Task/{sent.task(CLIENT)}"}}]
    told.ledger += [
        {"kind": "intent", "what": "refer", "key": key, "path": "/fhir"},
        {
            "kind": "answer",
            "what": "refer",
            "key": key,
            "status": 200,
            "body": {"entry": located},
        },
    ]
    told.publish(
        seconds,
        models.ConsentGiven,
        sent.case_ref,
        consent_ref=sent.consent_ref,
        version=1,
        consent_status="given",
        legal_basis="consent",
        valid_from=at(0),
        valid_to=at(10**6),
    )
    common = {
        "referral_ref": sent.referral_ref,
        "from_org": CLIENT,
        "to_org": PARTNER,
        "directory_entry_ref": None,
        "consent_ref": sent.consent_ref,
        "data_categories": ("pseudonymous_core",),
        "response_due": None,
        "replaces": None,
        "onward_of": None,
        "purpose": "service_referral",
        "facts": b"sealed",
    }
    told.publish(seconds, models.ReferralRequested, sent.case_ref, vault_version=1, **common)
    told.publish(seconds, models.ReferralSent, sent.case_ref, version=1, **common)


def deliver(told: Told, sent: Sent, seconds: float) -> None:
    """Intent, call, effect, outcome, report, answer."""
    about = {"referral_ref": sent.referral_ref, "case_ref": sent.case_ref}
    told.leaf(seconds, "disclosure_intent", delivery_ref=sent.delivery, **about)
    call(told, sent, seconds + 0.1)
    told.leaf(seconds + 0.3, "disclosed", delivery_ref=sent.delivery, **about)
    head = {"referral_ref": sent.referral_ref}
    told.publish(
        seconds + 0.3,
        models.DisclosureMade,
        sent.case_ref,
        disclosure_ref=uuid4(),
        to_org=PARTNER,
        data_categories=(),
        legal_basis="consent",
        consent_ref=sent.consent_ref,
        grant_ref=uuid4(),
        policy_version="1",
        leaf_ref=uuid4(),
        **head,
    )
    told.publish(
        seconds + 0.4,
        models.ReferralDelivered,
        sent.case_ref,
        version=2,
        to_org=PARTNER,
        delivered_at=at(seconds + 0.2),
        attempts=1,
        **head,
    )
    told.publish(
        seconds + 0.5,
        models.ReferralStatusChanged,
        sent.case_ref,
        version=3,
        transition="T08",
        from_status="delivered",
        to_status="accepted",
        actor_org=PARTNER,
        synthesised=False,
        **head,
    )
    told.note(seconds + 0.5, CLIENT, sent, 2)
    told.note(seconds + 0.6, CLIENT, sent, 3)
    answered = {**task_of(sent), "status": "accepted"}
    told.partner.append(
        {"kind": "answer", "at": at(seconds + 0.6).isoformat(), "resources": [answered]}
    )


def task_of(sent: Sent) -> dict[str, Any]:
    """The Task as the partner stores it."""
    value = sent.task(PARTNER)
    return {
        "resourceType": "Task",
        "id": f"partner-{value}",
        "identifier": [{"system": TASK, "value": value}],
    }


def call(told: Told, sent: Sent, seconds: float) -> None:
    """A call with its effect at the partner."""
    task = task_of(sent)
    entry = {"response": {"location": f"Task/{task['id']}/_history/1"}}
    told.partner += [
        {"kind": "call", "at": at(seconds).isoformat(), "path": "/fhir", "key": sent.delivery},
        {
            "kind": "effect",
            "at": at(seconds + 0.1).isoformat(),
            "key": sent.delivery,
            "resources": [task],
            "response": {"entry": [entry]},
        },
    ]


def withdraw(told: Told, sent: Sent, seconds: float) -> None:
    """The client takes back consent; the partner erases."""
    key, name = str(uuid4()), alias_of("consent", sent.consent_ref, CLIENT)
    told.ledger += [
        {"kind": "intent", "what": "withdraw", "key": key, "path": f"/fhir/Consent/{name}"},
        {"kind": "answer", "what": "withdraw", "key": key, "status": 200, "body": {}},
    ]
    told.publish(
        seconds,
        models.ConsentWithdrawn,
        sent.case_ref,
        consent_ref=sent.consent_ref,
        version=2,
        consent_status="withdrawn",
        affected=(),
        dead_keys=(),
        effective_at=at(seconds + 2),
    )
    told.publish(
        seconds + 0.1,
        models.ReferralRevoked,
        sent.case_ref,
        referral_ref=sent.referral_ref,
        version=4,
        from_status="accepted",
        cause="withdrawn",
        erasure_required=True,
    )
    told.note(seconds + 0.2, CLIENT, sent, 4, "revoked")
    erasure = uuid4()
    told.leaf(seconds + 0.2, "erasure_requested", erasure_ref=erasure)
    told.leaf(seconds + 0.6, "erasure_reported", erasure_ref=erasure)
    focus = {"identifier": {"value": sent.task(PARTNER)}}
    told.partner.append(
        {"kind": "erasure", "at": at(seconds + 0.5).isoformat(), "task": {"focus": focus}}
    )
