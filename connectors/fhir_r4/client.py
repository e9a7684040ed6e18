"""Calls to one partner's FHIR server: push, search, poll, erasure, with SMART access tokens.

It guards that an answer becomes what happens next (`Retry`, `Reject`, `Refuse`) and nothing of it
is ever repeated. Addresses, deadlines and limits are the SDK's HTTP client's; signing is the
caller's, so that no key enters a connector.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID, uuid4

import orjson

from connectors.sdk.errors import Refuse, Reject, Retry
from connectors.sdk.http import Answer, Http

FHIR_JSON: Final = "application/fhir+json"
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SCOPE: Final = "system/Task.crus system/Patient.crus system/ServiceRequest.crus system/Consent.crus"
TOKEN_MARGIN: Final = 30.0
"""Seconds before its end at which a token is not used any more."""

Sign = Callable[[dict[str, Any], dict[str, Any]], str]
"""Header and claims in, signed JWT out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where and as whom a partner is called."""

    base_url: str
    token_url: str
    client_id: str
    kid: str
    scope: str = SCOPE

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, client_id: str, kid: str) -> "Endpoint":
        """From a partner's connector settings; Refuse when an address is missing."""
        base_url, token_url = settings.get("base_url"), settings.get("token_url")
        if not isinstance(base_url, str) or not isinstance(token_url, str):
            raise Refuse("setting-missing", "connector.base_url")
        return cls(
            base_url=base_url.rstrip("/"),
            token_url=token_url,
            client_id=str(settings.get("client_id") or client_id),
            kid=kid,
            scope=str(settings.get("scope") or SCOPE),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What one write is bound to: its key at the partner and the time after which it must not be.

    `deadline` is in seconds of `time.monotonic`; None only for writes that carry no content.
    """

    key: UUID
    deadline: float | None = None
    not_after: datetime | None = None
    on_write: Callable[[], None] | None = field(default=None, repr=False)


class FhirClient:
    """One partner's server."""

    def __init__(self, http: Http, endpoint: Endpoint, sign: Sign) -> None:
        self._http = http
        self._endpoint = endpoint
        self._sign = sign
        self._token = ""
        self._token_until = 0.0

    async def prepare(self) -> None:
        """Have a token at hand, so that the call under a grant is one request."""
        await self._bearer()

    async def push(self, transaction: bytes, call: Call) -> None:
        """POST a transaction; returns when the partner took it."""
        await self._write("", transaction, call)

    async def request_erasure(self, task: bytes, criteria: str, call: Call) -> dict[str, Any]:
        """POST an erasure Task once; the Task as the partner holds it."""
        answer = await self._write("/Task", task, call, {"If-None-Exist": criteria})
        return _object(answer)

    async def find_task(self, criteria: str) -> dict[str, Any] | None:
        """The Task under one of our identifiers, None when the partner has none."""
        found = await self._search(criteria)
        return found[0] if found else None

    async def changed_since(self, since: datetime) -> list[dict[str, Any]]:
        """Tasks changed at the partner since then."""
        stamp = since.astimezone(UTC).isoformat(timespec="milliseconds")
        return await self._search(urlencode({"_lastUpdated": f"ge{stamp}"}))

    async def _search(self, criteria: str) -> list[dict[str, Any]]:
        headers = {"Accept": FHIR_JSON, "Authorization": await self._bearer()}
        url = f"{self._endpoint.base_url}/Task?{quote(criteria, safe='=&%|:/_-')}"
        answer = await self._http.send("GET", url, headers=headers)
        _check(answer)
        entries = _object(answer).get("entry", [])
        found = [e.get("resource") for e in entries if isinstance(e, dict)]
        return [r for r in found if isinstance(r, dict) and r.get("resourceType") == "Task"]

    async def _write(
        self, path: str, body: bytes, call: Call, extra: Mapping[str, str] | None = None
    ) -> Answer:
        headers = {
            "Accept": FHIR_JSON,
            "Content-Type": FHIR_JSON,
            "Authorization": await self._bearer(),
            "Idempotency-Key": str(call.key),
            **(extra or {}),
        }
        if call.not_after is not None:
            stamp = call.not_after.astimezone(UTC).isoformat(timespec="microseconds")
            headers["Cauce-Not-After"] = stamp
        answer = await self._http.send(
            "POST",
            f"{self._endpoint.base_url}{path}",
            headers=headers,
            body=body,
            deadline=call.deadline,
            on_write=call.on_write,
        )
        if answer.status == 401:
            self._token_until = 0.0
        _check(answer)
        return answer

    async def _bearer(self) -> str:
        if time.monotonic() >= self._token_until:
            await self._authenticate()
        return f"Bearer {self._token}"

    async def _authenticate(self) -> None:
        now = int(time.time())
        claims = {
            "iss": self._endpoint.client_id,
            "sub": self._endpoint.client_id,
            "aud": self._endpoint.token_url,
            "iat": now,
            "exp": now + 240,
            "jti": str(uuid4()),
        }
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._sign({"typ": "JWT", "kid": self._endpoint.kid}, claims),
            "scope": self._endpoint.scope,
        }
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        try:
            answer = await self._http.send(
                "POST", self._endpoint.token_url, headers=headers, body=urlencode(form).encode()
            )
        except Retry as error:
            raise Retry(error.rule, unknown=False) from None
        if answer.status != 200:
            raise Retry("partner-token-refused", unknown=False)
        self._keep(_object(answer, unknown=False))

    def _keep(self, answer: Mapping[str, Any]) -> None:
        token, seconds = answer.get("access_token"), answer.get("expires_in", 60)
        if not isinstance(token, str) or not token.isascii() or not isinstance(seconds, int):
            raise Retry("partner-token-refused", unknown=False)
        self._token = token
        self._token_until = time.monotonic() + max(seconds - TOKEN_MARGIN, 1.0)


def _check(answer: Answer) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    if status in {401, 429, 503}:
        raise Retry(f"partner-{status}", unknown=status != 401, retry_after=_seconds(answer))
    if status in {408, 409, 412, 425} or status >= 500:
        raise Retry(f"partner-{status}", unknown=True)
    if 300 <= status < 400:
        raise Reject("partner-redirects")
    raise Reject(f"partner-{status}")


def _seconds(answer: Answer) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() and len(text) < 5 else None


def _object(answer: Answer, *, unknown: bool = True) -> dict[str, Any]:
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        raise Retry("partner-answer-malformed", unknown=unknown) from None
    if not isinstance(found, dict):
        raise Retry("partner-answer-malformed", unknown=unknown)
    return found
