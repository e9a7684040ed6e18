"""`clinica-demo`: a clinic's system: it takes webhooks, fetches data, answers by signed message.

Journal record kinds, which judges read: `hook` (a message, once for each id, before it is
answered), `data` (what was fetched for a referral), `sent` (what the hub said to a message of
ours), `erasure` (a referral's data removed), `done` (a message dealt with). What was not dealt
with when it stopped is taken up again at the next start, under the same ids.
"""

import asyncio
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from weakref import WeakValueDictionary

import aiohttp
import orjson

from connectors.sandbox.hooksign import HookKey
from connectors.sandbox.journal import Journal, Record
from connectors.sandbox.smart import TokenClient

RETRY_SECONDS = 0.5
AGAIN = {0, 429, 500, 502, 503, 504}
CLOUD_EVENT = "application/cloudevents+json"


@dataclass(frozen=True)
class ClinicBehaviour:
    """Switches of a test."""

    status: int = 204
    """HTTP status for messages; anything but 2xx is not kept."""
    slow_ms: int = 0
    fetches: bool = True
    commands: tuple[str, ...] = ("start_review", "accept")
    erasure_effect: str = "deleted"


def switched(current: ClinicBehaviour, wanted: dict[str, Any]) -> ClinicBehaviour:
    """`current` with the named switches set; an unknown switch raises ValueError."""
    unknown = set(wanted) - {one.name for one in fields(ClinicBehaviour)}
    if unknown:
        raise ValueError(f"unknown switch: {min(unknown)}")
    if "commands" in wanted:
        wanted = {**wanted, "commands": tuple(wanted["commands"])}
    return replace(current, **wanted)


@dataclass
class Clinic:
    """The clinic's system: what it holds, and what it does about a message."""

    journal: Journal
    hub: str
    org: str
    tokens: TokenClient
    key: HookKey
    behaviour: ClinicBehaviour = field(default_factory=ClinicBehaviour)
    held: dict[str, Any] = field(default_factory=dict)
    """Data by our id of the referral."""
    _seen: set[str] = field(default_factory=set)
    _open: dict[str, Record] = field(default_factory=dict)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """By our id of the referral: its messages are dealt with one after the other."""
    _session: aiohttp.ClientSession | None = None

    @classmethod
    def open(cls, data: Path, hub: str, tokens: TokenClient, key: HookKey) -> "Clinic":
        """Load the journal of `data`."""
        clinic = cls(Journal(data / "clinica.jsonl"), hub, tokens.org, tokens, key)
        for record in clinic.journal.records():
            clinic._replay(record)
        return clinic

    def _replay(self, record: Record) -> None:
        match record["kind"]:
            case "hook":
                self._seen.add(record["id"])
                self._open[record["id"]] = record
            case "data":
                self.held[record["referral"]] = record["document"]
            case "erasure":
                self.held.pop(record["referral"], None)
            case "done":
                self._open.pop(record["id"], None)
            case _:
                pass

    async def start(self) -> None:
        """Open the HTTP session and go on with what was begun."""
        timeout = aiohttp.ClientTimeout(total=30)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=256), timeout=timeout
        )
        for record in list(self._open.values()):
            self._begin(record)

    async def stop(self) -> None:
        """Close everything."""
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        self.journal.close()

    async def take(self, mark: str, event: dict[str, Any]) -> None:
        """Keep a message, once for each id, and begin with it."""
        if mark in self._seen:
            return
        self._seen.add(mark)
        record = {"kind": "hook", "at": _now(), "id": mark, "type": event["type"]}
        record["data"] = event["data"]
        try:
            await self.journal.append(record)
        except OSError:
            self._seen.discard(mark)
            raise
        self._begin(record)

    def _begin(self, record: Record) -> None:
        running = asyncio.create_task(self._deal_with(record))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _deal_with(self, record: Record) -> None:
        data = record["data"]
        turn = self._turns.setdefault(data.get("referral", data["id"]), asyncio.Lock())
        async with turn:
            if record["type"] == "cauce.referral.sent":
                await self._referred(record)
            elif record["type"] == "cauce.erasure.requested":
                await self._erase(record)
        await self.journal.append({"kind": "done", "at": _now(), "id": record["id"]})

    async def _referred(self, record: Record) -> None:
        referral = record["data"]["id"]
        if self.behaviour.fetches:
            status, document = await self._get(record["data"]["href"])
            if status != 200:
                await self.journal.append(_said(referral, "fetch", status))
                return
            self.held[referral] = document
            await self.journal.append(
                {"kind": "data", "at": _now(), "referral": referral, "document": document}
            )
        for name in self.behaviour.commands:
            said = {"referral": referral, "command": name}
            status = await self._post(record["id"], name, "cauce.referral.command", said)
            await self.journal.append(_said(referral, name, status))

    async def _erase(self, record: Record) -> None:
        referral, request = record["data"]["referral"], record["data"]["id"]
        effect = self.behaviour.erasure_effect if referral in self.held else "never_received"
        if effect == "deleted":
            self.held.pop(referral, None)
        await self.journal.append(
            {"kind": "erasure", "at": _now(), "referral": referral, "effect": effect}
        )
        said = {"request": request, "effect": effect}
        status = await self._post(record["id"], "erased", "cauce.erasure.effect", said)
        await self.journal.append(_said(referral, "erased", status))

    async def _get(self, url: str) -> tuple[int, Any]:
        """Fetch with our token until the hub answers for good."""
        fresh = False
        while True:
            try:
                session = self._live()
                token = await self.tokens.token(session, fresh=fresh)
                async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as got:
                    status, raw = got.status, await got.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                status, raw = 0, b""
            if status == 401 and not fresh:
                fresh = True
            elif status not in AGAIN:
                return status, orjson.loads(raw) if status == 200 else None
            else:
                await asyncio.sleep(RETRY_SECONDS)

    async def _post(self, hook: str, step: str, kind: str, data: dict[str, Any]) -> int:
        """Send a signed message until the hub answers for good; 409 means that it had it."""
        mark = str(uuid5(NAMESPACE_URL, f"{hook} {step}"))
        event = {"specversion": "1.0", "id": mark, "source": self.org, "type": kind, "data": data}
        body = orjson.dumps(event)
        while True:
            headers = {"Content-Type": CLOUD_EVENT, **self.key.headers(mark, body)}
            url = f"{self.hub}/hooks/{self.org}"
            try:
                async with self._live().post(url, data=body, headers=headers) as answer:
                    status = answer.status
                    await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                status = 0
            if status not in AGAIN:
                return status
            await asyncio.sleep(RETRY_SECONDS)

    def _live(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("not started")
        return self._session


def _said(referral: str, what: str, status: int) -> Record:
    return {"kind": "sent", "at": _now(), "referral": referral, "what": what, "status": status}


def _now() -> str:
    return datetime.now(UTC).isoformat()
