"""Wiring of the directory: its routes for partners and for people, and its background work."""

from zoneinfo import ZoneInfo

import asyncpg
from starlette.routing import Route

from services.gateway.admin.http import Desk
from services.gateway.directory import operations
from services.gateway.directory.admin import DirectoryDesk, directory_admin
from services.gateway.directory.api import DirectoryApi
from services.gateway.http import Surface
from services.kit.crypto import hkdf
from services.kit.entry import Limits
from services.kit.partners import Partners
from services.kit.runtime import Runtime
from services.kit.settings import Settings


def limits_of(settings: Settings) -> Limits:
    """How long the capacity of an entry is good for."""
    return Limits(
        counted=settings.capacity_counted_days,
        open=settings.capacity_open_days,
        closed=settings.capacity_closed_days,
    )


def routes(rt: Runtime, pool: asyncpg.Pool, partners: Partners, surface: Surface) -> list[Route]:
    """Routes under /v1/directory."""
    settings = rt.settings
    api = DirectoryApi(
        pool,
        partners,
        limits_of(settings),
        ZoneInfo(settings.time_zone),
        hkdf(settings.secret("token.key"), b"cursor"),
        rt.clock,
    )
    return [
        surface.route(operations.LIST, api.every),
        surface.route(operations.READ, api.read),
        surface.route(operations.WRITE, api.write),
        surface.route(operations.CAPACITY, api.write_capacity),
        surface.route(operations.PROPOSE, api.propose),
    ]


def admin_routes(rt: Runtime, partners: Partners, desk: Desk) -> list[Route]:
    """Routes under /admin/directory."""
    settings = rt.settings
    zone = ZoneInfo(settings.time_zone)
    return directory_admin(desk, DirectoryDesk(partners, limits_of(settings), zone, rt.clock))
