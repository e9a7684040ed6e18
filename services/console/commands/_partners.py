"""How the demonstration speaks with the sandbox partners: over their control ports on loopback."""

import json
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any, Final

from services.console.local.place import LocalError

PATIENCE_SECONDS: Final = 30


def ask(name: str, port: int, method: str, path: str, body: Any = None) -> Any:
    """What a partner's system answers; LocalError when it does not."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        return json.loads(connection.getresponse().read())
    except (OSError, ValueError) as error:
        raise LocalError(f"{name} does not answer: run `cauce up` first") from error
    finally:
        connection.close()


def until(done: Callable[[], bool], name: str, what: str) -> None:
    """Wait until `done`; LocalError after half a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise LocalError(
                f"{name} did not {what} within {PATIENCE_SECONDS} s: see `cauce status`"
            )
        time.sleep(0.1)


def accepted(what: str, answer: dict[str, Any]) -> Any:
    """The body of the hub's answer that a partner's system tells of; LocalError for a refusal."""
    if answer["status"] not in (200, 201):
        raise LocalError(f"the hub refused the {what}: {_reasons(answer['body'])}")
    return answer["body"]


def _reasons(body: dict[str, Any]) -> str:
    issues = body.get("issue", ())
    codes = [c.get("code", "?") for i in issues for c in i.get("details", {}).get("coding", ())]
    codes += [fault["code"] for fault in body.get("faults", ())]
    return ", ".join(codes) or "no reason given"
