"""Task: read, search, and the answers of both parties (`wire.md` §5).

It guards that a party sees its own referrals alone, that an answer is decided at once by the state
machine, and that a stale reader changes nothing. Rendering is `render`'s, the rules are in tables.
"""

from collections.abc import Callable
from typing import Any, cast

from starlette.responses import Response

from connectors.fhir_r4.status import commands_for, read_answer
from connectors.sdk.strict import parse_strict
from services.gateway.answers import Answers, Once
from services.gateway.fhir import answering, paging, render, store, writing
from services.gateway.fhir.forms import form
from services.gateway.fhir.search import make_cursor, read_search
from services.gateway.http import PATCH_TYPES, Call, fhir
from services.gateway.intake.keys import Keys, content_digest, header_key
from services.gateway.views import Views, lang_of
from services.kit.errors import Refused
from services.kit.ports.referral import Referral


class Tasks:
    """Handlers of `/fhir/Task`."""

    def __init__(
        self, views: Views, referral: Referral, answers: Answers, keys: Keys, public_url: str
    ) -> None:
        self._keys = keys
        self._views = views
        self._answers = answers
        self._referral = referral
        self._url = f"{public_url}/fhir/Task"

    async def read(self, call: Call) -> Response:
        """`GET /fhir/Task/{id}`."""
        return self._shown(
            call, await self._views.view(call, await self._views.target(call, "task"))
        )

    def _shown(self, call: Call, view: render.View) -> Response:
        return answering.resource(call, render.task(view, lang_of(call)))

    async def search(self, call: Call) -> Response:
        """`GET /fhir/Task`."""
        return await self._found(call, call.request.query_params.multi_items())

    async def search_by_form(self, call: Call) -> Response:
        """`POST /fhir/Task/_search`."""
        return await self._found(call, await form(call))

    async def _found(self, call: Call, items: paging.Items) -> Response:
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
        names = await self._views.names()
        shown = paging.without(items, ("owner", "requester"), names.__contains__)
        cursor = None
        if len(states) == wanted.query.limit and len(shown) == len(items):
            last = (states[-1].updated_at, states[-1].referral_ref)
            cursor = make_cursor(last, call.org, self._views.keys.cursor)
        following = paging.next_link(self._url, shown, cursor)
        return fhir(render.searchset(found, paging.link(self._url, shown), following))

    async def patch(self, call: Call) -> Response:
        """`PATCH /fhir/Task/{id}`: JSON Patch of the answering elements."""
        target, view, version = await self._writable(call)
        raw = await call.body(PATCH_TYPES)
        once = self._once(call, lambda: writing.patch_document(raw))
        if await self._is_repeat(call, target, view, version, once):
            return self._shown(call, view)
        written = writing.patched_task(raw, render.task(view, lang_of(call)))
        return await self._answer(call, target, view, written, once)

    async def put(self, call: Call) -> Response:
        """`PUT /fhir/Task/{id}`: the whole Task, changed in the answering elements alone."""
        target, view, version = await self._writable(call)
        document = parse_strict(await call.body())
        once = self._once(call, lambda: document)
        if await self._is_repeat(call, target, view, version, once):
            return self._shown(call, view)
        written = writing.put_task(document, render.task(view, lang_of(call)))
        return await self._answer(call, target, view, written, once)

    async def _writable(self, call: Call) -> tuple[store.Target, render.View, int]:
        target = await self._views.target(call, "task")
        version = writing.expected_version(call.request.headers.get("if-match"))
        view = await self._views.view(call, target)
        if view.state.version == 0:
            raise Refused.of("transient", "unavailable", retry_after=1)
        return target, view, version

    async def _is_repeat(
        self, call: Call, target: store.Target, view: render.View, version: int, once: Once | None
    ) -> bool:
        """Whether this was answered before; Refused when the version is not the one of now."""
        if once is not None and await self._answers.repeated(call.org, target.referral_ref, once):
            return True
        if version != view.state.version:
            raise Refused.of("conflict", "version")
        return False

    async def _answer(
        self,
        call: Call,
        target: store.Target,
        view: render.View,
        written: dict[str, Any],
        once: Once | None,
    ) -> Response:
        answer = read_answer(written, view.frame.base)
        by = "sender" if view.is_source else "recipient"
        state = view.state
        steps = commands_for(cast("Any", by), answer, state.status)
        if not steps:
            return self._shown(call, view)
        await self._answers.give(
            org=call.org,
            role=by,
            state=state,
            steps=steps,
            once=once,
            expected=state.version,
        )
        return self._shown(call, await self._views.view(call, target))

    def _once(self, call: Call, content: Callable[[], dict[str, Any]]) -> Once | None:
        """Under which key the answer counts once; what was sent is its content."""
        key = header_key(call.request.headers.get("idempotency-key"))
        if key is None:
            return None
        return Once(f"fhir {key}", content_digest(self._keys, call.org, content()))
