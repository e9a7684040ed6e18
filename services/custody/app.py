"""Custody: puts the leaves of all effects in order, signs checkpoints, answers for them.

It guards that only one leader sequences and signs, that a checkpoint is signed at the latest after
`checkpoint_seconds` or `checkpoint_leaves`, and only if it continues the one before. Leaves are
written by the services, in the transaction of their effect (`kit.leaf`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import asyncpg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.custody import note, store, tree
from services.kit.crypto import CryptoError
from services.kit.db import transaction
from services.kit.lead import run_as_leader
from services.kit.runtime import Runtime, Service
from services.kit.staff import Duty, read_session, session_key
from services.kit.steps import step

POLL_SECONDS: Final = 1.0
MEASURE_SECONDS: Final = 10.0
Answer = Callable[[Request], Awaitable[Response]]


class Custody:
    """The log of all effects."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self.origin = f"cauce.example/custody/{rt.settings.cell}"
        self._seed = rt.settings.secret("checkpoint.ed25519")
        self.public = rt.settings.secret("checkpoint.pub")

    async def run(self) -> None:
        """Sequence and sign while this process leads."""
        await run_as_leader(self._rt, "custody", self._lead)

    async def _lead(self, conn: asyncpg.Connection) -> None:
        settings = self._rt.settings
        signed_at = self._rt.monotonic()
        while True:
            while await store.sequence(conn) == store.MOST:
                pass
            step("custody.sequenced")
            newest = await store.newest(conn)
            unsigned = await store.size(conn) - (newest[0].size if newest else 0)
            due = self._rt.monotonic() - signed_at >= settings.checkpoint_seconds
            if unsigned and (due or unsigned >= settings.checkpoint_leaves or newest is None):
                await self.sign(conn)
                signed_at = self._rt.monotonic()
            await asyncio.sleep(POLL_SECONDS)

    async def sign(self, conn: asyncpg.Connection) -> str:
        """Sign the tree as it stands; ValueError if it does not continue the last signed one."""
        size = await store.size(conn)
        newest = await store.newest(conn)
        root = await store.root(conn, size)
        if newest is not None and newest[0].size > 0:
            old = newest[0]
            if old.size == size and old.root == root:
                return newest[1]
            if size < old.size or not tree.verify_consistency(
                old.size,
                size,
                await store.proof(conn, tree.consistency_ranges(old.size, size)),
                old.root,
                root,
            ):
                self._rt.log.error("custody-inconsistent", tree_size=size)
                raise ValueError("the tree does not continue the signed one")
        checkpoint = note.Checkpoint(self.origin, size, root)
        text = note.sign(checkpoint, self._seed, self.public)
        await store.keep(conn, checkpoint, text, self._rt.clock())
        step("custody.signed")
        return text

    async def sign_now(self) -> str:
        """Sequence what waits and sign, on request."""
        async with transaction(await self._rt.pool()) as conn:
            await store.sequence(conn)
            return await self.sign(conn)

    async def measure(self) -> None:
        """Bring the gauges of the log up to date."""
        while True:
            async with transaction(await self._rt.pool()) as conn:
                since, size = await store.unsigned_since(conn), await store.size(conn)
            delay = (self._rt.clock() - since).total_seconds() if since else 0.0
            self._rt.metrics.set("cauce_custody_delay_seconds", max(0.0, delay))
            self._rt.metrics.set("cauce_custody_leaves", size)
            await asyncio.sleep(MEASURE_SECONDS)


def routes(rt: Runtime, custody: Custody) -> list[Route]:
    """What the admin port answers about the log, to people whose roles allow it."""
    key = session_key(rt.settings.secret("token.key"))

    def route(method: str, path: str, duty: Duty, answer: Answer) -> Route:
        async def guarded(request: Request) -> Response:
            try:
                member = read_session(key, request.headers.get("authorization"), rt.clock())
            except CryptoError:
                return JSONResponse({"code": "session-required"}, status_code=401)
            if not member.may(duty):
                return JSONResponse({"code": "role-missing"}, status_code=403)
            return await answer(request)

        return Route(path, guarded, methods=[method])

    async def newest(_: Request) -> Response:
        async with transaction(await rt.pool()) as conn:
            found = await store.newest(conn)
        if found is None:
            return JSONResponse({"code": "no-checkpoint"}, status_code=404)
        checkpoint, text, at = found
        return JSONResponse(
            {
                "note": text,
                "size": checkpoint.size,
                "at": at.isoformat(),
                "key": note.verifier_key(custody.origin, custody.public),
            }
        )

    async def sign(_: Request) -> Response:
        text = await custody.sign_now()
        verifier = note.verifier_key(custody.origin, custody.public)
        return JSONResponse({"note": text, "key": verifier})

    async def prove(request: Request) -> Response:
        return await _prove(rt, request.path_params["leaf_ref"])

    async def verify(_: Request) -> Response:
        async with transaction(await rt.pool()) as conn:
            report = await store.verify_all(conn)
        return JSONResponse(
            {"size": report.size, "intact": report.intact, "damaged": list(report.damaged[:100])}
        )

    return [
        route("GET", "/admin/custody/checkpoint", "custody.read", newest),
        route("POST", "/admin/custody/checkpoint", "custody.sign", sign),
        route("GET", "/admin/custody/leaf/{leaf_ref:uuid}", "custody.read", prove),
        route("POST", "/admin/custody/verification", "custody.read", verify),
    ]


async def _prove(rt: Runtime, leaf_ref: UUID) -> Response:
    """Place, content and inclusion proof of a leaf under the newest checkpoint."""
    async with transaction(await rt.pool()) as conn:
        signed, placed = await store.newest(conn), await store.place_of(conn, leaf_ref)
        if signed is None or placed is None or placed[0] >= signed[0].size:
            return JSONResponse({"code": "not-signed-yet"}, status_code=404)
        ranges = tree.inclusion_ranges(placed[0], signed[0].size)
        hashes = await store.proof(conn, ranges)
    row = placed[1]
    return JSONResponse(
        {
            "index": placed[0],
            "body": row["body"].decode(),
            "salt": row["salt"].hex(),
            "proof": [value.hex() for value in hashes],
            "note": signed[1],
        }
    )


async def build(rt: Runtime) -> Service:
    """Wire custody."""
    custody = Custody(rt)
    return Service(name="custody", loops=[custody.run, custody.measure], admin=routes(rt, custody))
