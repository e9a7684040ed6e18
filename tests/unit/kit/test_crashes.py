"""What Python prints by itself when something ends badly is a line of ours, without its text."""

import io
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import orjson
import pytest

from services.kit.logs import Log, capture_crashes, capture_libraries


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    for module, name in ((sys, "excepthook"), (threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        written = io.StringIO()
        log = Log("kit", written)
        capture_libraries(log)
        capture_crashes(log)
        yield written
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def _events(stream: io.StringIO) -> list[str]:
    return [orjson.loads(line)["event"] for line in stream.getvalue().splitlines()]


def _fail() -> None:
    raise ValueError("Aurelia Quintalba")


class _Unraisable:
    def __del__(self) -> None:
        _fail()


def test_the_end_of_the_process_says_its_type_only(stream: io.StringIO) -> None:
    try:
        _fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    assert _events(stream) == ["crashed"]
    assert "ValueError" in stream.getvalue()
    assert "Aurelia" not in stream.getvalue()


def test_threads_objects_and_warnings_say_their_type_only(
    stream: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    thread = threading.Thread(target=_fail, name="Aurelia")
    thread.start()
    thread.join()
    _Unraisable()
    warnings.warn("Aurelia Quintalba", stacklevel=1)
    assert _events(stream) == ["thread-failed", "unraisable", "library"]
    assert "Aurelia" not in stream.getvalue()
    assert capfd.readouterr().err == ""
