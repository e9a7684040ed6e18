"""Who calls: the token endpoint's decision and the check of every request.

It guards that a token is given once per assertion, that each request asks again whether the partner
is active, and that nobody takes more requests than agreed (counted in PostgreSQL, fetched in small
lots). HTTP shapes are left to `api` and `fhir`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import asyncpg

from services.gateway.auth import domain, store
from services.kit import crypto
from services.kit.batcher import Batcher
from services.kit.errors import Refused
from services.kit.partners import Partner, Partners

AUDIENCE: Final = "cauce"
LOT: Final = 50
_REMEMBERED: Final = 2048


@dataclass(frozen=True, slots=True)
class Caller:
    """The partner behind a request and what its token allows."""

    partner: Partner
    scope: str

    def require(self, resource: str, letter: str) -> None:
        """Refuse unless the token covers this interaction."""
        if not domain.covers(self.scope, resource, letter):
            raise Refused.of("forbidden", "scope")


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """Secrets of this part."""

    token: bytes
    index: bytes


class Access:
    """Gives tokens and reads them."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        partners: Partners,
        keys: Keys,
        *,
        token_url: str,
        zone: ZoneInfo,
        requests_per_minute: int,
        clock: Callable[[], datetime],
        window_ms: float,
    ) -> None:
        self._pool = pool
        self._partners = partners
        self._keys = keys
        self._token_url = token_url
        self._zone = zone
        self._most = requests_per_minute
        self._clock = clock
        self._read: dict[str, dict[str, Any]] = {}
        self._lots: dict[str, tuple[int, int]] = {}
        self._seen: Batcher[tuple[str, bytes], bool] = Batcher(self._were_used, window_ms)
        self._remember: Batcher[tuple[str, bytes, datetime], None] = Batcher(self._keep, window_ms)

    async def give(self, assertion: str, scope: str | None) -> dict[str, Any]:
        """The token response for an assertion; Refused with an OAuth code."""
        now = self._clock()
        org = domain.claimed_org(assertion)
        partner = await self._partners.active(org, now, self._zone)
        if partner is None:
            raise Refused.of("invalid_client", "partner")
        try:
            _, claims = crypto.verify_client_assertion(assertion, partner.jwks)
        except crypto.CryptoError:
            raise Refused.of("invalid_client", "signature") from None
        jti = domain.check_claims(claims, org, self._token_url, now)
        scopes = domain.granted(scope, partner.roles)
        await self._once(org, jti, now)
        until = int(now.timestamp()) + domain.TOKEN_SECONDS
        token = crypto.make_token(
            self._keys.token, {"aud": AUDIENCE, "sub": org, "scope": scopes, "exp": until}
        )
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": domain.TOKEN_SECONDS,
            "scope": scopes,
        }

    async def _once(self, org: str, jti: str, now: datetime) -> None:
        mac = crypto.hmac_sha256(self._keys.index, b"jti", org.encode(), jti.encode())
        until = now + timedelta(seconds=domain.LONGEST_ASSERTION + 3 * domain.LEEWAY)
        async with self._pool.acquire() as conn:
            if not await store.first_use(conn, org, mac, until):
                raise Refused.of("invalid_client", "jti-replayed")

    async def require(self, authorization: str | None) -> Caller:
        """The caller of a request by its bearer token."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refused.of("login", "token-missing")
        claims = self._claims(token)
        partner = await self._partners.active(claims["sub"], self._clock(), self._zone)
        if partner is None:
            raise Refused.of("forbidden", "partner")
        await self.take(partner)
        return Caller(partner, claims["scope"])

    def _claims(self, token: str) -> dict[str, Any]:
        now = self._clock()
        known = self._read.get(token)
        if known is not None and known["exp"] > now.timestamp():
            return known
        try:
            claims = crypto.read_token(self._keys.token, token, now)
        except crypto.CryptoError as error:
            rule = "token-expired" if error.rule == "expired" else "token-invalid"
            raise Refused.of("login", rule) from None
        if claims.get("aud") != AUDIENCE:
            raise Refused.of("login", "token-invalid")
        if len(self._read) >= _REMEMBERED:
            self._read.clear()
        self._read[token] = claims
        return claims

    async def active(self, org: str) -> Partner | None:
        """The partner, if it is active now."""
        return await self._partners.active(org, self._clock(), self._zone)

    async def message_seen(self, org: str, mark: str) -> bool:
        """Whether this signed message was dealt with before."""
        return await self._seen((org, self._mark(org, mark)))

    async def remember_message(self, org: str, mark: str, kept: timedelta) -> None:
        """Keep in mind that this signed message is dealt with, while it could be accepted."""
        await self._remember((org, self._mark(org, mark), self._clock() + kept))

    async def _were_used(self, ids: Sequence[tuple[str, bytes]]) -> list[bool]:
        async with self._pool.acquire() as conn:
            return await store.were_used(conn, ids)

    async def _keep(self, ids: Sequence[tuple[str, bytes, datetime]]) -> list[None]:
        async with self._pool.acquire() as conn:
            await store.remember(conn, ids)
        return [None for _ in ids]

    def _mark(self, org: str, mark: str) -> bytes:
        return crypto.hmac_sha256(self._keys.index, b"message", org.encode(), mark.encode())

    async def take(self, partner: Partner) -> None:
        """Count this request; a lot is fetched from the minute's row when the last is used up."""
        most = partner.requests_per_minute or self._most
        now = self._clock().timestamp()
        minute, left = self._lots.get(partner.org, (0, 0))
        if minute != int(now // 60) or left <= 0:
            minute, lot = int(now // 60), max(1, min(LOT, most // 20))
            async with self._pool.acquire() as conn:
                before = await store.take(conn, partner.org, minute, lot)
            left = min(lot, most - before)
            # Another request may have fetched a lot meanwhile; what it left is still ours.
            other_minute, other_left = self._lots.get(partner.org, (0, 0))
            left += max(0, other_left) if other_minute == minute else 0
        if left <= 0:
            raise Refused.of("throttled", "rate", retry_after=60 - int(now % 60))
        self._lots[partner.org] = (minute, left - 1)

    async def sweep(self) -> None:
        """Forget what has expired."""
        async with self._pool.acquire() as conn:
            await store.forget_old(conn, self._clock().astimezone(UTC))
