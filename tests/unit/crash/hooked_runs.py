"""A clean run with a partner that takes webhooks: announced, read, answered, taken back."""

from dataclasses import replace
from uuid import uuid4

from schemas import models
from tests.unit.crash.runs import CLIENT, Sent, Told, accept, at

CLINIC = "clinica-sur"


def hooked_run() -> Told:
    """Two referrals of one case, announced and accepted by hook; one of another, withdrawn."""
    told = Told()
    case, other = uuid4(), uuid4()
    for seconds, sent in ((0, Sent(case)), (5, Sent(case)), (20, Sent(other))):
        request(told, sent, seconds)
        announce(told, sent, seconds + 1)
    take_back(told, sent, 24)
    return told


def request(told: Told, sent: Sent, seconds: float) -> None:
    """As any referral, but to the clinic; its number at the subscriber."""
    begun = len(told.topic)
    accept(told, sent, seconds)
    for n in range(begun, len(told.topic)):
        one = told.topic[n]
        if hasattr(one.event, "to_org"):
            told.topic[n] = replace(one, event=replace(one.event, to_org=CLINIC))
    told.ledger[-1] |= {"status": 201, "body": {"referral": {"id": sent.task(CLIENT)}}}
    number(told, sent)


def number(told: Told, sent: Sent) -> None:
    """The next event of the clinic's subscription."""
    count = sum(r["kind"] == "event" for r in told.hooked)
    told.hooked.append({"kind": "event", "number": count + 1, "focus": sent.task(CLINIC)})


def announce(told: Told, sent: Sent, seconds: float) -> None:
    """Intent, message, outcome, report; then a read of its own and an answer by hook."""
    about = {"referral_ref": sent.referral_ref, "case_ref": sent.case_ref}
    told.leaf(seconds, "disclosure_intent", delivery_ref=sent.delivery, **about)
    told.note(seconds + 0.1, CLINIC, sent, 1, "sent")
    told.hooked[-1]["mark"] = sent.delivery
    told.leaf(seconds + 0.2, "disclosed", delivery_ref=sent.delivery, **about)
    told.leaf(seconds + 0.3, "disclosure_intent", **about)
    told.leaf(seconds + 0.4, "disclosed", **about)
    when = at(seconds + 0.5).isoformat()
    told.hooked.append({"kind": "read", "at": when, "subject": sent.task(CLINIC), "status": 200})
    told.publish(
        seconds + 0.5,
        models.ReferralDelivered,
        sent.case_ref,
        referral_ref=sent.referral_ref,
        version=2,
        to_org=CLINIC,
        delivered_at=at(seconds + 0.1),
        attempts=1,
    )
    told.publish(
        seconds + 0.6,
        models.ReferralStatusChanged,
        sent.case_ref,
        referral_ref=sent.referral_ref,
        version=3,
        transition="T08",
        from_status="delivered",
        to_status="accepted",
        actor_org=CLINIC,
        synthesised=False,
    )
    answer = {"kind": "answer", "what": "accept", "subject": sent.task(CLINIC), "status": 200}
    told.hooked.append(answer)
    for version in (2, 3):
        number(told, sent)
        told.note(seconds + 0.6 + version / 10, CLIENT, sent, version)


def take_back(told: Told, sent: Sent, seconds: float) -> None:
    """The sender takes back consent; both are told, the clinic erases."""
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
    number(told, sent)
    told.note(seconds + 0.2, CLIENT, sent, 4, "revoked")
    told.note(seconds + 0.2, CLINIC, sent, 4, "revoked")
    told.hooked.append({"kind": "erased", "subject": sent.task(CLINIC)})
