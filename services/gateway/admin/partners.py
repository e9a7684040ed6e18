"""Partners on the admin port: dry run, propose, activate, suspend.

It guards that two people put a record into force, that the second sees exactly what will be, that
suspending needs one person and is at once, and that each step has its leaf.
"""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
from starlette.requests import Request
from starlette.routing import Route

from connectors.registry import manifests
from services.gateway.admin.http import AdminRefused, Desk, json_body, text_of
from services.gateway.partners.domain import Known, PartnerTable, proposed_view, read_file
from services.gateway.partners.domain import record_of as make_record
from services.kit.canonical import canonical
from services.kit.crypto import sha256
from services.kit.db import transaction
from services.kit.leaf import append_leaves, leaf
from services.kit.partners import Partners
from services.kit.runtime import Runtime
from services.kit.staff import StaffMember


class Desks:
    """The registry of partners for the people who keep it."""

    def __init__(self, rt: Runtime, pool: asyncpg.Pool, partners: Partners) -> None:
        self._rt = rt
        self._pool = pool
        self._partners = partners

    async def every(self, _: Request, __: StaffMember) -> dict[str, Any]:
        """Every partner in a line."""
        rows = await self._pool.fetch("select * from gateway.partner order by org")
        return {"partners": [_line(row) for row in rows]}

    async def show(self, request: Request, _: StaffMember) -> dict[str, Any]:
        """The record in force and the one that waits for the second person."""
        row = await self._row(self._pool, request.path_params["org"])
        shown = _line(row)
        for name in ("record", "pending"):
            if row[name] is not None:
                shown[name] = proposed_view(orjson.loads(row[name]))
        if row["pending"] is not None:
            shown["pending_digest"] = digest_of(orjson.loads(row["pending"]))
        return shown

    async def propose(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """Take `{toml, jwks?, dry_run?}`; a dry run only answers the faults."""
        body = await json_body(request)
        dry = body.get("dry_run") is True
        read = read_file(text_of(body, "toml"), body.get("jwks"), await self._known())
        if read.table is None:
            raise AdminRefused(422, "partner-faulty", read.faults)
        if dry:
            return {"org": read.table.org, "dry_run": True, "faults": []}
        return await self._propose(read.table, member)

    async def _propose(self, table: PartnerTable, member: StaffMember) -> dict[str, Any]:
        async with transaction(self._pool) as conn:
            await conn.execute("select pg_advisory_xact_lock(hashtext('gateway.partner'))")
            row = await conn.fetchrow(
                "select record, pending from gateway.partner where org = $1", table.org
            )
            record = make_record(table, _entry_refs(row), uuid4)
            await conn.execute(
                "insert into gateway.partner (org, pending, proposed_by) values ($1, $2, $3)"
                " on conflict (org) do update set pending = $2, proposed_by = $3",
                table.org,
                orjson.dumps(record).decode(),
                member.staff_id,
            )
            await self._note(conn, table.org, member, "proposed", record)
        return {"org": table.org, "status": "proposed", "pending_digest": digest_of(record)}

    async def activate(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """Put the pending record in force: another person, who names its digest."""
        digest, org = text_of(await json_body(request), "pending_digest"), _org(request)
        async with transaction(self._pool) as conn:
            row = await self._row(conn, org, lock=True)
            if row["pending"] is None:
                raise AdminRefused(409, "nothing-pending")
            record = orjson.loads(row["pending"])
            if digest != digest_of(record):
                raise AdminRefused(409, "pending-changed")
            if row["proposed_by"] == member.staff_id:
                raise AdminRefused(403, "same-person")
            version = row["version"] + 1
            await conn.execute(
                "update gateway.partner set record = pending, pending = null, version = $2,"
                " activated_by = $3 where org = $1",
                org,
                version,
                member.staff_id,
            )
            people = [row["proposed_by"], member.staff_id]
            await self._note(conn, org, member, "activated", record, version, people)
        self._partners.forget()
        return {"org": org, "status": "active", "version": version}

    async def suspend(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """Let nothing in or out from now on; coming back takes two people again."""
        org = _org(request)
        async with transaction(self._pool) as conn:
            row = await self._row(conn, org, lock=True)
            if row["record"] is None:
                raise AdminRefused(409, "never-active")
            record = {**orjson.loads(row["record"]), "status": "suspended"}
            version = row["version"] + 1
            await conn.execute(
                "update gateway.partner set record = $2, version = $3 where org = $1",
                org,
                orjson.dumps(record).decode(),
                version,
            )
            await self._note(conn, org, member, "suspended", record, version)
        self._partners.forget()
        return {"org": org, "status": "suspended", "version": version}

    async def _known(self) -> Known:
        rows = await self._pool.fetch(
            "select p.org, e ->> 'id' as id from gateway.partner p,"
            " jsonb_array_elements(coalesce(p.pending, p.record) -> 'services') e"
            " union select p.org, e ->> 'id' from gateway.partner p,"
            " jsonb_array_elements(p.record -> 'services') e where p.record is not null"
        )
        return Known(
            manifests=manifests(),
            private_networks=self._rt.settings.egress_private_networks,
            entry_ids={row["id"]: row["org"] for row in rows},
        )

    async def _row(self, conn: Any, org: str, *, lock: bool = False) -> asyncpg.Record:
        row = await conn.fetchrow(
            f"select * from gateway.partner where org = $1{' for update' if lock else ''}",  # noqa: S608 -- our own words
            org,
        )
        if row is None:
            raise AdminRefused(404, "partner-unknown")
        found: asyncpg.Record = row
        return found

    async def _note(
        self,
        conn: Any,
        org: str,
        member: StaffMember,
        what: str,
        record: dict[str, Any],
        version: int | None = None,
        approvers: list[str] | None = None,
    ) -> None:
        made = leaf(
            "partner_changed",
            self._rt.clock(),
            actor=member.staff_id,
            org=org,
            status=what,
            version=version,
            approvers=approvers,
            payload_sha256=digest_of(record),
        )
        await append_leaves(conn, [made])


def digest_of(record: dict[str, Any]) -> str:
    """By which two people know that they mean the same record."""
    return sha256(canonical(record)).hex()


def _org(request: Request) -> str:
    return str(request.path_params["org"])


def _entry_refs(row: asyncpg.Record | None) -> dict[str, UUID]:
    """References that the entries of this partner have already."""
    known: dict[str, UUID] = {}
    for name in ("pending", "record"):
        if row is not None and row[name] is not None:
            known |= {e["id"]: UUID(e["entry_ref"]) for e in orjson.loads(row[name])["services"]}
    return known


def _line(row: asyncpg.Record) -> dict[str, Any]:
    record = orjson.loads(row["record"] or row["pending"])
    return {
        "org": row["org"],
        "name": record["name"],
        "org_type": record["org_type"],
        "roles": record["roles"],
        "status": record["status"] if row["record"] else "proposed",
        "version": row["version"],
        "pending": row["pending"] is not None,
        "proposed_by": row["proposed_by"],
        "activated_by": row["activated_by"],
    }


def partner_routes(desk: Desk, desks: Desks) -> list[Route]:
    """Routes under /admin/partners."""
    one = "/admin/partners/{org}"
    return [
        desk.route("GET", "/admin/partners", "partner.read", desks.every),
        desk.route("POST", "/admin/partners", "partner.change", desks.propose),
        desk.route("GET", one, "partner.read", desks.show),
        desk.route("POST", f"{one}/activation", "partner.change", desks.activate),
        desk.route("POST", f"{one}/suspension", "partner.change", desks.suspend),
    ]
