"""Where a case stands, in the gateway's database.

It guards that two commands on one case go one after the other and that a case is its
organisation's alone. What is legal is the domain's.
"""

from typing import Any
from uuid import UUID

import asyncpg

from services.gateway.cases.domain import ERROR, Case
from services.kit.errors import Refused

COLUMNS = "select status, version, closure_reason from gateway.case_file"


async def read(conn: Any, case_ref: UUID, org: str) -> Case:
    """A case of an organisation; Refused when it is not its own."""
    return _case(await conn.fetchrow(f"{COLUMNS} where case_ref = $1 and org = $2", case_ref, org))


async def lock(conn: Any, case_ref: UUID, org: str) -> Case:
    """The same, held until the transaction ends."""
    return _case(
        await conn.fetchrow(f"{COLUMNS} where case_ref = $1 and org = $2 for update", case_ref, org)
    )


async def write(conn: Any, case_ref: UUID, case: Case) -> None:
    """The case as it stands now; one that was entered in error gives its number back."""
    try:
        await conn.execute(
            "update gateway.case_file set status = $2, version = $3, closure_reason = $4,"
            " requisition_mac = case when $5 then null else requisition_mac end"
            " where case_ref = $1",
            case_ref,
            case.status,
            case.version,
            case.closure_reason,
            case.status == ERROR,
        )
    except asyncpg.UniqueViolationError:  # the person has another open case without a number
        raise Refused.of("duplicate", "several-cases") from None


async def accepted_attempts(conn: Any, case_ref: UUID) -> list[UUID]:
    """Attempts behind the records of a case that the vault may not yet know to be accepted."""
    rows = await conn.fetch(
        "select s.attempt from gateway.referral r join gateway.submission s"
        "  on s.org = r.from_org and s.referral_ref = r.referral_ref"
        " where r.case_ref = $1 and s.status = 'accepted' and not s.kept"
        " union all select last_attempt from gateway.case_file"
        " where case_ref = $1 and last_attempt is not null",
        case_ref,
    )
    return [row["attempt"] for row in rows]


async def consents(conn: Any, case_ref: UUID) -> list[UUID]:
    """The consents that came with a case's referrals."""
    rows = await conn.fetch(
        "select distinct consent_ref from gateway.referral where case_ref = $1 order by 1",
        case_ref,
    )
    return [row["consent_ref"] for row in rows]


async def changed_by(conn: Any, case_ref: UUID, attempt: UUID) -> None:
    """Note the last change of a case's content."""
    await conn.execute(
        "update gateway.case_file set last_attempt = $2 where case_ref = $1", case_ref, attempt
    )


async def finish(conn: Any, org: str, key_mac: bytes, attempt: UUID, answer: bytes) -> bool:
    """Keep the answer of an attempt that still holds its key; False when it does not."""
    done = await conn.fetchval(
        "update gateway.submission set status = 'accepted', answer = $4"
        " where org = $1 and key_mac = $2 and attempt = $3 and status = 'running' returning true",
        org,
        key_mac,
        attempt,
        answer,
    )
    return done is not None


def _case(row: asyncpg.Record | None) -> Case:
    if row is None:
        raise Refused.of("not-found", "resource")
    return Case(status=row["status"], version=row["version"], closure_reason=row["closure_reason"])
