"""What one method on one path is: for the router, its checks and the OpenAPI document alike.

It guards that what is documented is what is served: scopes and query parameters named here are the
ones that `http.Surface` enforces.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

NATIVE_PATHS: Final = ("/v1/", "/hooks/", "/docs/")
"""Where refusals are problem documents."""
Content = type[BaseModel] | str
"""A model of ours, or the name of a FHIR resource type."""


NOT_FOUND: Final = ("not-found", "resource")
BODY_FAULTS: Final = (
    ("code-invalid", "not-in-list"),
    ("required", "element"),
    ("structure", "null-value"),
    ("structure", "unknown-element"),
    ("structure", "wrong-type"),
)
"""What reading a JSON body of the native surface by its members may answer with."""
MODEL_FAULTS: Final = (
    ("code-invalid", "not-in-list"),
    ("required", "element"),
    ("structure", "bad-format"),
    ("structure", "null-value"),
    ("structure", "unknown-element"),
    ("structure", "wrong-type"),
    ("value-invalid", "item-count"),
)
"""What reading a JSON body as a model (`bodies`) may answer with."""
VERSIONED: Final = (("precondition-required", "if-match"), ("conflict", "version"))
"""What a change by If-Match may answer with."""
ETAG: Final = "ETag"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a query, a form or a header: its name, what it does, and its JSON schema."""

    name: str
    text: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "The same key and content again changes nothing and is answered alike",
    {"type": "string", "minLength": 1, "maxLength": 255},
)
IF_MATCH: Final = Parameter(
    "If-Match",
    "The ETag of the version that the change was made on",
    {"type": "string", "pattern": r'^W/"[0-9]{1,9}"$'},
    required=True,
)
IF_NONE_MATCH: Final = Parameter("If-None-Match", "An ETag; 304 while the answer still has it")
PREFER: Final = Parameter(
    "Prefer",
    "`return=representation` (default), `return=OperationOutcome`, or `return=minimal`: no body",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operation.

    `scopes` are `Resource.letter` of SMART v2, each of them required. `refusals` are the (code,
    rule) that this operation adds to those that any operation may answer with.
    """

    method: str
    path: str
    summary: str
    tag: str
    scopes: tuple[str, ...] = ()
    query: tuple[Parameter, ...] = ()
    form: tuple[Parameter, ...] = ()
    """Parameters in a body of `application/x-www-form-urlencoded`."""
    headers: tuple[Parameter, ...] = ()
    """Headers that it reads, beside those that any operation reads."""
    sends: tuple[str, ...] = ()
    """Headers of a success, beside those of every answer."""
    request: Content | None = None
    response: Content | None = None
    status: int = 200
    refusals: tuple[tuple[str, str], ...] = ()
    for_anyone: bool = False
    """Whether no token is asked for."""

    @property
    def is_fhir(self) -> bool:
        """Whether its refusals are OperationOutcomes."""
        return not self.path.startswith(NATIVE_PATHS)
