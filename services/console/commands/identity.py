"""`cauce identity`: open an identity outside a grant; two people of two organisations."""

import argparse
import base64
from pathlib import Path
from typing import Any

from services.console.client import Client
from services.console.private import private_folder
from services.console.show import print_fields, print_rows
from services.console.subcommands import Verbs, perform

COLUMNS = ("opening_ref", "case_ref", "reason_code", "requested_by", "approved_by", "status")


REPORT = "all that is held on a person and was done with it, signed, for that person"
EXAMPLE = """\
example, as a protection officer whom the person asked:
  cauce identity request CASE --reason subject_access
  cauce identity approve OPENING        (a person of another organisation)
  cauce identity access-report --case CASE --lang es --out ./informe
  cd informe && openssl pkeyutl -verify -rawin -pubin -inkey report-key.pem \\
    -in report.json -sigfile report.json.sig

An opening gives one report. Hand the folder over, then delete it.
"""


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "identity", "open an identity outside a grant")
    verbs.add("list", "requests", lambda client, _: client.get("/admin/openings"), _rows)
    ask = verbs.add("request", "ask for it", _request, print_fields)
    ask.add_argument("case_ref")
    ask.add_argument("--reason", required=True, help="risk_to_life, court_order, subject_access, …")
    approve = verbs.add("approve", "approve another organisation's request", _act, print_fields)
    approve.set_defaults(step="approval")
    read = verbs.add("read", "read it, once, if you asked for it", _act, print_fields)
    read.set_defaults(step="identity")
    for parser in (approve, read):
        parser.add_argument("opening_ref")
    report = verbs.add("access-report", REPORT, _report, print_fields)
    report.add_argument("--case", required=True, metavar="REF", help="the case approved for this")
    report.add_argument("--lang", required=True, choices=("es", "pt", "en"))
    report.add_argument("--out", required=True, metavar="DIR", help="a new folder, yours alone")
    report.add_argument("--opening", metavar="REF", help="by default your newest for this case")
    report.formatter_class = argparse.RawDescriptionHelpFormatter
    report.epilog = EXAMPLE


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


def _report(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    """The folder first: a report that cannot be written must not use its opening up."""
    body = {"case_ref": args.case, "language": args.lang}
    body |= {"opening_ref": args.opening} if args.opening else {}
    out = Path(args.out)
    with private_folder(out) as folder:
        answer = client.post("/admin/access-reports", body)
        files = answer.pop("files")
        for name, content in files.items():
            folder.write(name, base64.b64decode(content))
    return {**answer, "folder": str(out.absolute()), "files": sorted(files)}
