"""Where a case stands, in the gateway's database.

It guards that two commands on one case go one after the other and that a case is its
organisation's alone. What is legal is the domain's.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg

from services.gateway.cases.domain import Case
from services.kit.errors import Refused

COLUMNS = "select status, version, closure_reason, last_command from gateway.case_file"


async def read(conn: Any, case_ref: UUID, org: str) -> Case:
    """A case of an organisation; 404 when it is not its own."""
    return _case(await conn.fetchrow(f"{COLUMNS} where case_ref = $1 and org = $2", case_ref, org))


async def change(
    conn: Any, case_ref: UUID, org: str, key_mac: bytes | None, to: Callable[[Case], Case]
) -> Case:
    """The case after a change; the change made last, repeated under its key, changes nothing."""
    async with conn.transaction():
        row = await conn.fetchrow(
            f"{COLUMNS} where case_ref = $1 and org = $2 for update", case_ref, org
        )
        old = _case(row)
        if key_mac is not None and row["last_command"] == key_mac:
            return old
        new = to(old)
        try:
            await conn.execute(
                "update gateway.case_file set status = $2, version = $3, closure_reason = $4,"
                " last_command = $5 where case_ref = $1",
                case_ref,
                new.status,
                new.version,
                new.closure_reason,
                key_mac,
            )
        except asyncpg.UniqueViolationError:  # the person has another open case without a number
            raise Refused.of("duplicate", "several-cases") from None
        return new


def _case(row: asyncpg.Record | None) -> Case:
    if row is None:
        raise Refused.of("not-found", "resource")
    return Case(status=row["status"], version=row["version"], closure_reason=row["closure_reason"])
