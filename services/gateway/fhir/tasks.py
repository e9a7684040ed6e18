"""Task: read, search, and the answers of both parties (`wire.md` §5).

It guards that a party sees its own referrals alone, that an answer is decided at once by the state
machine, and that a stale reader changes nothing. Rendering is `render`'s, the rules are in tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlencode
from uuid import UUID, uuid4

import asyncpg
from starlette.responses import Response

from connectors.fhir_r4.status import Answer, Step, commands_for, read_answer
from connectors.sdk.faults import Faults
from connectors.sdk.strict import parse_strict
from services.gateway.fhir import render, store, writing
from services.gateway.fhir.search import make_cursor, read_search
from services.gateway.http import PATCH_TYPES, Call, fhir
from services.kit.batcher import Batcher
from services.kit.crypto import hmac_sha256, uuid4_from
from services.kit.errors import Language, Refused, language
from services.kit.partners import Partners
from services.kit.ports.referral import Command, Referral, ReferralState

REFUSALS: Final = {
    "not-found": ("not-found", "resource"),
    "version-conflict": ("conflict", "version"),
    "not-your-command": ("illegal-transition", "not-yours"),
    "illegal-transition": ("illegal-transition", "from-state"),
    "reason-required": ("reason-required", "status-reason"),
    "outcome-required": ("outcome-required", "output"),
    "consent-not-valid": ("suppressed", "consent"),
}
"""Rule of the state machine → row of the refusal catalogue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """Secrets of this part."""

    alias: bytes
    index: bytes
    cursor: bytes


class Views:
    """Finds what an id means to a caller and makes the frame of its view."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        partners: Partners,
        referral: Referral,
        keys: Keys,
        frame: render.Frame,
    ) -> None:
        self.pool = pool
        self.keys = keys
        self._partners = partners
        self._referral = referral
        self._frame = frame
        self._targets: Batcher[store.Name, store.Target | None] = Batcher(self._find, 0)

    async def _find(self, names: Sequence[store.Name]) -> list[store.Target | None]:
        async with self.pool.acquire() as conn:
            return await store.find(conn, names)

    async def target(self, call: Call, kind: str) -> store.Target:
        """What the id in the path is to the caller; 404 when it is nothing to it."""
        try:
            alias = UUID(call.request.path_params["id"])
        except ValueError:
            raise Refused.of("not-found", "resource") from None
        found = await self._targets((call.org, kind, alias))
        if found is None:
            raise Refused.of("not-found", "resource")
        return found

    async def frame(self) -> render.Frame:
        """The frame with the registry of now."""
        known = await self._partners.all()
        return render.Frame(
            base=self._frame.base,
            zone=self._frame.zone,
            alias_key=self._frame.alias_key,
            partner=known.get,
        )

    async def view(self, call: Call, target: store.Target) -> render.View:
        """The caller's view of a referral as it stands; accepted a moment ago, it reads as sent."""
        state = (await self._referral.read([target.referral_ref]))[0]
        if state is None and call.org != target.from_org:
            raise Refused.of("not-found", "resource")
        return render.View(
            frame=await self.frame(),
            org=call.org,
            state=state or _accepted(target),
            subject_ref=target.subject_ref,
        )


def _accepted(target: store.Target) -> ReferralState:
    """A referral whose events are still on their way to the state machine: version 0."""
    return ReferralState(
        referral_ref=target.referral_ref,
        case_ref=target.case_ref,
        from_org=target.from_org,
        to_org=target.to_org,
        status="sent",
        version=0,
        purpose="",
        service_type=None,
        priority=None,
        special_requirements=(),
        data_categories=(),
        consent_ref=target.consent_ref,
        vault_version=0,
        directory_entry=None,
        response_due=None,
        reason_code=None,
        outcome=None,
        appointment_outcome=None,
        created_at=target.accepted_at,
        updated_at=target.accepted_at,
    )


def lang_of(call: Call) -> Language:
    """The reader's language."""
    return language(call.request.headers.get("accept-language"))


