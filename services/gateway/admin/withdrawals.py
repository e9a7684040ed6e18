"""Taking a consent back at the hub: what a person asks of a protection officer, not of the source.

It guards that one duty is needed, that the whole or all of one recipient's permits end, and that
the leaf names who did it. The withdrawal itself, its event and its requests to erase are those of
any other withdrawal: the consent service's.
"""

from typing import Any, Final
from uuid import uuid4

from starlette.requests import Request
from starlette.routing import Route

from services.gateway.admin.faults import FieldFault
from services.gateway.admin.http import AdminRefused, Desk, json_body, text_of
from services.gateway.consents.domain import ENDS, Part
from services.kit.ports.consent import Consent, ConsentRecord, Withdrawal
from services.kit.runtime import Runtime
from services.kit.staff import StaffMember

FIELDS: Final = frozenset({"status", "to_org"})


class Withdrawals:
    """Withdrawals by the hub's people."""

    def __init__(self, rt: Runtime) -> None:
        self._consent = rt.port(Consent)
        self._cell = rt.settings.cell

    async def withdraw(self, request: Request, member: StaffMember) -> dict[str, Any]:
        """Take back: `{status, to_org?}`; without `to_org` the whole."""
        body = await json_body(request)
        for name in sorted(set(body) - FIELDS):
            raise AdminRefused(422, "request-faulty", [FieldFault(name, "unknown")])
        status = text_of(body, "status")
        if status not in ENDS:
            raise AdminRefused(422, "request-faulty", [FieldFault("status", "code")])
        ref = request.path_params["consent_ref"]
        (record,) = await self._consent.read([ref])
        if record is None:
            raise AdminRefused(404, "consent-unknown")
        asked = Withdrawal(
            command_id=uuid4(),
            consent_ref=ref,
            by_org=self._cell,
            status=status,
            items=_permits(record, text_of(body, "to_org")) if "to_org" in body else (),
            staff_id=member.staff_id,
        )
        (done,) = await self._consent.withdraw([asked])
        if done.already or done.effective_at is None:
            raise AdminRefused(409, "consent-over")
        return {
            "consent_ref": str(ref),
            "status": status,
            "version": done.version,
            "effective_at": done.effective_at.isoformat(),
        }


def _permits(record: ConsentRecord, org: str) -> tuple[Part, ...]:
    """All that is permitted to one recipient."""
    found = tuple(
        (org, rule.purpose or "", tuple(rule.data_categories))
        for rule in record.rules
        if rule.decision == "permit" and rule.to_org == org
    )
    if not found:
        raise AdminRefused(409, "consent-over")
    return found


def withdrawal_routes(desk: Desk, withdrawals: Withdrawals) -> list[Route]:
    """The route that takes a consent back."""
    path = "/admin/consents/{consent_ref:uuid}/withdrawal"
    return [desk.route("POST", path, "consent.withdraw", withdrawals.withdraw)]
