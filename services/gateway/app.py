"""Wiring of the gateway: what partners reach, what staff reach, and its background work."""

import asyncio
from functools import cache, partial
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sdk.egress import private_networks
from services.gateway.admin.app import admin_routes
from services.gateway.admin.notices import measure
from services.gateway.answers import Answers
from services.gateway.auth import service as auth
from services.gateway.auth.api import smart_configuration, token_endpoint
from services.gateway.cases import app as cases_app
from services.gateway.consents import app as consents_app
from services.gateway.consents.writing import ConsentWriter
from services.gateway.directory import app as directory
from services.gateway.directory.render import healthcare_service
from services.gateway.directory.watch import watch
from services.gateway.documents import app as documents
from services.gateway.fhir import operations
from services.gateway.fhir import store as fhir_store
from services.gateway.fhir.aborts import Aborts
from services.gateway.fhir.audit import Audit
from services.gateway.fhir.consents import Consents
from services.gateway.fhir.intake import intake_handler
from services.gateway.fhir.metadata import capability_statement
from services.gateway.fhir.people import People
from services.gateway.fhir.reads import KINDS, Directory, Reads
from services.gateway.fhir.render import Frame
from services.gateway.fhir.tasks import Tasks
from services.gateway.hooks import app as hooks_app
from services.gateway.hooks.api import Hooks
from services.gateway.http import Surface, fhir
from services.gateway.indicators import app as indicators
from services.gateway.intake import keys as keying
from services.gateway.intake import sweep
from services.gateway.intake.accept import Accepter
from services.gateway.intake.build import Incoming, Parts
from services.gateway.intake.formats import warm_up
from services.gateway.intake.service import Cell, Intake
from services.gateway.native import app as native_app
from services.gateway.native.erasures import Erasures
from services.gateway.native.intake import intake_routes
from services.gateway.registry.api import registry_routes
from services.gateway.subscriptions import app as subscriptions
from services.gateway.views import Keys as ViewKeys
from services.gateway.views import Views
from services.kit.batcher import Batcher
from services.kit.crypto import hkdf
from services.kit.hookkeys import HookKeys
from services.kit.lead import run_as_leader
from services.kit.partners import Partners
from services.kit.ports.consent import Consent
from services.kit.ports.delivery import Delivery
from services.kit.ports.referral import Referral
from services.kit.ports.vault import Vault
from services.kit.runtime import Runtime, Service

SUBMIT: Final = ("/fhir", "/fhir/")


async def build(rt: Runtime) -> Service:
    """Make the gateway of this process."""
    pool, settings = await rt.pool(), rt.settings
    partners = Partners(pool)
    access = _access(rt, pool, partners)
    surface = Surface(access, rt.log, settings.canonical_base)
    keeper = sweep.Keeper(pool, rt.port(Vault))
    intake = _intake(rt, pool, partners, keeper)
    routes: list[Route] = [
        surface.open_route(operations.TOKEN, token_endpoint(access)),
        *_discovery(rt, surface),
        *(surface.route(operations.submit(path), intake_handler(intake)) for path in SUBMIT),
        *intake_routes(surface, intake),
        *_reads(rt, pool, partners, surface, access),
        *directory.routes(rt, pool, partners, surface),
        *indicators.routes(rt, pool, partners, surface),
        *_subscriptions(rt, pool, surface),
        *documents.routes(surface, settings.public_url),
    ]
    routes += registry_routes(access.require)
    routes.append(surface.rest(list(routes)))

    async def sweeping(_: asyncpg.Connection) -> None:
        while True:
            await sweep.sweep(pool, rt.port(Vault))
            await access.sweep()
            await measure(pool, rt.metrics)
            await asyncio.sleep(sweep.SWEEP_SECONDS)

    async def watching(_: asyncpg.Connection) -> None:
        await watch(rt, pool, directory.limits_of(settings))

    async def ping() -> None:
        await partners.all()

    return Service(
        name="gateway",
        public=routes,
        admin=admin_routes(rt, pool, partners, surface),
        loops=[
            keeper.run,
            partial(run_as_leader, rt, "gateway-sweep", sweeping),
            partial(run_as_leader, rt, "gateway-directory", watching),
        ],
        pings={"partners": ping},
    )


def _access(rt: Runtime, pool: asyncpg.Pool, partners: Partners) -> auth.Access:
    settings = rt.settings
    return auth.Access(
        pool,
        partners,
        auth.Keys(token=settings.secret("token.key"), index=settings.secret("index.key")),
        token_url=f"{settings.public_url}/oauth/token",
        zone=ZoneInfo(settings.time_zone),
        requests_per_minute=settings.partner_requests_per_minute,
        clock=rt.clock,
        window_ms=settings.window_ms,
    )


def _intake(rt: Runtime, pool: asyncpg.Pool, partners: Partners, keeper: sweep.Keeper) -> Intake:
    settings = rt.settings
    warm_up()
    keys = keying.Keys(settings.secret("index.key"), settings.secret("digest.key"))
    parts = Parts(
        keys=keys,
        alias_key=settings.secret("alias.key"),
        cell=settings.cell,
        country=settings.country,
    )
    accepter = Accepter(pool, rt.port(Vault), rt.port(Consent), parts, keeper.wake)
    accepting: Batcher[Incoming, bytes] = Batcher(
        accepter.handle, settings.window_ms, retry_singly=False
    )

    async def referral_of(org: str, kind: str, name: str) -> UUID | None:
        try:
            alias = UUID(name)
        except ValueError:
            return None
        async with pool.acquire() as conn:
            found = (await fhir_store.find(conn, [(org, kind, alias)]))[0]
        return None if found is None else found.referral_ref

    return Intake(
        pool,
        partners,
        accepting,
        keys,
        Cell(
            name=settings.cell,
            time_zone=settings.time_zone,
            canonical_base=settings.canonical_base,
        ),
        examining=accepter.examine,
        referral_of=referral_of,
        clock=rt.clock,
        metrics=rt.metrics,
        window_ms=settings.window_ms,
    )


