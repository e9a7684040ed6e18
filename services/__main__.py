"""`python -m services NAME`: one service, `vault`, or `all` of the hub in one process.

Only the services that are named are imported.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from services.kit.runtime import run
from services.kit.settings import Settings, SettingsError

HUB = ("gateway", "consent", "referral", "delivery", "custody", "relay")
"""What `all` means: everything that may stand in one process. The vault never does."""


def parts_of(name: str) -> tuple[str, ...]:
    """The services of a process; ValueError for a name that there is not."""
    if name == "all":
        return HUB
    if name in (*HUB, "vault"):
        return (name,)
    raise ValueError(f"there is no service {name!r}: all, vault, {', '.join(HUB)}")


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM; answers the exit status."""
    if len(argv) != 1:
        sys.stderr.write(f"usage: python -m services all|vault|{'|'.join(HUB)}\n")
        return 2
    try:
        names = parts_of(argv[0])
        settings = Settings.from_environment(os.environ)
    except (ValueError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    builders = {name: import_module(f"services.{name}.app").build for name in names}
    return run(argv[0], settings, builders)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
