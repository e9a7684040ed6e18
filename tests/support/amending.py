"""A case put right, told to the services of a path, with a vault in memory that holds the new."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from connectors.sdk.types import Case as Facts
from connectors.sdk.types import split
from schemas import CODELIST_VERSION, Amended, CaseUpdated, encode
from services.delivery.rectifying import rectify
from services.kit.exchange import put_events
from services.kit.subscriptions import Subscriptions
from tests.support.delivery_world import PERSON
from tests.support.path import Path, now

RIGHT: Final = PERSON.model_copy(
    update={"telecom": (PERSON.telecom[0].model_copy(update={"value": "9"}),)}
)


async def amend(
    path: Path,
    case_ref: UUID,
    version: int = 2,
    categories: Sequence[str] = ("contact",),
    stands: int = 7,
) -> None:
    """The case's organisation put its first record right."""
    path.vault.record = split(RIGHT, Facts(risk_level="high"))
    event = CaseUpdated(
        event_id=uuid4(),
        occurred_at=now(),
        case_ref=case_ref,
        source_org="ong-norte",
        correlation_id=uuid4(),
        codelist_version=CODELIST_VERSION,
        confidentiality="restricted",
        version=version,
        changed=(),
        data_categories=tuple(categories),
        amended=(Amended(first_version=1, vault_version=stands),),
        case_status="open",
    )
    conn: Any
    async with path.pools["gateway"].acquire() as conn, conn.transaction():
        await put_events(conn, [encode(event)])
    await path.pump()


async def reach(path: Path) -> None:
    """A round of the leader, and what it queued."""
    await rectify(path.parts, Subscriptions(path.parts.pool))
    await path.deliver()
