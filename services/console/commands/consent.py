"""`cauce consent`: what is allowed, what recipients did after its end, whom to tell."""

import argparse
from typing import Any

from services.console.client import Client
from services.console.show import print_fields, print_rows
from services.console.subcommands import Verbs, perform

RULES = ("decision", "to_org", "to_kind", "purpose", "data_categories", "valid_to")
NOTICES = ("notice_ref", "cause", "case_ref", "about_ref", "due_since", "status", "closed_by")
ERASURES = (
    *("erasure_ref", "case_ref", "to_org", "data_categories", "state"),
    *("effect", "requested_at", "due_at"),
)


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "consent", "consents and requests to erase")
    show = verbs.add("show", "one consent, by its id or its referral's or case's", _show, _print)
    show.add_argument("ref")
    withdraw = verbs.add(
        "withdraw", "take a consent back because the person asks it here", _withdraw, print_fields
    )
    withdraw.add_argument("consent_ref")
    withdraw.add_argument(
        "--status", default="withdrawn", choices=("withdrawn", "revoked", "invalidated")
    )
    withdraw.add_argument("--to", metavar="ORG", help="only what this organisation may receive")
    erasures = verbs.add("erasures", "requests to erase that wait for an answer", _erasures, _rows)
    erasures.add_argument("--all", action="store_true", help="answered ones too")
    notices = verbs.add("notices", "what people must yet be told", _notices, _notice_rows)
    notices.add_argument("--all", action="store_true", help="closed ones too")
    close = verbs.add("close-notice", "say how a notice ended", _close, print_fields)
    close.add_argument("notice_ref")
    close.add_argument("--outcome", required=True, choices=("told", "unreachable", "unsafe"))


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    return perform(args)


def _show(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/consents/{args.ref}")


def _withdraw(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    body = {"status": args.status} | ({"to_org": args.to} if args.to else {})
    return client.post(f"/admin/consents/{args.consent_ref}/withdrawal", body)


def _print(answer: dict[str, Any]) -> None:
    print_fields({name: value for name, value in answer.items() if name != "rules"})
    print()
    print_rows(answer["rules"], RULES)


def _erasures(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/erasures{'?all=true' if args.all else ''}")


def _rows(answer: dict[str, Any]) -> None:
    print_rows(answer["erasures"], ERASURES)


def _notices(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/notices{'?all=true' if args.all else ''}")


def _notice_rows(answer: dict[str, Any]) -> None:
    print_rows(answer["notices"], NOTICES)


def _close(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.post(f"/admin/notices/{args.notice_ref}/closing", {"outcome": args.outcome})
