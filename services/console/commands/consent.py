"""`cauce consent`: what a consent allows, and what past recipients did after its end."""

import argparse
from typing import Any

from services.console.client import Client
from services.console.show import print_fields, print_rows
from services.console.subcommands import Verbs, perform

RULES = ("decision", "to_org", "to_kind", "purpose", "data_categories", "valid_to")
ERASURES = ("erasure_ref", "case_ref", "to_org", "state", "effect", "requested_at", "due_at")


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "consent", "consents and requests to erase")
    show = verbs.add("show", "one consent, by its id or its referral's or case's", _show, _print)
    show.add_argument("ref")
    erasures = verbs.add("erasures", "requests to erase that wait for an answer", _erasures, _rows)
    erasures.add_argument("--all", action="store_true", help="answered ones too")


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    return perform(args)


def _show(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/consents/{args.ref}")


def _print(answer: dict[str, Any]) -> None:
    print_fields({name: value for name, value in answer.items() if name != "rules"})
    print()
    print_rows(answer["rules"], RULES)


def _erasures(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/erasures{'?all=true' if args.all else ''}")


def _rows(answer: dict[str, Any]) -> None:
    print_rows(answer["erasures"], ERASURES)
