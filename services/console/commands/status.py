"""`cauce status`: what runs, where it answers, and which private networks partners may live in."""

import argparse
import json
import os
from typing import Any

from services.console.local import bootstrap, plan
from services.console.local.place import default_place


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("status", help="what runs and where it answers")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Print one row per part; exit status 0 only when every part is ready."""
    place = default_place()
    rows = bootstrap.status(place, os.environ)
    networks = plan.local_settings(place, os.environ).egress_private_networks
    well = all(row["state"] in ("ready", "given") for row in rows)
    if args.json:
        print(json.dumps({"ready": well, "parts": rows, "egress_private_networks": networks}))
    else:
        for row in rows:
            pid = f"pid {row['pid']}" if row["pid"] else ""
            print(f"{row['name']:<12} {row['state']:<9} {row['address']:<22} {pid}")
        print(f"private networks a partner may live in: {networks or 'none'}")
    return 0 if well else 1
