"""`cauce identity`: open an identity outside a grant; two people of two organisations."""

import argparse
from typing import Any

from services.console.client import Client
from services.console.show import print_fields, print_rows
from services.console.subcommands import Verbs, perform

COLUMNS = ("opening_ref", "case_ref", "reason_code", "requested_by", "approved_by", "status")


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "identity", "open an identity outside a grant")
    verbs.add("list", "requests", lambda client, _: client.get("/admin/openings"), _rows)
    ask = verbs.add("request", "ask for it", _request, print_fields)
    ask.add_argument("case_ref")
    ask.add_argument("--reason", required=True, help="risk_to_life, court_order, …")
    approve = verbs.add("approve", "approve another organisation's request", _act, print_fields)
    approve.set_defaults(step="approval")
    read = verbs.add("read", "read it, once, if you asked for it", _act, print_fields)
    read.set_defaults(step="identity")
    for parser in (approve, read):
        parser.add_argument("opening_ref")


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    return perform(args)


def _rows(answer: dict[str, Any]) -> None:
    print_rows(answer["openings"], COLUMNS)


def _request(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    body = {"case_ref": args.case_ref, "reason_code": args.reason}
    return client.post("/admin/openings", body)


def _act(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.post(f"/admin/openings/{args.opening_ref}/{args.step}")
