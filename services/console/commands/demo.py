"""`cauce demo`: the main job on invented people, through the systems of the sandbox partners.

It refers three people from `ong-norte` to `refugio-sur`, waits for the shelter's answers, takes
one referral back because the person withdraws, and prints that referral's timeline.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection
from random import SystemRandom
from typing import Any, Final

from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from services.console.client import Client
from services.console.commands.referral import print_timeline
from services.console.local import plan
from services.console.local.place import LocalError, default_place
from services.console.local.world import PROPOSES, make_world
from services.kit.settings import Settings

PATIENCE_SECONDS: Final = 30
CASES: Final = 3


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("demo", help="run the main job on invented people")
    parser.add_argument("--json", action="store_true", help="print the timeline as JSON")


def run(args: argparse.Namespace) -> int:
    """Refer, follow, withdraw, show."""
    place = default_place()
    settings = plan.local_settings(place, os.environ)
    client = make_world(place, settings)[PROPOSES.staff_id]

    def say(line: str) -> None:
        if not args.json:
            print(line, flush=True)

    sent = [_refer(settings, client, say) for _ in range(CASES)]
    for referral_ref, _ in sent:
        _until(partial(_is_accepted, client, referral_ref), "accept the referral")
    say(f"refugio-sur accepted {CASES} referrals.")
    referral_ref, consent = sent[-1]
    _withdraw(settings, consent)
    say("One person withdrew: the referral is revoked, the shelter is asked to delete.")
    _until(lambda: _erased(client, referral_ref), "answer the request to erase")
    client.post("/admin/custody/checkpoint")
    shown = client.get(f"/admin/referrals/{referral_ref}")
    if args.json:
        print(json.dumps(shown, indent=2))
        return 0
    say("\nThe timeline of that referral (`cauce referral show` prints it again):\n")
    print_timeline(shown)
    _print_addresses(settings)
    return 0


def _refer(settings: Settings, client: Client, say: Callable[[str], None]) -> tuple[str, str]:
    """Send one referral; its reference here, and its Consent's id as the sender knows it."""
    seed = SystemRandom().randrange(2**31)
    sample = Sample(person=person(seed), base=settings.canonical_base)
    answer = _ong(settings, "POST", "/_control/refer", {"bundle": sample.bundle()})
    if answer["status"] != 200:
        raise LocalError(f"the hub refused the sample referral: {_reasons(answer['body'])}")
    newest = client.get("/admin/referrals?limit=1&org=ong-norte")["referrals"][0]
    say(f"ong-norte referred a person to refugio-sur: referral {newest['referral_ref']}")
    locations = [entry["response"]["location"] for entry in answer["body"]["entry"]]
    consent = next(path.split("/")[1] for path in locations if path.startswith("Consent/"))
    return newest["referral_ref"], consent


def _withdraw(settings: Settings, consent: str) -> None:
    answer = _ong(settings, "POST", "/_control/withdraw", {"consent": consent})
    if answer["status"] != 200:
        raise LocalError(f"the hub refused the withdrawal: {_reasons(answer['body'])}")


def _reasons(outcome: dict[str, Any]) -> str:
    rules = [c.get("code", "?") for i in outcome.get("issue", []) for c in _codings(i)]
    return ", ".join(rules) or "no reason given"


def _codings(issue: dict[str, Any]) -> list[dict[str, Any]]:
    return list(issue.get("details", {}).get("coding", []))


def _is_accepted(client: Client, referral_ref: str) -> bool:
    return bool(client.get(f"/admin/referrals/{referral_ref}")["status"] == "accepted")


def _erased(client: Client, referral_ref: str) -> bool:
    steps = client.get(f"/admin/referrals/{referral_ref}")["timeline"]
    return any(step.get("event") == "consent.effect_reported" for step in steps)


def _until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise LocalError(
                f"refugio-sur did not {what} within {PATIENCE_SECONDS} s: see `cauce status`"
            )
        time.sleep(0.1)


def _ong(settings: Settings, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask the case manager's system to do something."""
    connection = HTTPConnection("127.0.0.1", settings.ong_port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, json.dumps(body))
        answer = connection.getresponse()
        return dict(json.loads(answer.read()))
    except OSError as error:
        raise LocalError("ong-norte does not answer: run `cauce up` first") from error
    finally:
        connection.close()


def _print_addresses(settings: Settings) -> None:
    host, admin = settings.admin_host, settings.admin_port
    print(f"""
Addresses
  FHIR        {settings.public_url}/fhir/metadata
  schemas     {settings.public_url}/subjects (with a partner's token)
  metrics     http://{host}:{admin}/metrics and http://{host}:{settings.vault_admin_port}/metrics
  ready       http://{host}:{admin}/ready
  ong-norte   http://127.0.0.1:{settings.ong_port}/ledger
  refugio-sur http://127.0.0.1:{settings.refugio_port}/fhir/metadata""")
