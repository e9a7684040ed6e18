"""`cauce partner`: organisations that refer and receive. Two people put one in force."""

import argparse
import json
from pathlib import Path
from typing import Any

from services.console.client import CallError, Client
from services.console.local.place import LocalError
from services.console.show import print_fields, print_rows
from services.console.subcommands import Verbs, perform

COLUMNS = ("org", "org_type", "roles", "status", "version", "pending", "proposed_by")


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "partner", "organisations that refer and receive")
    verbs.add("list", "every partner", lambda client, _: client.get("/admin/partners"), _rows)
    show = verbs.add("show", "one partner, in force and pending", _show, print_fields)
    add = verbs.add("add", "propose a partner, or a change of one (operator)", _add, _proposed)
    add.add_argument("file", type=Path, help="the partner's record, TOML")
    add.add_argument("--jwks", type=Path, help="its public keys, where the record has none")
    add.add_argument("--dry-run", action="store_true", help="only say what is wrong with it")
    activate = verbs.add(
        "activate", "put the proposed record in force (another operator)", _activate, print_fields
    )
    activate.add_argument("--digest", help="of the record you looked at; else the pending one's")
    suspend = verbs.add("suspend", "let nothing in or out from now on", _suspend, print_fields)
    for parser in (show, activate, suspend):
        parser.add_argument("org")


def run(args: argparse.Namespace) -> int:
    """Ask and print; faults of a file one a line."""
    try:
        return perform(args)
    except CallError as error:
        if error.code != "partner-faulty":
            raise
        if args.json:
            print(json.dumps({"faults": error.faults}))
        else:
            for fault in error.faults:
                print(f"{fault['field'] or 'file'}: {fault['rule']}")
        number = len(error.faults)
        raise LocalError(f"{args.file}: {number} field(s) to mend; nothing was stored") from None


def _rows(answer: dict[str, Any]) -> None:
    print_rows(answer["partners"], COLUMNS)


def _show(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/partners/{args.org}")


def _add(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    body: dict[str, Any] = {"toml": _text(args.file), "dry_run": args.dry_run}
    if args.jwks is not None:
        try:
            body["jwks"] = json.loads(_text(args.jwks))
        except ValueError:
            raise LocalError(f"{args.jwks} is no JSON") from None
    return client.post("/admin/partners", body)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LocalError(f"{path} is not UTF-8") from None


def _proposed(answer: dict[str, Any]) -> None:
    if answer.get("dry_run"):
        print(f"{answer['org']}: nothing to mend")
    else:
        print(f"{answer['org']} is proposed. Another operator: cauce partner activate", end=" ")
        print(answer["org"])


def _activate(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    path = f"/admin/partners/{args.org}"
    digest = args.digest or client.get(path).get("pending_digest") or "none"
    return client.post(f"{path}/activation", {"pending_digest": digest})


def _suspend(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.post(f"/admin/partners/{args.org}/suspension")
