"""`cauce custody`: signed checkpoints of the log of disclosures, and proofs under them."""

import argparse
from typing import Any

from services.console.client import Client
from services.console.local.place import LocalError
from services.console.show import print_fields
from services.console.subcommands import Verbs, perform


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "custody", "the tamper-evident log of disclosures")
    point = verbs.add("checkpoint", "the newest signed checkpoint", _checkpoint, _note)
    point.add_argument("--sign", action="store_true", help="sign what waits first")
    leaf = verbs.add("leaf", "a leaf's content and its proof", _leaf, print_fields)
    leaf.add_argument("leaf_ref")
    verbs.add("verify", "compute every leaf and the tree again", _verify, print_fields)


def run(args: argparse.Namespace) -> int:
    """Ask and print; a damaged log is no success."""
    return perform(args)


def _checkpoint(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    if args.sign:
        client.post("/admin/custody/checkpoint")
    return client.get("/admin/custody/checkpoint")


def _note(answer: dict[str, Any]) -> None:
    print(answer["note"].rstrip("\n"))
    print()
    print(f"{answer['size']} leaves, signed {answer['at']}; verify with {answer['key']}")


def _leaf(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/custody/leaf/{args.leaf_ref}")


def _verify(client: Client, _: argparse.Namespace) -> dict[str, Any]:
    answer = client.post("/admin/custody/verification")
    if not answer["intact"]:
        number = len(answer["damaged"])
        raise LocalError(f"the log is damaged: {number} leaves are not what was signed")
    return answer
