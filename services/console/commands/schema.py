"""`cauce schema`: the OpenAPI and AsyncAPI documents of the hub that runs, printed or in a file."""

import argparse
import json
from pathlib import Path
from typing import Any

from services.console.client import Client
from services.console.local.place import LocalError
from services.console.show import print_json
from services.console.subcommands import Verbs

EXAMPLE = """examples:
  cauce schema openapi --out openapi.json
  cauce schema asyncapi | less
"""


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "schema", "the hub's interfaces as documents for tools")
    for name, text in (
        ("openapi", "what partners call, as OpenAPI 3.1"),
        ("asyncapi", "topics and webhooks, as AsyncAPI 3.0"),
    ):
        parser = verbs.add(name, text, _document, print_json)
        parser.add_argument("--out", type=Path, metavar="FILE", help="write it there instead")
        parser.epilog, parser.formatter_class = EXAMPLE, argparse.RawDescriptionHelpFormatter


def run(args: argparse.Namespace) -> int:
    """Ask, and print or write."""
    document = args.act(Client(), args)
    if args.out is None:
        args.show(document)
        return 0
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        args.out.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise LocalError(f"cannot write {args.out}: {error.strerror}") from None
    if args.json:
        print_json({"file": str(args.out), "bytes": args.out.stat().st_size})
    else:
        print(f"{args.out} written")
    return 0


def _document(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/documents/{args.verb}")
