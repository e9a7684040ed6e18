"""Sessions of people: an assertion signed with their own key for a token of five minutes.

It guards that an assertion is used once, that unknown people, disabled people and wrong signatures
look alike from outside, and that a session ends at once when its person is disabled.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
from starlette.requests import Request
from starlette.routing import Route

from services.gateway.admin.http import AdminRefused, Desk, json_body, text_of
from services.gateway.staff import store
from services.gateway.staff.domain import ASSERTION_SECONDS, LEEWAY_SECONDS, assertion_fault
from services.kit.crypto import CryptoError, hmac_sha256, verify_client_assertion
from services.kit.logs import Log
from services.kit.runtime import Runtime
from services.kit.staff import SESSION_SECONDS, StaffMember, audience, issue_session, read_session
from services.kit.staff import session_key as key_of_sessions

_KEPT: Final = timedelta(seconds=ASSERTION_SECONDS + 2 * LEEWAY_SECONDS)


class Sessions:
    """Opens sessions and says whose a session is."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        cell: str,
        token_key: bytes,
        digest_key: bytes,
        clock: Callable[[], datetime],
        log: Log,
    ) -> None:
        self._pool = pool
        self._audience = audience(cell)
        self._key = key_of_sessions(token_key)
        self._digest_key = digest_key
        self._clock = clock
        self._log = log

    @classmethod
    def of(cls, rt: Runtime, pool: asyncpg.Pool) -> "Sessions":
        """With the secrets of the installation."""
        return cls(
            pool,
            cell=rt.settings.cell,
            token_key=rt.settings.secret("token.key"),
            digest_key=rt.settings.secret("digest.key"),
            clock=rt.clock,
            log=rt.log,
        )

    async def member(self, authorization: str | None) -> StaffMember:
        """The person of a session, as the register knows them now."""
        try:
            claimed = read_session(self._key, authorization, self._clock())
        except CryptoError as error:
            code = "session-expired" if error.rule == "expired" else "session-missing"
            raise AdminRefused(401, code) from None
        found = await store.find(self._pool, claimed.staff_id)
        if found is None or found.status != "active":
            raise AdminRefused(401, "session-ended")
        return found.member

    async def open(self, request: Request) -> dict[str, Any]:
        """`POST /admin/session`: `{staff_id, assertion}` for `{token, expires_in}`."""
        body = await json_body(request)
        staff_id, assertion = text_of(body, "staff_id"), text_of(body, "assertion")
        try:
            found = await store.find(self._pool, staff_id)
            if found is None or found.status != "active":
                raise CryptoError("unknown")
            _, claims = verify_client_assertion(assertion, {"keys": [dict(found.jwk)]})
            rule = assertion_fault(claims, staff_id, self._audience, self._clock())
            if rule is not None or not await self._unused(staff_id, claims):
                raise CryptoError(rule or "replayed")
        except CryptoError as error:
            self._log.warning("session-refused", rule=error.rule)
            raise AdminRefused(401, "assertion-refused") from None
        token = issue_session(self._key, found.member, self._clock())
        return {"token": token, "expires_in": SESSION_SECONDS}

    async def _unused(self, staff_id: str, claims: dict[str, Any]) -> bool:
        mac = hmac_sha256(self._digest_key, b"jti", staff_id.encode(), str(claims["jti"]).encode())
        expires = datetime.fromtimestamp(claims["exp"], UTC) + _KEPT
        return await store.use_assertion(self._pool, staff_id, mac, expires)


def session_routes(desk: Desk, sessions: Sessions) -> list[Route]:
    """The one route that needs no session."""
    return [desk.open_route("POST", "/admin/session", sessions.open)]