def _discovery(rt: Runtime, surface: Surface) -> list[Route]:
    """What anyone may read."""
    public, base = rt.settings.public_url, rt.settings.canonical_base

    @cache
    def metadata() -> bytes:
        return orjson.dumps(capability_statement(public, base, surface.operations))

    async def statement(_: Request) -> Response:
        return fhir(metadata())

    async def smart(_: Request) -> Response:
        return fhir(smart_configuration(public))

    return [
        surface.open_route(operations.METADATA, statement),
        surface.open_route(operations.SMART, smart),
    ]


def _subscriptions(rt: Runtime, pool: asyncpg.Pool, surface: Surface) -> list[Route]:
    """Subscription."""
    settings = rt.settings
    handlers = subscriptions.Subscriptions(
        pool,
        public_url=settings.public_url,
        base=settings.canonical_base,
        private=private_networks(settings.egress_private_networks),
        index_key=settings.secret("index.key"),
        alias_key=settings.secret("alias.key"),
        cursor_key=hkdf(settings.secret("token.key"), b"cursor"),
        clock=rt.clock,
    )
    return subscriptions.routes(surface, handlers)


def _reads(
    rt: Runtime, pool: asyncpg.Pool, partners: Partners, surface: Surface, access: auth.Access
) -> list[Route]:
    """Task, content, consent and directory."""
    settings, referral, consent = rt.settings, rt.port(Referral), rt.port(Consent)
    alias_key, index_key = settings.secret("alias.key"), settings.secret("index.key")
    cursor_key = hkdf(settings.secret("token.key"), b"cursor")
    keys = ViewKeys(alias=alias_key, index=index_key, cursor=cursor_key)
    frame = Frame(
        base=settings.canonical_base,
        zone=ZoneInfo(settings.time_zone),
        alias_key=alias_key,
        partner=lambda _: None,
    )
    views = Views(pool, partners, referral, keys, frame, settings.window_ms)
    answers = Answers(referral, index_key)
    content_keys = keying.Keys(index_key, settings.secret("digest.key"))
    tasks = Tasks(views, referral, answers, content_keys, settings.public_url)
    content = Reads(views, consent, rt.port(Delivery))
    listed = Directory(
        partners,
        settings.canonical_base,
        settings.public_url,
        lambda entry, lang: healthcare_service(
            settings.canonical_base, entry, lang, rt.clock(), directory.limits_of(settings)
        ),
        cursor_key,
    )
    aborts = Aborts(views, answers, content_keys, settings.public_url)
    people = People(pool, rt.port(Vault), settings.public_url)
    audit = Audit(views, referral, public_url=settings.public_url, cell=settings.cell)
    erasures = Erasures(views, rt.port(Delivery), frame.zone)
    hook_keys = HookKeys(settings.secrets_dir)
    hooks = Hooks(access, views, answers, erasures, hook_keys, content_keys, rt.clock)
    return [
        *native_app.routes(
            surface, views, referral, rt.port(Delivery), answers, content_keys, frame.zone
        ),
        *hooks_app.routes(surface, hooks),
        *_cases(rt, views, content_keys, surface),
        *_consents(rt, views, partners, surface),
        surface.route(operations.PATIENT_SEARCH, people.search),
        surface.route(operations.PATIENT_BY_URL, people.refuse),
        surface.route(operations.AUDIT_SEARCH, audit.search),
        surface.route(operations.read("AuditEvent"), audit.read),
        surface.route(operations.TASK_SEARCH, tasks.search),
        surface.route(operations.TASK_CREATE, aborts.create),
        surface.route(operations.TASK_SEARCH_BY_FORM, tasks.search_by_form),
        surface.route(operations.read("Task"), aborts.reading(tasks.read)),
        surface.route(operations.PATCH_TASK, tasks.patch),
        surface.route(operations.PUT_TASK, tasks.put),
        *(surface.route(operations.read(name), content.of(name)) for name in KINDS),
        surface.route(operations.directory("Organization"), listed.organizations),
        surface.route(operations.read("Organization"), listed.organization),
        surface.route(
            operations.directory("HealthcareService", operations.ORGANIZATION), listed.services
        ),
        surface.route(operations.read("HealthcareService"), listed.service),
    ]


def _cases(rt: Runtime, views: Views, keys: keying.Keys, surface: Surface) -> list[Route]:
    """Cases and what is put right in them."""
    vault, consent, zone = rt.port(Vault), rt.port(Consent), rt.settings.time_zone
    return cases_app.routes(surface, views, keys, vault, consent, time_zone=zone, clock=rt.clock)


def _consents(rt: Runtime, views: Views, partners: Partners, surface: Surface) -> list[Route]:
    """Consents by FHIR and natively, written by one code."""
    settings, consent = rt.settings, rt.port(Consent)
    keys = keying.Keys(settings.secret("index.key"), settings.secret("digest.key"))
    writer = ConsentWriter(views.pool, consent, partners, keys, cell=settings.cell, clock=rt.clock)
    zone, clock = settings.time_zone, rt.clock
    by_fhir = Consents(views, consent, writer, time_zone=zone, clock=clock)
    return [
        *consents_app.routes(surface, views, writer, time_zone=zone, clock=clock),
        surface.route(operations.PATCH_CONSENT, by_fhir.patch),
        surface.route(operations.PUT_CONSENT, by_fhir.put),
    ]
