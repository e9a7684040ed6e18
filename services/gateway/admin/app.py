"""All routes of the gateway on the admin port."""

import asyncpg
from starlette.routing import Route

from services.gateway.admin.cases import Cases, case_routes
from services.gateway.admin.http import Desk
from services.gateway.admin.log import LogDesk, log_routes
from services.gateway.admin.notices import Notices, notice_routes
from services.gateway.admin.partners import Desks, partner_routes
from services.gateway.admin.withdrawals import Withdrawals, withdrawal_routes
from services.gateway.directory.app import admin_routes as directory_routes
from services.gateway.documents.app import admin_routes as document_routes
from services.gateway.http import Surface
from services.gateway.staff.api import Register, staff_routes
from services.gateway.staff.openings import Openings, opening_routes
from services.gateway.staff.session import Sessions, session_routes
from services.gateway.subject.reports import Reports, report_routes
from services.kit.partners import Partners
from services.kit.runtime import Runtime


def admin_routes(
    rt: Runtime, pool: asyncpg.Pool, partners: Partners, surface: Surface
) -> list[Route]:
    """What people reach: sessions, staff, partners, cases, log, openings."""
    sessions = Sessions.of(rt, pool)
    desk = Desk(sessions.member, rt.log)
    openings = Openings(rt, pool)
    return [
        *session_routes(desk, sessions),
        *staff_routes(desk, Register(rt, pool, sessions)),
        *partner_routes(desk, Desks(rt, pool, partners)),
        *case_routes(desk, Cases(rt, pool)),
        *withdrawal_routes(desk, Withdrawals(rt)),
        *log_routes(desk, LogDesk(rt, pool)),
        *opening_routes(desk, openings),
        *report_routes(desk, Reports(rt, pool, partners, openings)),
        *notice_routes(desk, Notices(rt, pool)),
        *directory_routes(rt, partners, desk),
        *document_routes(surface, rt.settings.public_url, desk),
    ]
