"""The shape of commands that speak to the admin port: `cauce NOUN VERB [ARGUMENTS] [--json]`.

Each verb is two functions: `act` asks the hub, `show` prints the answer for people.
"""

import argparse
from collections.abc import Callable
from typing import Any

from services.console.client import Client
from services.console.show import print_json

Act = Callable[[Client, argparse.Namespace], dict[str, Any]]
Show = Callable[[dict[str, Any]], None]


class Verbs:
    """The verbs of one noun."""

    def __init__(self, subparsers: Any, noun: str, text: str) -> None:
        parser = subparsers.add_parser(noun, help=text, description=text)
        self._verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def add(self, verb: str, text: str, act: Act, show: Show) -> argparse.ArgumentParser:
        """A verb; add its arguments to the parser that is answered."""
        parser: argparse.ArgumentParser = self._verbs.add_parser(verb, help=text, description=text)
        parser.add_argument("--json", action="store_true", help="print the answer as JSON")
        parser.set_defaults(act=act, show=show)
        return parser


def perform(args: argparse.Namespace) -> int:
    """Ask as the person at the command line and print."""
    answer = args.act(Client(), args)
    if args.json:
        print_json(answer)
    else:
        args.show(answer)
    return 0
