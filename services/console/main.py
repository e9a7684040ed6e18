"""The command `cauce`: finds the commands, runs one, turns what went wrong into one line.

A command is a module in `services/console/commands/` named for it, with `register(subparsers)`,
which adds its parser and arguments, and `run(args)`, which answers the exit status (0 on success
only).
"""

import argparse
import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules

from services.console import commands
from services.console.local.place import LocalError
from services.kit.migrate import MigrationError
from services.kit.settings import SettingsError


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command in it."""
    parser = argparse.ArgumentParser(prog="cauce", description="Run and operate a Cauce hub.")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for found in sorted(iter_modules(commands.__path__), key=lambda module: module.name):
        if found.name.startswith("_"):
            continue
        module = import_module(f"{commands.__name__}.{found.name}")
        module.register(subparsers)
        subparsers.choices[found.name].set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; answers the exit status."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except (LocalError, MigrationError, SettingsError) as error:
        print(f"cauce: {error}", file=sys.stderr)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print("cauce: no space left on the disk", file=sys.stderr)
    except KeyboardInterrupt:
        print("cauce: interrupted", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
