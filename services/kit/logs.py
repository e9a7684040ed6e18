"""Logs as JSON lines that cannot name a person.

It guards that only fields of a closed list are written, each only in the form its kind allows (an
id, a code, a number), and that errors appear as their type and our own places in the code, never
with their text. Libraries' own records pass the same gate: where and how bad, not what they say.
"""

import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from types import MappingProxyType
from typing import Final, TextIO
from uuid import UUID

import orjson

_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,63}")
_LONG_NUMBER: Final = re.compile(r"\d{6,}")
_OURS: Final = ("services", "connectors", "schemas")
_LEVELS: Final = MappingProxyType({"debug": 10, "info": 20, "warning": 30, "error": 40})
_QUIET: Final = ("aiokafka", "kafka", "asyncio", "uvicorn.access", "faststream", "aiohttp.access")

_ID_FIELDS: Final = (
    "event_id case_ref referral_ref consent_ref delivery_ref disclosure_ref erasure_ref"
    " grant_ref leaf_ref opening_ref command_id entry_ref"
)
_CODE_FIELDS: Final = (
    "org to_org from_org by_org service consumer topic event_type error_class code rule field"
    " state status transition outcome step leader port method route mechanism purpose category"
    " policy_version reason part"
)
_NUMBER_FIELDS: Final = (
    "count size seq schema_id partition offset attempt version key_version vault_version"
    " http_status duration_ms lag delay_ms tree_size port_number pid"
)


def _as_id(value: object) -> object:
    return str(value) if isinstance(value, UUID) else None


def _as_code(value: object) -> object:
    if not isinstance(value, str) or _CODE.fullmatch(value) is None:
        return None
    # Documents and telephone numbers are digits; no code of ours has so many in a row.
    return None if _LONG_NUMBER.search(value) else value


def _as_number(value: object) -> object:
    return value if isinstance(value, int | float) else None


FIELDS: Final[Mapping[str, Callable[[object], object]]] = MappingProxyType(
    dict.fromkeys(_ID_FIELDS.split(), _as_id)
    | dict.fromkeys(_CODE_FIELDS.split(), _as_code)
    | dict.fromkeys(_NUMBER_FIELDS.split(), _as_number)
)
"""Every field a line may have, and what becomes of a value (None: it is dropped)."""


def places(error: BaseException) -> list[str]:
    """`file:line:function` of our own frames, innermost last; at most eight."""
    found = []
    for frame in traceback.extract_tb(error.__traceback__):
        parts = PurePath(frame.filename).parts
        starts = [i for i, part in enumerate(parts) if part in _OURS]
        if starts:
            found.append(f"{'/'.join(parts[starts[-1] :])}:{frame.lineno}:{frame.name}")
    return found[-8:]


class Log:
    """Lines of one service: `log.info("delivery-held", case_ref=ref, rule="…")`."""

    def __init__(
        self,
        service: str,
        stream: TextIO | None = None,
        level: str = "info",
        dropped: Callable[[], None] | None = None,
    ) -> None:
        self._service = service
        self._stream = stream
        self._level = _LEVELS[level]
        self._dropped = dropped or (lambda: None)

    def debug(self, event: str, error: BaseException | None = None, **fields: object) -> None:
        """A step passed; off unless asked for."""
        self._write("debug", event, error, fields)

    def info(self, event: str, error: BaseException | None = None, **fields: object) -> None:
        """Something an operator may want to know."""
        self._write("info", event, error, fields)

    def warning(self, event: str, error: BaseException | None = None, **fields: object) -> None:
        """Something that mends itself or waits for a person."""
        self._write("warning", event, error, fields)

    def error(self, event: str, error: BaseException | None = None, **fields: object) -> None:
        """Something a person must look at."""
        self._write("error", event, error, fields)

    def _write(
        self, level: str, event: str, error: BaseException | None, fields: Mapping[str, object]
    ) -> None:
        if _LEVELS[level] < self._level:
            return
        line: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "service": self._service,
            "event": _as_code(event) or "unnamed",
        }
        for name, value in fields.items():
            kept = FIELDS[name](value) if name in FIELDS else None
            if kept is None and value is not None:
                self._dropped()
            elif kept is not None:
                line[name] = kept
        if error is not None:
            line["error_type"] = type(error).__name__
            line["at"] = places(error)
        (self._stream or sys.stdout).write(orjson.dumps(line).decode() + "\n")


class LibraryHandler(logging.Handler):
    """Writes where a library spoke and how loud; what it said may hold values and is left out."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line for a library's record."""
        error = record.exc_info[1] if record.exc_info else None
        where = f"{record.name}:{record.funcName}"
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write("library", error, part=where)


def capture_libraries(log: Log) -> None:
    """Send every library's records through `log`; called once by the runtime."""
    root = logging.getLogger()
    root.handlers[:] = [LibraryHandler(log)]
    root.setLevel(logging.WARNING)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def capture_crashes(log: Log) -> None:
    """Send what Python itself would print through `log`: it would print the errors' text.

    The end of the process, of a thread, of an object; warnings. Called once by the runtime.
    """
    logging.captureWarnings(capture=True)
    sys.excepthook = lambda _, error, __: log.error("crashed", error)
    threading.excepthook = lambda args: log.error("thread-failed", args.exc_value)
    sys.unraisablehook = lambda args: log.error("unraisable", args.exc_value)