class Tasks:
    """Handlers of `/fhir/Task`."""

    def __init__(self, views: Views, referral: Referral, public_url: str) -> None:
        self._views = views
        self._referral = referral
        self._url = f"{public_url}/fhir/Task"

    async def read(self, call: Call) -> Response:
        """`GET /fhir/Task/{id}`."""
        view = await self._views.view(call, await self._views.target(call, "task"))
        tag = render.etag(view.state.version)
        if call.request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return self._shown(call, view)

    def _shown(self, call: Call, view: render.View) -> Response:
        body = render.task(view, lang_of(call))
        return fhir(body, headers={"etag": render.etag(view.state.version)})

    async def search(self, call: Call) -> Response:
        """`GET /fhir/Task`."""
        items = call.request.query_params.multi_items()
        wanted = read_search(items, call.org, self._views.keys.cursor)
        states = (await self._referral.find([wanted.query]))[0]
        async with self._views.pool.acquire() as conn:
            subjects = await store.subjects(conn, [s.referral_ref for s in states])
        frame = await self._views.frame()
        views = [
            render.View(frame=frame, org=call.org, state=s, subject_ref=subjects[s.referral_ref])
            for s in states
            if s.referral_ref in subjects
        ]
        found = [
            render.task(view, lang_of(call))
            for view in views
            if wanted.owner in (None, view.state.to_org) and wanted.requester in (None, view.source)
        ]
        return fhir(render.searchset(found, self._link(items), self._next(call, items, states)))

    def _link(self, items: Sequence[tuple[str, str]]) -> str:
        return f"{self._url}?{urlencode(items)}" if items else self._url

    def _next(
        self, call: Call, items: Sequence[tuple[str, str]], states: Sequence[ReferralState]
    ) -> str | None:
        """A link to what follows a full page."""
        limit = read_search(items, call.org, self._views.keys.cursor).query.limit
        if len(states) < limit:
            return None
        last = (states[-1].updated_at, states[-1].referral_ref)
        cursor = make_cursor(last, call.org, self._views.keys.cursor)
        kept = [(name, value) for name, value in items if name != "_cursor"]
        return self._link([*kept, ("_cursor", cursor)])

    async def patch(self, call: Call) -> Response:
        """`PATCH /fhir/Task/{id}`: JSON Patch of the answering elements."""
        target, view, version = await self._writable(call)
        raw = await call.body(PATCH_TYPES)
        written = writing.patched_task(raw, render.task(view, lang_of(call)))
        return await self._answer(call, target, view, version, written)

    async def put(self, call: Call) -> Response:
        """`PUT /fhir/Task/{id}`: the whole Task, changed in the answering elements alone."""
        target, view, version = await self._writable(call)
        document = parse_strict(await call.body())
        written = writing.put_task(document, render.task(view, lang_of(call)))
        return await self._answer(call, target, view, version, written)

    async def _writable(self, call: Call) -> tuple[store.Target, render.View, int]:
        target = await self._views.target(call, "task")
        version = writing.expected_version(call.request.headers.get("if-match"))
        view = await self._views.view(call, target)
        if view.state.version == 0:
            raise Refused.of("transient", "unavailable", retry_after=1)
        return target, view, version

    async def _answer(
        self,
        call: Call,
        target: store.Target,
        view: render.View,
        version: int,
        written: dict[str, Any],
    ) -> Response:
        answer = read_answer(written, view.frame.base)
        by = "sender" if view.is_source else "recipient"
        state = view.state
        if version != state.version:
            if self._is_repeat(call, by, answer, state):
                return self._shown(call, view)
            raise Refused.of("conflict", "version")
        steps = commands_for(cast("Any", by), answer, state.status)
        if not steps:
            return self._shown(call, view)
        commands = self._commands(call, state, steps, by)
        applied = (await self._referral.apply([commands]))[0]
        if applied.rule is not None:
            raise Refused.of(*REFUSALS.get(applied.rule, REFUSALS["illegal-transition"]))
        return self._shown(call, await self._views.view(call, target))

    def _is_repeat(self, call: Call, by: str, answer: Answer, state: ReferralState) -> bool:
        """Whether a keyed answer has been given before, so that its version has moved on."""
        if "idempotency-key" not in call.request.headers:
            return False
        try:
            return not commands_for(cast("Any", by), answer, state.status)
        except Faults:
            return False

    def _commands(
        self, call: Call, state: ReferralState, steps: Sequence[Step], by: str
    ) -> list[Command]:
        """The steps as commands; under an Idempotency-Key a repeat has the same ids."""
        key = call.request.headers.get("idempotency-key") or str(uuid4())
        parts = (b"command", call.org.encode(), state.referral_ref.bytes, key.encode())
        return [
            Command(
                command_id=uuid4_from(
                    hmac_sha256(self._views.keys.index, *parts, str(place).encode())
                ),
                referral_ref=state.referral_ref,
                command=step.command,
                actor_org=call.org,
                actor_role=by,
                expected_version=state.version if place == 0 else None,
                reason_code=step.reason_code,
                outcome=step.outcome,
                appointment_outcome=step.appointment_outcome,
                synthesised=step.synthesised,
            )
            for place, step in enumerate(steps)
        ]
