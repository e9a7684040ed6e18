"""An access report on the admin port: what a person may know of what is held on them, once.

It guards that the opening was approved for this and for this case, that its leaf and the notice due
are committed before the vault shows anything, and that the report is in the answer to the asker
alone: not in a table, a log or a URL. What is in the report is `document`'s.
"""

import base64
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import orjson
from starlette.requests import Request
from starlette.routing import Route

from services.gateway.admin.faults import FieldFault
from services.gateway.admin.http import AdminRefused, Desk, json_body, text_of, uuid_of
from services.gateway.admin.timeline import CaseLeaf
from services.gateway.staff.domain import SUBJECT_ACCESS
from services.gateway.staff.openings import Openings
from services.gateway.subject.document import Gathered, Opened, document
from services.gateway.subject.folder import folder
from services.gateway.subject.wording import LANGUAGES, Wording
from services.kit.partners import Partners
from services.kit.ports.consent import Consent
from services.kit.ports.referral import Referral, ReferralState
from services.kit.ports.vault import CopyResult, OpeningRequest, Vault
from services.kit.runtime import Runtime
from services.kit.staff import StaffMember

MOST: Final = 64
"""Referrals asked of their service at once."""
FIELDS: Final = frozenset({"case_ref", "language", "opening_ref"})
_NEWEST: Final = """
select opening_ref, case_ref from gateway.opening
 where case_ref = $1 and requested_by = $2 and reason_code = $3
 order by requested_at desc limit 1"""
_NAMED: Final = """
select opening_ref, case_ref from gateway.opening where opening_ref = $1 and requested_by = $2"""
_CASE: Final = "select org, status, opened_at from gateway.case_file where case_ref = $1"
_REFERRALS: Final = """
select referral_ref from gateway.referral where case_ref = $1 order by accepted_at"""
_OPENED: Final = """
select o.reason_code, o.requested_org, o.approved_org, l.at
  from gateway.opening o join custody.of_case(o.case_ref) l on l.leaf_ref = o.leaf_ref
 where o.case_ref = $1 order by l.at"""


class Reports:
    """Makes access reports."""

    def __init__(
        self, rt: Runtime, pool: asyncpg.Pool, partners: Partners, openings: Openings
    ) -> None:
        self._rt = rt
        self._pool = pool
        self._partners = partners
        self._openings = openings
        self._seed = rt.settings.secret("report.ed25519")

    async def make(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """Make one: `{case_ref, language, opening_ref?}`; by default the asker's newest opening."""
        body = await json_body(request)
        for name in sorted(set(body) - FIELDS):
            raise AdminRefused(422, "request-faulty", [FieldFault(name, "unknown")])
        case_ref, lang = uuid_of(body, "case_ref"), text_of(body, "language")
        if lang not in LANGUAGES:
            raise AdminRefused(422, "request-faulty", [FieldFault("language", "code")])
        named = uuid_of(body, "opening_ref") if "opening_ref" in body else None
        ref = await self._opening(case_ref, named, member)
        opening = await self._openings.begin(ref, member, "report")
        wording = Wording(lang=lang, zone=ZoneInfo(self._rt.settings.time_zone))
        report = document(await self._gathered(opening), wording)
        made = folder(report, self._seed, wording)
        return {
            "opening_ref": str(opening.opening_ref),
            "leaf_ref": str(opening.leaf_ref),
            "language": lang,
            "key_sha256": made.key_sha256,
            "other_cases": report["other_cases"],
            "files": {name: base64.b64encode(raw).decode() for name, raw in made.files.items()},
        }

    async def _opening(self, case_ref: UUID, named: UUID | None, member: StaffMember) -> UUID:
        if not await self._pool.fetchrow(_CASE, case_ref):
            raise AdminRefused(404, "case-unknown")
        who = member.staff_id
        if named is None:
            row = await self._pool.fetchrow(_NEWEST, case_ref, who, SUBJECT_ACCESS)
        else:
            row = await self._pool.fetchrow(_NAMED, named, who)
        if row is None:
            raise AdminRefused(*((404, "opening-unknown") if named else (409, "opening-needed")))
        if row["case_ref"] != case_ref:
            raise AdminRefused(409, "opening-other-case")
        ref: UUID = row["opening_ref"]
        return ref

    async def _gathered(self, opening: OpeningRequest) -> Gathered:
        """Everything of the case; the vault is asked last, since it answers once."""
        case_ref = opening.case_ref
        async with self._pool.acquire() as conn:
            (case,) = await conn.fetch(_CASE, case_ref)
            leaves = await conn.fetch("select * from custody.of_case($1)", case_ref)
            opened = await conn.fetch(_OPENED, case_ref)
        (history,) = await self._rt.port(Consent).history([case_ref])
        states, names = await self._states(case_ref), await self._names()
        copied = await self._copied(opening)
        return Gathered(
            report_ref=opening.opening_ref,
            leaf_ref=opening.leaf_ref,
            made_at=self._rt.clock(),
            cell=self._rt.settings.cell,
            sender=case["org"],
            opened_at=case["opened_at"],
            status=case["status"],
            names=names,
            versions=copied.versions,
            other_cases=copied.other_cases,
            leaves=[_leaf(row) for row in leaves],
            consents=history.records,
            states=states,
            openings=[
                Opened(
                    at=row["at"],
                    reason_code=row["reason_code"],
                    orgs=(row["requested_org"], row["approved_org"]),
                )
                for row in opened
            ],
        )

    async def _states(self, case_ref: UUID) -> dict[UUID, ReferralState]:
        refs = [row["referral_ref"] for row in await self._pool.fetch(_REFERRALS, case_ref)]
        port = self._rt.port(Referral)
        found: list[ReferralState | None] = []
        for start in range(0, len(refs), MOST):
            found += await port.read(refs[start : start + MOST])
        return {state.referral_ref: state for state in found if state is not None}

    async def _names(self) -> dict[str, str]:
        return {org: one.name for org, one in (await self._partners.all()).items()}

    async def _copied(self, opening: OpeningRequest) -> CopyResult:
        (result,) = await self._rt.port(Vault).copy([opening])
        if not result.versions:
            raise AdminRefused(409, result.rule)
        return result


def _leaf(row: asyncpg.Record) -> CaseLeaf:
    return CaseLeaf(
        leaf_ref=row["leaf_ref"],
        kind=row["kind"],
        at=row["at"],
        body=orjson.loads(row["body"]) if row["body"] else {},
        position=row["position"],
        signed=row["signed"],
    )


def report_routes(desk: Desk, reports: Reports) -> list[Route]:
    """The route that makes a report."""
    return [desk.route("POST", "/admin/access-reports", "opening.request", reports.make)]
