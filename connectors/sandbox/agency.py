"""`ong-norte`: a case manager's system as a FHIR client with its own fsynced ledger.

Ledger record kinds, which judges read: `intent` (before a request is sent: key and what it is),
`answer` (what the hub said), `status` (a referral's status as last read). A request that got no
answer is sent again with its key.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

from connectors.sandbox.journal import Journal
from connectors.sandbox.smart import TokenClient

FHIR_JSON = "application/fhir+json"
RETRY_SECONDS = 0.5
AGAIN = {0, 401, 409, 429, 500, 502, 503, 504}


class Agency:
    """Sends referrals, follows them, withdraws consent."""

    def __init__(
        self, data: Path, hub: str, tokens: TokenClient, ledger: str = "ong.jsonl"
    ) -> None:
        self.journal = Journal(data / ledger)
        self._hub, self._tokens = hub, tokens
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the HTTP session and send again what got no answer before the last stop."""
        connector = aiohttp.TCPConnector(limit=256)
        timeout = aiohttp.ClientTimeout(total=30)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        open_intents: dict[str, dict[str, Any]] = {}
        for record in self.journal.records():
            if record["kind"] == "intent":
                open_intents[record["key"]] = record
            if record["kind"] == "answer":
                open_intents.pop(record["key"], None)
        again = (self._send(record) for record in open_intents.values())
        self._resumed = asyncio.gather(*again)

    async def stop(self) -> None:
        """Close the session and the ledger."""
        self._resumed.cancel()
        if self._session is not None:
            await self._session.close()
        self.journal.close()

    async def refer(self, bundle: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        """Send one referral until the hub answers for good; the ledger record of that."""
        return await self._write("refer", "POST", "/fhir", bundle, key or str(uuid4()))

    async def refer_natively(self, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        """The same in the hub's own JSON."""
        return await self._write("refer", "POST", "/v1/referrals", body, key or str(uuid4()))

    async def withdraw(self, consent_id: str) -> dict[str, Any]:
        """Set a Consent to inactive at the hub."""
        operations = [{"op": "replace", "path": "/status", "value": "inactive"}]
        path = f"/fhir/Consent/{consent_id}"
        return await self._write("withdraw", "PATCH", path, operations, str(uuid4()))

    async def withdraw_natively(self, consent: str) -> dict[str, Any]:
        """Take the whole consent back, natively."""
        path = f"/v1/consents/{consent}/withdrawals"
        return await self._write("withdraw", "POST", path, {}, str(uuid4()))

    async def referral(self, referral: str) -> dict[str, Any]:
        """The referral as the hub shows it to us natively now; noted in the ledger."""
        return await self._read(f"/v1/referrals/{referral}", referral)

    async def _write(
        self, what: str, method: str, path: str, body: Any, key: str
    ) -> dict[str, Any]:
        record = {
            "kind": "intent",
            "what": what,
            "at": datetime.now(UTC).isoformat(),
            "key": key,
            "method": method,
            "path": path,
            "body": body,
        }
        await self.journal.append(record)
        return await self._send(record)

    async def _send(self, record: dict[str, Any]) -> dict[str, Any]:
        while True:
            try:
                status, body = await self._request(record)
            except (aiohttp.ClientError, TimeoutError, OSError):
                status, body = 0, {}
            if status not in AGAIN or _final_conflict(status, body):
                break
            await asyncio.sleep(RETRY_SECONDS)
        answer = {
            "kind": "answer",
            "what": record["what"],
            "at": datetime.now(UTC).isoformat(),
            "key": record["key"],
            "status": status,
            "body": body,
        }
        await self.journal.append(answer)
        return answer

    async def _request(self, record: dict[str, Any]) -> tuple[int, Any]:
        session = self._live()
        url, headers = self._hub + record["path"], await self._headers(record["key"])
        if record["path"].startswith("/v1/"):
            headers["Content-Type"] = "application/json"
        if record["method"] == "PATCH":
            headers["Content-Type"] = "application/json-patch+json"
            async with session.get(url, headers=headers) as current:
                if current.status != 200:
                    return current.status, await _json(current)
                headers["If-Match"] = current.headers["ETag"]
        data = orjson.dumps(record["body"])
        async with session.request(record["method"], url, data=data, headers=headers) as answer:
            if answer.status == 401:
                await self._tokens.token(session, fresh=True)
            return answer.status, await _json(answer)

    async def _headers(self, key: str) -> dict[str, str]:
        token = await self._tokens.token(self._live())
        return {
            "Authorization": f"Bearer {token}",
            "Content-Type": FHIR_JSON,
            "Idempotency-Key": key,
        }

    async def task(self, task_id: str) -> dict[str, Any]:
        """The referral as the hub shows it to us now; noted in the ledger."""
        return await self._read(f"/fhir/Task/{task_id}", task_id)

    async def _read(self, path: str, own: str) -> dict[str, Any]:
        headers = await self._headers("")
        del headers["Idempotency-Key"]
        async with self._live().get(f"{self._hub}{path}", headers=headers) as answer:
            body = await _json(answer)
        note = {"kind": "status", "at": datetime.now(UTC).isoformat(), "task": own}
        await self.journal.append(note | {"status": body.get("status")})
        return dict(body)

    def _live(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("not started")
        return self._session


def _final_conflict(status: int, body: Any) -> bool:
    """A 409 that is not `in-progress` will not change by sending it again."""
    if status != 409:
        return False
    said = body if isinstance(body, dict) else {}
    codes = [c.get("code") for i in said.get("issue", ()) for c in i["details"]["coding"]]
    codes += [fault["code"] for fault in said.get("faults", ())]
    return "in-progress" not in codes


async def _json(answer: aiohttp.ClientResponse) -> Any:
    raw = await answer.read()
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
