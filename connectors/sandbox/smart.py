"""SMART Backend Services for the sandbox partners: both ends of `private_key_jwt`.

A partner's system is a stranger to the hub, so it brings its own JOSE code; the product's is
`services/kit/crypto.py`.
"""

import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN_SECONDS = 300


@dataclass
class TokenEndpoint:
    """Checks client assertions and issues short bearer tokens, kept in memory."""

    audience: str
    jwks: dict[str, Any]
    _tokens: dict[str, float] = field(default_factory=dict)
    _seen: dict[str, float] = field(default_factory=dict)

    def issue(self, form: dict[str, str]) -> dict[str, Any] | None:
        """The token response, or None when the client is not the one registered."""
        if form.get("grant_type") != "client_credentials":
            return None
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            return None
        claims = self._claims(form.get("client_assertion", ""))
        if claims is None:
            return None
        token = secrets.token_urlsafe(24)
        self._tokens[token] = time.monotonic() + TOKEN_SECONDS
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": TOKEN_SECONDS,
            "scope": form.get("scope", ""),
        }

    def _claims(self, assertion: str) -> dict[str, Any] | None:
        try:
            token = jwt.decode(assertion, KeySet.import_key_set(self.jwks), algorithms=["ES384"])  # type: ignore[arg-type]
        except (JoseError, ValueError):
            return None
        claims, now = token.claims, time.time()
        expires, jti = claims.get("exp", 0), claims.get("jti")
        if claims.get("aud") != self.audience or not now - 60 < expires <= now + 360:
            return None
        if not jti or jti in self._seen or claims.get("iss") != claims.get("sub"):
            return None
        self._seen = {key: until for key, until in self._seen.items() if until > now}
        self._seen[jti] = expires + 60
        return claims

    def accepts(self, header: str) -> bool:
        """Whether an Authorization header carries a live token of ours."""
        scheme, _, token = header.partition(" ")
        return scheme.lower() == "bearer" and self._tokens.get(token, 0.0) > time.monotonic()


@dataclass
class TokenClient:
    """Fetches and keeps an access token of the hub for one organisation."""

    org: str
    token_url: str
    key_file: Path
    scope: str
    _token: str = ""
    _until: float = 0.0

    async def token(self, session: aiohttp.ClientSession, *, fresh: bool = False) -> str:
        """A token good for at least 30 s more."""
        if not fresh and time.monotonic() < self._until:
            return self._token
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(),
            "scope": self.scope,
        }
        async with session.post(self.token_url, data=form) as answer:
            answer.raise_for_status()
            body = await answer.json()
        self._token = str(body["access_token"])
        self._until = time.monotonic() + int(body["expires_in"]) - 30
        return self._token

    def _assertion(self) -> str:
        key = ECKey.import_key(self.key_file.read_text())
        now = int(time.time())
        claims = {
            "iss": self.org,
            "sub": self.org,
            "aud": self.token_url,
            "iat": now,
            "exp": now + 240,
            "jti": str(uuid4()),
        }
        header = {"alg": "ES384", "typ": "JWT", "kid": key.thumbprint()}
        return jwt.encode(header, claims, key, algorithms=["ES384"])
