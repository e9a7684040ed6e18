"""The hub with faults that speak of a person: `python -m tests.support.canary_faults FLAG NAME`.

Product code is made to fail with errors, warnings and log records whose text holds an invented
identity. Bundles ask for it by the system of their identifier; the case whose reference stands in
the file FLAG fails in delivery's consumer, for good. With FLAG `start` the gateway does not build.
None of it may be read anywhere afterwards. The product has no switch for any of this.
"""

import asyncio
import gc
import json
import logging
import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import asyncpg

import services.gateway.app
import services.gateway.fhir.intake
from services.__main__ import main
from services.kit.consuming import Consumer
from services.kit.records import Received
from tests.support.canary import identities

UPSET: Final = "urn:canary:upset"
CRASH: Final = "urn:canary:crash"
TELLING: Final = identities()[7]
"""The identity that the faults speak of where they know no other."""


class CrashError(KeyboardInterrupt):
    """Ends the process from the middle of its loop, as a fault in a C library's callback would."""


class _Unraisable:
    def __del__(self) -> None:
        raise ValueError(f"cannot forget {TELLING.name}")


def _upset(text: str) -> None:
    """Everything by which text reaches a log of its own accord."""
    logging.getLogger("some.package").error("cannot read %s", text)
    logging.getLogger("some.package").warning("odd: %s", TELLING.number, stack_info=True)
    warnings.warn(f"deprecated: {TELLING.name}", stacklevel=1)
    thread = threading.Thread(target=_fail, args=(text,), name=TELLING.token)
    thread.start()
    thread.join()
    _Unraisable()
    asyncio.get_running_loop().create_task(_fail_later(text), name=TELLING.token)
    asyncio.get_running_loop().call_soon(_fail, text)
    gc.collect()
    raise RuntimeError(text)


def _fail(text: str) -> None:
    raise ValueError(f"cannot read {text}")


async def _fail_later(text: str) -> None:
    _fail(text)


def _crash(text: str) -> None:
    raise CrashError(f"cannot go on with {text}")


def _cases(flag: Path) -> list[str]:
    return flag.read_text(encoding="ascii").split() if flag.exists() else []


def plant(flag: Path) -> None:
    """Put the faults into this process."""
    module: Any = services.gateway.fhir.intake
    real, handle = module.FHIR.read, Consumer._handle

    def to_submission(bundle: dict[str, Any], context: Any) -> Any:
        system = bundle.get("identifier", {}).get("system")
        text = json.dumps(bundle, ensure_ascii=False)
        if system == UPSET:
            _upset(text)
        if system == CRASH:
            asyncio.get_running_loop().call_later(0.05, _crash, text)
        return real(bundle, context)

    async def handling(
        self: Consumer, conn: asyncpg.Connection, events: Sequence[Received]
    ) -> None:
        cases = _cases(flag)
        if self._name == "delivery" and any(str(event.case_ref) in cases for event in events):
            raise ValueError(f"{TELLING.name} ({TELLING.number}) has no place here")
        await handle(self, conn, events)

    module.FHIR = replace(module.FHIR, read=to_submission)
    Consumer._handle = handling  # type: ignore[method-assign]


async def _no_gateway(_: Any) -> Any:
    raise ValueError(f"cannot build for {TELLING.name}")


if __name__ == "__main__":
    warnings.simplefilter("always")
    if sys.argv[1] == "start":
        services.gateway.app.build = _no_gateway  # type: ignore[assignment]
    else:
        plant(Path(sys.argv[1]))
    sys.exit(main([sys.argv[2]]))
