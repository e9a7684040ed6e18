"""What a party wrote into a Task or a Consent: JSON Patch or a whole resource. Pure.

It guards that only the elements by which a party answers can be changed, that everything else is
the same as it was read, and that a patch is no way around strict JSON.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connectors.fhir_r4.inbound.tables import fhir_names
from connectors.sdk.strict import parse_strict
from services.kit.errors import Refused

ANSWERS: Final = ("status", "statusReason", "businessStatus", "output")
"""Elements of a Task by which a party answers."""

FREE: Final = frozenset({"resourceType", "id", "meta", "implicitRules", "language"})
_PATH: Final = re.compile(r"/([A-Za-z]+)(/-|/0)?")
_ETAG: Final = re.compile(r'W/"(\d{1,9})"')


def expected_version(if_match: str | None) -> int:
    """The version in If-Match; 428 without one, 412 for anything that is no version of ours."""
    if if_match is None:
        raise Refused.of("precondition-required", "if-match")
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise Refused.of("conflict", "version")
    return int(match[1])


def patch_document(raw: bytes) -> dict[str, Any]:
    """A JSON Patch as the one member `patch` of a document."""
    return parse_strict(b'{"patch":' + raw + b"}")


def operations(raw: bytes) -> list[tuple[str, Any]]:
    """(element, value) of each operation of a JSON Patch that adds or replaces."""
    document = patch_document(raw)
    patch = document["patch"]
    if set(document) != {"patch"} or not isinstance(patch, list) or not patch:
        raise Refused.of("patch-invalid", "operation")
    return [_operation(one) for one in patch]


def _operation(node: Any) -> tuple[str, Any]:
    if not isinstance(node, dict) or set(node) != {"op", "path", "value"}:
        raise Refused.of("patch-invalid", "operation")
    path = node["path"]
    match = _PATH.fullmatch(path) if isinstance(path, str) else None
    if node["op"] not in ("add", "replace") or match is None:
        raise Refused.of("patch-invalid", "operation")
    return match[1], [node["value"]] if match[2] else node["value"]


def patched_task(raw: bytes, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The answer that a patch makes of a Task as its party sees it."""
    answer: dict[str, Any] = {"status": shown["status"]}
    for element, value in operations(raw):
        if element not in ANSWERS:
            raise Refused.of("forbidden", "field", _named("Task", element))
        answer[element] = value
    return answer


def put_task(document: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """The answer in a whole Task; everything that is no answer must be as it was read."""
    _same_resource(document, shown, "Task")
    for element, value in document.items():
        if element in FREE or element in ANSWERS:
            continue
        if element not in fhir_names("Task"):
            raise Refused.of("structure", "unknown-element", "Task")
        if element not in shown:
            raise Refused.of("unsupported", "element", f"Task.{element}")
        if value != shown[element]:
            raise Refused.of("forbidden", "field", f"Task.{element}")
    answer = {name: document[name] for name in ANSWERS if name in document}
    kept = answer.get("businessStatus") == shown.get("businessStatus")
    if kept and answer.get("status") != shown["status"]:
        answer.pop("businessStatus", None)
    return answer


def _same_resource(document: Mapping[str, Any], shown: Mapping[str, Any], kind: str) -> None:
    for element in ("resourceType", "id"):
        if document.get(element) != shown[element]:
            raise Refused.of("value-invalid", "fixed-value", f"{kind}.{element}")


def _named(kind: str, element: str) -> str:
    """A path that says the element only if it is one of FHIR's."""
    return f"{kind}.{element}" if element in fhir_names(kind) else kind


def patch_withdraws(raw: bytes) -> None:
    """A patch of a Consent may do one thing: set its status to inactive."""
    found: Sequence[tuple[str, Any]] = operations(raw)
    if len(found) != 1 or found[0][0] != "status":
        raise Refused.of("patch-invalid", "operation")
    if found[0][1] != "inactive":
        raise Refused.of("code-invalid", "not-in-list", "Consent.status")
