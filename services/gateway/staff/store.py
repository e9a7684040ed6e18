"""The register of people in PostgreSQL, and the assertions that were used.

It guards that the first person can be registered once only, and that each change carries its leaf
in the same transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from services.gateway.staff.domain import Registration
from services.kit.canonical import canonical
from services.kit.crypto import sha256
from services.kit.leaf import append_leaves, leaf
from services.kit.staff import StaffMember, known_roles

Connection = Any
"""A connection or a pool of asyncpg."""

_ROW: Final = """
select staff_id, organisation, roles, jwk, status, added_by, added_at from gateway.staff"""
_JTI: Final = """
insert into gateway.jti (party, mac, expires) values ($1, $2, $3)
on conflict (party, mac) do nothing returning true"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A person of the register with key and status."""

    member: StaffMember
    jwk: Mapping[str, Any]
    status: str
    added_by: str | None
    added_at: datetime

    def shown(self) -> dict[str, Any]:
        """As the admin port answers."""
        return {
            "staff_id": self.member.staff_id,
            "organisation": self.member.organisation,
            "roles": sorted(self.member.roles),
            "status": self.status,
            "kid": self.jwk.get("kid"),
            "added_by": self.added_by,
            "added_at": self.added_at.isoformat(),
        }


def _stored(row: asyncpg.Record) -> Stored:
    member = StaffMember(
        staff_id=row["staff_id"],
        organisation=row["organisation"],
        roles=known_roles(row["roles"]),
    )
    return Stored(
        member=member,
        jwk=orjson.loads(row["jwk"]),
        status=row["status"],
        added_by=row["added_by"],
        added_at=row["added_at"],
    )


async def find(conn: Connection, staff_id: str) -> Stored | None:
    """The person, whatever their status."""
    row = await conn.fetchrow(_ROW + " where staff_id = $1", staff_id)
    return _stored(row) if row else None


async def everybody(conn: Connection) -> list[Stored]:
    """All people by id."""
    return [_stored(row) for row in await conn.fetch(_ROW + " order by staff_id")]


async def lock_register(conn: Connection) -> bool:
    """Let nobody else change the register until the transaction ends; whether it is empty."""
    await conn.execute("lock table gateway.staff in share row exclusive mode")
    return not await conn.fetchval("select exists (select from gateway.staff)")


async def other_operators(conn: Connection, staff_id: str) -> int:
    """How many active operators there are beside this person."""
    number: int = await conn.fetchval(
        "select count(*) from gateway.staff"
        " where status = 'active' and 'operator' = any (roles) and staff_id <> $1",
        staff_id,
    )
    return number


async def add(conn: Connection, person: Registration, by: str | None, now: datetime) -> bool:
    """Store a new person and the leaf; False when the id is taken."""
    done = await conn.fetchval(
        "insert into gateway.staff (staff_id, organisation, roles, jwk, added_by, added_at)"
        " values ($1, $2, $3, $4, $5, $6) on conflict (staff_id) do nothing returning true",
        person.staff_id,
        person.organisation,
        sorted(person.roles),
        orjson.dumps(person.jwk).decode(),
        by,
        now,
    )
    if done:
        record = {
            "staff_id": person.staff_id,
            "organisation": person.organisation,
            "roles": sorted(person.roles),
            "jwk": dict(person.jwk),
        }
        await _note(
            conn, person.staff_id, by or "bootstrap", "added", now, sha256(canonical(record))
        )
    return bool(done)


async def set_status(conn: Connection, staff_id: str, status: str, by: str, now: datetime) -> bool:
    """Disable or enable a person, with the leaf; False when nothing changed."""
    done = await conn.fetchval(
        "update gateway.staff set status = $2 where staff_id = $1 and status <> $2 returning true",
        staff_id,
        status,
    )
    if done:
        await _note(conn, staff_id, by, status, now)
    return bool(done)


async def _note(
    conn: Connection, staff_id: str, by: str, what: str, now: datetime, digest: bytes | None = None
) -> None:
    made = leaf(
        "staff_changed",
        now,
        actor=by,
        staff_id=staff_id,
        status=what,
        payload_sha256=digest.hex() if digest else None,
    )
    await append_leaves(conn, [made])


async def use_assertion(conn: Connection, staff_id: str, mac: bytes, expires: datetime) -> bool:
    """Note an assertion's id; False when it was used before."""
    return bool(await conn.fetchval(_JTI, f"staff/{staff_id}", mac, expires))
