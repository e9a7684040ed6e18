"""`cauce up`: start everything on this machine and wait until it is ready."""

import argparse
import json
import os
import time
from typing import Any

from services.console.local import bootstrap
from services.console.local.place import default_place


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("up", help="start everything on this machine")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Start; progress goes to the terminal line by line."""
    began = time.monotonic()

    def say(line: str) -> None:
        if not args.json:
            print(f"[{time.monotonic() - began:5.1f} s] {line}", flush=True)

    settings = bootstrap.up(default_place(), os.environ, say)
    seconds = round(time.monotonic() - began, 1)
    if args.json:
        print(json.dumps({"public_url": settings.public_url, "seconds": seconds}))
    else:
        print(f"Ready in {seconds} s. FHIR at {settings.public_url}/fhir,")
        print(f"metrics at http://{settings.admin_host}:{settings.admin_port}/metrics")
    return 0
