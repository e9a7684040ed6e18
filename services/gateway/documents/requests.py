"""A body for each operation that takes JSON, as a partner would send it; people are invented."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

import orjson

from services.gateway.operation import Operation

FHIR: Final = "application/fhir+json"
DRY_RUN: Final = "POST /v1/validate"


@cache
def _bodies() -> Mapping[str, Any]:
    found: dict[str, Any] = orjson.loads(
        files("services.gateway.documents").joinpath("data/requests.json").read_bytes()
    )
    return found


def request_of(one: Operation, media: str) -> Any:
    """The body of this media type; None where the operation takes none, or a form."""
    name = f"{one.method} {one.path.rstrip('/')}"
    if name == DRY_RUN:
        name = "POST /fhir" if media == FHIR else "POST /v1/referrals"
    return _bodies().get(name)
