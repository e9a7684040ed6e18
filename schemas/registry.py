"""The read part of the Confluent registry interface, as pure functions over the released schemas.

The gateway serves these answers as JSON, so an unmodified Confluent client of a partner decodes
our events. Writing is a release in the repository (`schemas.release`), never a request.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from schemas.avsc import Released, released


class NotFoundError(LookupError):
    """Nothing of that name (HTTP 404); `error_code` and message are those of Confluent."""

    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


@cache
def by_id() -> Mapping[int, Released]:
    """Every released schema by its id."""
    return MappingProxyType({r.id: r for versions in released().values() for r in versions})


def schema_by_id(schema_id: int) -> dict[str, Any]:
    """Body of `GET /schemas/ids/{id}`."""
    if schema_id not in by_id():
        raise NotFoundError(40403, "Schema not found")
    return {"schema": by_id()[schema_id].text}


def subjects() -> list[str]:
    """Body of `GET /subjects`."""
    return sorted(released())


def versions(subject: str) -> list[int]:
    """Body of `GET /subjects/{subject}/versions`."""
    return [r.version for r in _subject(subject)]


def version(subject: str, wanted: str) -> dict[str, Any]:
    """Body of `GET /subjects/{subject}/versions/{wanted}`: a number, `latest` or `-1`."""
    found = _subject(subject)
    if wanted in ("latest", "-1"):
        return _entry(found[-1])
    for r in found:
        if str(r.version) == wanted:
            return _entry(r)
    raise NotFoundError(40402, "Version not found")


def _subject(subject: str) -> tuple[Released, ...]:
    if subject not in released():
        raise NotFoundError(40401, "Subject not found")
    return released()[subject]


def _entry(r: Released) -> dict[str, Any]:
    return {"subject": r.subject, "version": r.version, "id": r.id, "schema": r.text}
