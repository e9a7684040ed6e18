"""`cauce topic`: the topics of the log, how full they are, and how far each consumer is."""

import argparse
from typing import Any

from services.console.client import Client
from services.console.show import print_fields, print_rows
from services.console.subcommands import Verbs, perform

COLUMNS = ("topic", "partitions", "put", "keys", "pending", "ends", "lag")


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "topic", "the topics of the log")
    verbs.add("list", "every topic", lambda client, _: client.get("/admin/topics"), _rows)
    show = verbs.add("show", "one topic and its events", _show, print_fields)
    show.add_argument("topic")


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    return perform(args)


def _rows(answer: dict[str, Any]) -> None:
    print_rows(answer["topics"], COLUMNS)


def _show(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/topics/{args.topic}")
