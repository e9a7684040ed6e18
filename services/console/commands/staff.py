"""`cauce staff`: the people who operate the hub."""

import argparse
import json
from pathlib import Path
from typing import Any

from services.console.client import Client
from services.console.local.place import LocalError, write_secret
from services.console.show import print_fields, print_rows
from services.console.subcommands import Verbs, perform
from services.kit.crypto import CryptoError, jwk_of, new_es384_pem
from services.kit.staff import ROLES

COLUMNS = ("staff_id", "organisation", "roles", "status", "added_by")


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "staff", "the people who operate the hub")
    verbs.add("list", "everybody", lambda client, _: client.get("/admin/staff"), _rows)
    verbs.add("whoami", "who you are here", lambda c, _: c.get("/admin/whoami"), print_fields)
    key = verbs.add("key", "make a key file for yourself (0600)", _key, print_fields)
    key.add_argument("file", type=Path, help="where to write it; an existing file stays")
    add = verbs.add("add", "register a person (operator)", _add, print_fields)
    add.add_argument("staff_id", help="id, such as coordinator-2")
    add.add_argument("--organisation", required=True)
    add.add_argument("--roles", required=True, help=f"comma-separated: {', '.join(sorted(ROLES))}")
    add.add_argument("--jwk", type=Path, required=True, help="public key (JSON), or a key file")
    for verb in ("disable", "enable"):
        parser = verbs.add(verb, f"{verb} a person (operator)", _set, print_fields)
        parser.add_argument("staff_id")


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    return perform(args)


def _rows(answer: dict[str, Any]) -> None:
    print_rows(answer["staff"], COLUMNS)


def _key(_: Client, args: argparse.Namespace) -> dict[str, Any]:
    if args.file.exists():
        raise LocalError(f"{args.file} exists: choose another name")
    try:
        write_secret(args.file, new_es384_pem().decode())
    except OSError as error:
        raise LocalError(f"cannot write {args.file}: {error.strerror}") from None
    public = args.file.with_suffix(".jwk.json")
    public.write_text(json.dumps(jwk_of(args.file.read_bytes())), encoding="ascii")
    return {"key": str(args.file), "public": str(public)}


def _add(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    body = {
        "staff_id": args.staff_id,
        "organisation": args.organisation,
        "roles": [role.strip() for role in args.roles.split(",") if role.strip()],
        "jwk": public_jwk(args.jwk),
    }
    return client.post("/admin/staff", body)


def public_jwk(path: Path) -> dict[str, Any]:
    """The public key in a JSON file, or of a private key file."""
    try:
        content = path.read_bytes()
        if content.lstrip().startswith(b"{"):
            found: dict[str, Any] = json.loads(content)
            return found
        return jwk_of(content)
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None
    except (CryptoError, ValueError):
        raise LocalError(f"{path} holds neither a public JWK nor a P-384 key") from None


def _set(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.post(f"/admin/staff/{args.staff_id}/{args.verb}")
