"""The second half of `cauce demo`: one referral without FHIR, from native JSON to webhook.

It shows what the clinic's own system kept of it: the message, what it fetched, its answers and
what it deleted. The hub's timeline is printed by the caller.
"""

import json
from collections.abc import Callable, Iterator
from random import SystemRandom
from typing import Any

from connectors.sandbox.natives import NativeSample
from connectors.sandbox.people import person
from services.console.client import Client
from services.console.commands._partners import accepted, ask, until
from services.console.local.plan import CLINICA, ONG
from services.kit.settings import Settings

Say = Callable[[str], None]


class Clinic:
    """What `clinica-demo` has noted since we began to look."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._before = len(self._all())

    def _all(self) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = ask(CLINICA, self._port, "GET", "/journal")["told"]
        return told

    def noted(self, kind: str, **wanted: str) -> Iterator[dict[str, Any]]:
        """Records of a kind with these values."""
        for record in self._all()[self._before :]:
            if record["kind"] == kind and wanted.items() <= record.items():
                yield record

    def wait(self, doing: str, kind: str, **wanted: str) -> dict[str, Any]:
        """The first of them, once it is there."""
        until(lambda: any(self.noted(kind, **wanted)), CLINICA, doing)
        return next(self.noted(kind, **wanted))


def show(settings: Settings, client: Client, say: Say) -> dict[str, Any]:
    """Refer, follow, withdraw; the referral as the hub knows it and what the clinic noted."""
    clinic = Clinic(settings.clinica_port)
    sample = NativeSample(person=person(SystemRandom().randrange(2**31)))
    refer = {"body": sample.body()}
    sent = accepted("referral", ask(ONG, settings.ong_port, "POST", "/_control/refer", refer))
    newest = client.get(f"/admin/referrals?limit=1&org={CLINICA}")["referrals"][0]
    say(f"{ONG} referred a person to {CLINICA} by POST /v1/referrals: {newest['referral_ref']}")
    _follow(clinic, say)
    withdraw = {"consent": sent["consent"]["id"], "native": True}
    ask_back = ask(ONG, settings.ong_port, "POST", "/_control/withdraw", withdraw)
    ends = accepted("withdrawal", ask_back)["effective_at"]
    say(f"The person withdrew: nothing more leaves from {ends[11:19]} UTC on.")
    clinic.wait("answer the request to erase", "sent", what="erased")
    effect = next(clinic.noted("erasure"))["effect"]
    say(f"{CLINICA} was asked to delete by a signed message, and answered: {effect}.")
    client.post("/admin/custody/checkpoint")
    shown = client.get(f"/admin/referrals/{newest['referral_ref']}")
    notes = [dict(r) for kind in ("hook", "sent", "erasure") for r in clinic.noted(kind)]
    return {**shown, "noted_by_clinica_demo": sorted(notes, key=lambda note: str(note["at"]))}


def _follow(clinic: Clinic, say: Say) -> None:
    """Until the clinic has answered; what it was told, fetched and said."""
    last = clinic.wait("accept the referral", "sent", what="accept")
    message = next(clinic.noted("hook", type="cauce.referral.sent"))
    say(f"{CLINICA} got a signed webhook that says that something came, and not what:")
    say(f"  {json.dumps(message['data'])}")
    document = next(clinic.noted("data", referral=last["referral"]))["document"]
    got = ", ".join(document["referral"]["data_categories"])
    say(f"It fetched what the consent covers, decided at that moment: {got}.")
    said = ", ".join(record["what"] for record in clinic.noted("sent"))
    say(f"It answered by signed messages to POST /hooks/{CLINICA}: {said}.")
