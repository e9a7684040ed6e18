"""Registering partners: a record is proposed by one person and activated by another.

It guards that nobody activates what they proposed, that a suspension takes effect at once by one
person, and that every change has its custody leaf in the same transaction.
"""

from datetime import datetime
from typing import Any

import orjson

from services.kit.leaf import append_leaves, leaf


class ChangeError(Exception):
    """The change is not possible; `rule` is unknown, nothing-pending, same-person or taken-id."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


async def propose(conn: Any, org: str, record: dict[str, Any], *, by: str, now: datetime) -> None:
    """Put a record forward; the one in force stays until another person activates this one."""
    async with conn.transaction():
        await _check_ids(conn, org, record)
        await conn.execute(
            "insert into gateway.partner as p (org, pending, proposed_by) values ($1, $2, $3)"
            " on conflict (org) do update set pending = excluded.pending,"
            "  proposed_by = excluded.proposed_by",
            org,
            orjson.dumps(record).decode(),
            by,
        )
        await _leaf(conn, org, by, "proposed", now)


async def _check_ids(conn: Any, org: str, record: dict[str, Any]) -> None:
    """Ids of directory entries are unique in the cell."""
    ids = [service["id"] for service in record["services"]]
    taken = await conn.fetchval(
        "select exists (select from gateway.partner p"
        "  cross join lateral jsonb_array_elements(coalesce(p.record, p.pending) -> 'services') s"
        "  where p.org <> $1 and s ->> 'id' = any($2::text[]))",
        org,
        ids,
    )
    if taken:
        raise ChangeError("taken-id")


async def activate(conn: Any, org: str, *, by: str, now: datetime) -> int:
    """Put the proposed record in force; answers its version."""
    async with conn.transaction():
        row = await conn.fetchrow(
            "select pending, proposed_by from gateway.partner where org = $1 for update", org
        )
        if row is None:
            raise ChangeError("unknown")
        if row["pending"] is None:
            raise ChangeError("nothing-pending")
        if row["proposed_by"] == by:
            raise ChangeError("same-person")
        version: int = await conn.fetchval(
            "update gateway.partner set record = pending, pending = null, activated_by = $2,"
            " version = version + 1 where org = $1 returning version",
            org,
            by,
        )
        await _leaf(conn, org, by, "active", now)
    return version


async def suspend(conn: Any, org: str, *, by: str, now: datetime) -> int:
    """Stop a partner at once; it comes back by a proposal and an activation."""
    async with conn.transaction():
        version: int | None = await conn.fetchval(
            "update gateway.partner set record = jsonb_set(record, '{status}', '\"suspended\"'),"
            " version = version + 1 where org = $1 and record is not null returning version",
            org,
        )
        if version is None:
            raise ChangeError("unknown")
        await _leaf(conn, org, by, "suspended", now)
    return version


async def _leaf(conn: Any, org: str, by: str, status: str, now: datetime) -> None:
    await append_leaves(conn, [leaf("partner_changed", now, actor=by, to_org=org, status=status)])
