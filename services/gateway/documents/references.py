"""Which shared schemas something needs, itself or through another; and requests without null."""

import re
from typing import Any, Final

Json = dict[str, Any]
_NAMED: Final = re.compile(r"'#/components/schemas/([^']+)'")
_NULL: Final = {"type": "null"}


def needed(by: object, shared: Json) -> list[str]:
    """Names of the schemas that `by` refers to, and those that they refer to."""
    found: dict[str, None] = {}
    waiting = [str(by)]
    while waiting:
        for name in _NAMED.findall(waiting.pop()):
            if name in shared and name not in found:
                found[name] = None
                waiting.append(str(shared[name]))
    return sorted(found)


def without_null(models: Json, requests: object) -> Json:
    """The models; those of requests take no null, for what is not said is left out."""
    for name in needed(requests, models):
        for of in models[name].get("properties", {}).values():
            if _NULL in of.get("anyOf", ()):
                _narrow(of)
    return models


def _narrow(of: Json) -> None:
    kept = [one for one in of.pop("anyOf") if one != _NULL]
    if of.get("default", ...) is None:
        del of["default"]
    of |= kept[0] if len(kept) == 1 else {"anyOf": kept}
