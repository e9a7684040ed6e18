"""`cauce down`: stop everything that `cauce up` started; the data stays."""

import argparse
import json
from typing import Any

from services.console.local import bootstrap
from services.console.local.place import default_place


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("down", help="stop everything; the data stays")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Stop, ours first, then the servers."""
    lines: list[str] = []
    bootstrap.down(default_place(), lines.append if args.json else print)
    if args.json:
        print(json.dumps({"stopped": [line.split()[0] for line in lines]}))
    else:
        print("Nothing runs.")
    return 0
