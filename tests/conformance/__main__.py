"""`python -m tests.conformance [--only PART]… [--data FOLDER]`: strangers' validator, servers and
clients against a hub of their own; a table at the end, and failure if anything failed.

A part is a module with `async def run(installation, report)`; it runs on an installation of its
own, with nobody entered. A part that is `ALONE` needs none.
"""

import argparse
import asyncio
import sys
import time
import traceback
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

from tests.conformance.document import DOCUMENT, expected
from tests.conformance.installation import running_installation
from tests.conformance.report import Report, table

PARTS = ("emission", "acceptance", "documents", "kitclient", "webhooks", "hapi", "sekmet")


def main() -> int:
    """Run the parts one after another."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated")
    parser.add_argument("--data", type=Path, help="folder with profiles/ to use instead of ours")
    parser.add_argument("--write", action="store_true", help="write the table in the document")
    options = parser.parse_args()
    if options.write:
        DOCUMENT.write_text(expected(), encoding="utf-8")
    reports = [_played(Report(part, options.data)) for part in options.only or PARTS]
    print(f"\n{table(reports)}")
    stale = DOCUMENT.read_text(encoding="utf-8") != expected()
    if stale:
        print(f"{DOCUMENT} is not as differences.csv says: run with --write")
    return int(stale or any(one.failures for one in reports))


def _played(report: Report) -> Report:
    begun = time.monotonic()
    part = import_module(f"tests.conformance.{report.part}")
    try:
        alone = getattr(part, "ALONE", False)
        with nullcontext() if alone else running_installation() as installation:
            asyncio.run(part.run(installation, report))
    except Exception as problem:  # noqa: BLE001 -- one part must not keep the others from running
        traceback.print_exc()
        report.fail(repr(problem)[:300])
    report.seconds = time.monotonic() - begun
    return report


if __name__ == "__main__":
    sys.exit(main())
