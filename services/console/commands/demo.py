"""`cauce demo`: the main job on invented people, through the systems of the sandbox partners.

It refers three people from `ong-norte` to `refugio-sur` by FHIR, waits for the shelter's answers,
takes one referral back because the person withdraws, and prints that referral's timeline. A fourth
person goes natively to `clinica-demo`, which is told by webhook (`_demo_webhook`).
"""

import argparse
import json
import os
from collections.abc import Callable
from functools import partial
from random import SystemRandom
from typing import Any, Final

from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from services.console.client import Client
from services.console.commands import _demo_webhook
from services.console.commands._partners import accepted, ask, until
from services.console.commands.referral import print_timeline
from services.console.local import plan
from services.console.local.place import default_place
from services.console.local.world import PROPOSES, make_world
from services.kit.settings import Settings

CASES: Final = 3


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("demo", help="run the main job on invented people")
    parser.add_argument("--json", action="store_true", help="print both referrals as JSON")


def run(args: argparse.Namespace) -> int:
    """Refer, follow, withdraw, show."""
    place = default_place()
    settings = plan.local_settings(place, os.environ)
    client = make_world(place, settings)[PROPOSES.staff_id]

    def say(line: str) -> None:
        if not args.json:
            print(line, flush=True)

    shown = _by_fhir(settings, client, say)
    say("")
    natively = _demo_webhook.show(settings, client, say)
    if args.json:
        print(json.dumps({"fhir": shown, "native_webhook": natively}, indent=2))
        return 0
    say("\nThe timeline of the last referral by FHIR (`cauce referral show` prints it again):\n")
    print_timeline(shown)
    say(f"\nAnd of the native one: cauce referral show {natively['referral_ref']}")
    _print_addresses(settings)
    return 0


def _by_fhir(settings: Settings, client: Client, say: Callable[[str], None]) -> dict[str, Any]:
    """Three referrals, one of them taken back; that one as the hub knows it."""
    sent = [_refer(settings, client, say) for _ in range(CASES)]
    for referral_ref, _ in sent:
        done = partial(_is_accepted, client, referral_ref)
        until(done, plan.REFUGIO, "accept the referral")
    say(f"refugio-sur accepted {CASES} referrals.")
    referral_ref, consent = sent[-1]
    _withdraw(settings, consent)
    say("One person withdrew: the referral is revoked, the shelter is asked to delete.")
    until(lambda: _erased(client, referral_ref), plan.REFUGIO, "answer the request to erase")
    client.post("/admin/custody/checkpoint")
    return client.get(f"/admin/referrals/{referral_ref}")


def _refer(settings: Settings, client: Client, say: Callable[[str], None]) -> tuple[str, str]:
    """Send one referral; its reference here, and its Consent's id as the sender knows it."""
    seed = SystemRandom().randrange(2**31)
    sample = Sample(person=person(seed), base=settings.canonical_base)
    refer = {"bundle": sample.bundle()}
    sent = accepted("referral", ask(plan.ONG, settings.ong_port, "POST", "/_control/refer", refer))
    newest = client.get("/admin/referrals?limit=1&org=ong-norte")["referrals"][0]
    say(f"ong-norte referred a person to refugio-sur by FHIR: {newest['referral_ref']}")
    locations = [entry["response"]["location"] for entry in sent["entry"]]
    consent = next(path.split("/")[1] for path in locations if path.startswith("Consent/"))
    return newest["referral_ref"], consent


def _withdraw(settings: Settings, consent: str) -> None:
    path = "/_control/withdraw"
    answer = ask(plan.ONG, settings.ong_port, "POST", path, {"consent": consent})
    accepted("withdrawal", answer)


def _is_accepted(client: Client, referral_ref: str) -> bool:
    return bool(client.get(f"/admin/referrals/{referral_ref}")["status"] == "accepted")


def _erased(client: Client, referral_ref: str) -> bool:
    steps = client.get(f"/admin/referrals/{referral_ref}")["timeline"]
    return any(step.get("event") == "consent.effect_reported" for step in steps)


def _print_addresses(settings: Settings) -> None:
    host, admin = settings.admin_host, settings.admin_port
    print(f"""
Addresses
  FHIR        {settings.public_url}/fhir/metadata
  native      {settings.public_url}/v1/referrals (with a partner's token)
  schemas     {settings.public_url}/subjects (with a partner's token)
  metrics     http://{host}:{admin}/metrics and http://{host}:{settings.vault_admin_port}/metrics
  ready       http://{host}:{admin}/ready
  ong-norte   http://127.0.0.1:{settings.ong_port}/ledger
  refugio-sur http://127.0.0.1:{settings.refugio_port}/fhir/metadata
  clinica     http://127.0.0.1:{settings.clinica_port}/journal""")
