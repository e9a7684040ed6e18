"""Cases on the native surface, as models: the answer's shape and the command's names."""

from typing import Literal
from uuid import UUID

from connectors.sdk.types import Case, Person
from services.gateway.bodies import Shape


class CaseView(Shape):
    """A case as its organisation sees it."""

    id: UUID
    status: Literal["open", "closed", "entered_in_error"]
    version: int
    closure_reason: str | None = None


class CaseCommandBody(Shape):
    """One command on a case; `closure_reason` is of `case_closure_reason`, asked for by `close`.

    `update` puts right what is known: each field of `person` and `facts` that is given takes the
    place of what was there, whole; those named in `remove` (`person.telecom`) are left empty.
    """

    command: Literal["update", "close", "reopen", "mark_error"]
    expected_version: int
    closure_reason: str | None = None
    person: Person | None = None
    facts: Case | None = None
    remove: tuple[str, ...] = ()
