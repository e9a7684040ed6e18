"""Cases on the native surface, as models: the answer's shape and the command's names."""

from typing import Literal
from uuid import UUID

from services.gateway.bodies import Shape


class CaseView(Shape):
    """A case as its organisation sees it."""

    id: UUID
    status: Literal["open", "closed", "entered_in_error"]
    version: int
    closure_reason: str | None = None


class CaseCommandBody(Shape):
    """One command on a case; `closure_reason` is of `case_closure_reason`, asked for by `close`."""

    command: Literal["close", "reopen", "mark_error"]
    expected_version: int
    closure_reason: str | None = None
