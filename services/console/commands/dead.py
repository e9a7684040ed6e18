"""`cauce dead`: what was set aside (parked cases, held deliveries), and trying it again."""

import argparse
from typing import Any

from services.console.client import Client
from services.console.show import print_fields, print_rows
from services.console.subcommands import Verbs, perform

PARKED = ("ref", "at", "consumer", "error_class", "rule", "field_path")
HELD = ("ref", "created_at", "to_org", "what", "rule", "field_path", "attempts")


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "dead", "what was set aside, and trying it again")
    verbs.add("list", "all of it", lambda client, _: client.get("/admin/dead"), _rows)
    show = verbs.add("show", "one of it", _show, print_fields)
    replay = verbs.add("replay", "try again once the cause is mended", _replay, print_fields)
    give_up = verbs.add(
        "give-up", "end a held delivery; its source is told", _give_up, print_fields
    )
    give_up.add_argument("--reason", required=True, help="code of referral_reason_code")
    for parser in (show, replay, give_up):
        parser.add_argument("ref")


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    return perform(args)


def _rows(answer: dict[str, Any]) -> None:
    print(f"parked cases ({len(answer['parked'])})")
    print_rows(answer["parked"], PARKED)
    print(f"\nheld deliveries ({len(answer['held'])})")
    print_rows(answer["held"], HELD)


def _show(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/dead/{args.ref}")


def _replay(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.post(f"/admin/dead/{args.ref}/replay")


def _give_up(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.post(f"/admin/dead/{args.ref}/give-up", {"reason_code": args.reason})
