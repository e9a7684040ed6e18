"""`cauce referral`: referrals and what happened to them; routing data only."""

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from services.console.client import Client
from services.console.show import cell, print_fields, print_rows
from services.console.subcommands import Verbs, perform

COLUMNS = ("referral_ref", "from_org", "to_org", "status", "version", "accepted_at")
LATE = ("referral_ref", "from_org", "to_org", "status", "stage", "owed_by", "due", "waiting_since")
TIMES = ("due", "waiting_since")
STEPS = ("at", "seq", "event", "leaf", "about")


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "referral", "referrals and what happened to them")
    every = verbs.add("list", "the newest referrals", _list, _rows)
    every.add_argument("--org", help="of or to this organisation")
    every.add_argument("--case", help="of this case")
    every.add_argument("--before", help="accepted before this time (for the next page)")
    every.add_argument("--limit", type=int, default=50)
    every.epilog = "example: cauce referral list --org ong-norte --limit 10 --json"
    late = verbs.add("overdue", "referrals that wait past their time", _overdue, _overdue_rows)
    late.add_argument("--from", dest="from_org", help="sent by this organisation")
    late.add_argument("--to", dest="to_org", help="sent to this organisation")
    late.add_argument("--stage", choices=("overdue", "escalated"), help="only these")
    late.add_argument("--limit", type=int, default=50, help="at most 64")
    late.epilog = "example: cauce referral overdue --from ong-norte --stage escalated"
    show = verbs.add("show", "one referral and its timeline", _show, print_timeline)
    show.add_argument("referral_ref")
    show.epilog = "example: cauce referral show REF --json"
    steps = verbs.add("timeline", "the steps of one referral alone", _timeline, _steps)
    steps.add_argument("referral_ref")
    steps.epilog = "example: cauce referral timeline REF --json"


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    return perform(args)


def _list(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    names = ("org", "case", "before", "limit")
    asked = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    return client.get(f"/admin/referrals?{urlencode(asked)}")


def _rows(answer: dict[str, Any]) -> None:
    print_rows(answer["referrals"], COLUMNS)
    if answer["next"]:
        print(f"more: --before {answer['next']}")


def _overdue(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    named = {"from": args.from_org, "to": args.to_org, "stage": args.stage, "limit": args.limit}
    asked = {name: value for name, value in named.items() if value is not None}
    return client.get(f"/admin/referrals/overdue?{urlencode(asked)}")


def _overdue_rows(answer: dict[str, Any]) -> None:
    rows = [row | {n: row[n][:16].replace("T", " ") for n in TIMES} for row in answer["referrals"]]
    print_rows(rows, LATE)


def _show(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/referrals/{args.referral_ref}")


def _timeline(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    shown = _show(client, args)
    return {"referral_ref": shown["referral_ref"], "timeline": shown["timeline"]}


def print_timeline(answer: dict[str, Any]) -> None:
    """The referral, then a line for each step: time (UTC), event, custody leaf."""
    print_fields({name: value for name, value in answer.items() if name != "timeline"})
    print()
    _steps(answer)


def _steps(answer: dict[str, Any]) -> None:
    print_rows([_step(step) for step in answer["timeline"]], STEPS)


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    leaf = step.get("leaf")
    about = dict(step.get("about") or (leaf or {}).get("about") or {})
    about = {name: ",".join(v) if isinstance(v, list) else v for name, v in about.items()}
    return {
        "at": step["at"][:23].replace("T", " "),
        "seq": step.get("seq"),
        "event": step.get("event"),
        "leaf": _leaf(leaf) if leaf else None,
        "about": cell(about),
    }


def _leaf(leaf: Mapping[str, Any]) -> str:
    signed = " signed" if leaf["signed"] else ""
    return f"{leaf['kind']} {leaf['leaf_ref'][:8]}{signed}"
