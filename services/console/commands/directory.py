"""`cauce directory`: services, how full they said they are, and proposals with reasons."""

import argparse
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from services.console.client import Client
from services.console.show import print_fields, print_rows
from services.console.subcommands import Verbs, perform

COLUMNS = (
    "id", "org", "service_types", "country", "capacity_status", "capacity_free", "stale",
    "open_now", "directory_status",
)  # fmt: skip
FILTERS = (
    "service_type", "country", "admin1", "age", "population_type", "language", "capacity", "org",
)  # fmt: skip
EXAMPLE = """examples:
  cauce directory list --service-type shelter_specialized --capacity accepting
  cauce directory propose --from ong-norte --service-type shelter_specialized \\
      --age 17 --language es --special-requirement with_children
  cauce directory stale --json
"""


def register(subparsers: Any) -> None:
    """Add the command."""
    verbs = Verbs(subparsers, "directory", "services, their capacity, and proposals")
    every = verbs.add("list", "services, by what they offer and take", _list, _rows)
    for name in FILTERS:
        every.add_argument(f"--{name.replace('_', '-')}", help=f"only services by {name}")
    every.add_argument("--open-now", action="store_true", help="only services open now")
    show = verbs.add("show", "one service", _show, print_fields)
    show.add_argument("id")
    verbs.add("stale", "services whose capacity was said too long ago", _stale, _rows)
    _proposing(verbs.add("propose", "who could take a need, and why", _propose, _proposals))
    for parser in (every, show):
        parser.epilog, parser.formatter_class = EXAMPLE, argparse.RawDescriptionHelpFormatter


def _proposing(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EXAMPLE, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--from", dest="from_org", required=True, help="who would refer")
    parser.add_argument("--service-type", required=True, help="code of service_type")
    parser.add_argument("--country", help="three letters")
    parser.add_argument("--admin1", help="part of the country, such as CO-ANT")
    parser.add_argument("--age", type=int, help="in years; or its band")
    parser.add_argument("--age-band", help="code of age_band")
    parser.add_argument("--population-type", help="code of population_type")
    parser.add_argument("--sex-age-group", help="code of sex_age_group")
    parser.add_argument("--language", action="append", dest="languages", help="may be repeated")
    parser.add_argument(
        "--special-requirement",
        action="append",
        dest="special_requirements",
        help="code of special_requirement; may be repeated",
    )
    parser.add_argument("--priority", help="code of priority (routine)")


NEEDS = (
    "service_type", "country", "admin1", "age", "age_band", "population_type", "sex_age_group",
    "languages", "special_requirements", "priority",
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    return perform(args)


def _list(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    wanted = _given(args, FILTERS)
    if args.open_now:
        wanted["open_now"] = "true"
    return client.get(f"/admin/directory?{urlencode(wanted)}")


def _stale(client: Client, _: argparse.Namespace) -> dict[str, Any]:
    return client.get("/admin/directory?stale=true")


def _show(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    return client.get(f"/admin/directory/{args.id}")


def _propose(client: Client, args: argparse.Namespace) -> dict[str, Any]:
    needs = _given(args, NEEDS)
    return client.post("/admin/directory/proposals", {"from_org": args.from_org, "needs": needs})


def _given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _rows(answer: dict[str, Any]) -> None:
    print_rows(answer["services"], COLUMNS)


def _proposals(answer: dict[str, Any]) -> None:
    for one in answer["proposals"]:
        service = one["service"]
        print(f"{one['rank']}. {service['name']} ({service['id']}, {service['org']})")
        for reason in one["reasons"]:
            print(f"   {reason['points']:>3}  {reason['text']}")
    if not answer["proposals"]:
        print("no service could take it")
    if answer["excluded"]:
        print("\nleft out:")
        print_rows(answer["excluded"], ("id", "org", "code", "text"))
