"""The webhook partner of a rig: a clinic that is told, reads, answers by hooks and subscribes.

It runs in a thread of the test, which nobody kills, and keeps what it saw in order, as the judge
reads it. Every seventh message that it took is answered as if it had failed, so that repeats come
without a crash too. Record kinds: `told` (a message), `event` (of the subscription), `read`,
`answer` (what the hub said to a hook for good) and `erased`.
"""

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import orjson
from aiohttp import web

from connectors.fhir_r4 import notification
from connectors.sandbox.smart import TokenClient
from connectors.webhook import signing
from services.kit.crypto import new_ed25519, sign_ed25519, verify_ed25519
from tests.support.crash_seen import AGAIN, Record
from tests.support.hooks import values

CLINIC: Final = "clinica-sur"
SOURCE: Final = "ong-norte"
SENT: Final = "cauce.referral.sent"
ERASE: Final = "cauce.erasure.requested"
FAILS: Final = 7
RETRY_SECONDS: Final = 0.4


@dataclass
class Clinic:
    """Runs until left; `base` is its address once it is entered."""

    hub: str
    key_file: Path
    hub_key: bytes
    base: str = ""
    public: bytes = b""
    records: list[Record] = field(default_factory=list)
    _seed: bytes = field(default=b"", repr=False)
    _marks: Counter[str] = field(default_factory=Counter)
    _acts: set[asyncio.Task[None]] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Listen."""
        self._seed, self.public = new_ed25519()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._wait(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        """Stop whatever is under way."""
        self._wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join(timeout=10)
        self._loop.close()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    @property
    def busy(self) -> int:
        """Answers that are not given yet."""
        return len(self._acts)

    def subscribe(self) -> None:
        """Ask to be told of its own Tasks."""
        self._wait(self._subscribe())

    async def _open(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))
        self._tokens = TokenClient(CLINIC, f"{self.hub}/oauth/token", self.key_file, "")
        app = web.Application()
        app.router.add_post("/in/{org}", self._take)
        app.router.add_post("/told", self._take_notification)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _close(self) -> None:
        for act in self._acts:
            act.cancel()
        await asyncio.gather(*self._acts, return_exceptions=True)
        await self._session.close()
        await self._runner.cleanup()

    def _note(self, kind: str, **fields: Any) -> None:
        self.records.append({"kind": kind, "at": datetime.now(UTC).isoformat(), **fields})

    async def _take(self, request: web.Request) -> web.Response:
        raw, org = await request.read(), request.match_info["org"]
        key = signing.public_key(self.hub_key, verify_ed25519)
        mark = signing.verify(request.headers, raw, [key], datetime.now(UTC))
        event = orjson.loads(raw)
        data = event["data"]
        self._marks[mark] += 1
        self._note(
            "told",
            org=org,
            mark=mark,
            type=event["type"],
            subject=event["subject"],
            version=data.get("version"),
            referral=data.get("referral"),
        )
        if org == CLINIC and self._marks[mark] == 1:
            if event["type"] == SENT:
                self._begin(self._read_and_accept(event["subject"]))
            if event["type"] == ERASE:
                self._begin(self._erase(event["subject"], data["referral"]))
        odd = len(self._marks) % FAILS == 0 and self._marks[mark] == 1
        return web.Response(status=503 if odd else 204)

    async def _take_notification(self, request: web.Request) -> web.Response:
        said = values(orjson.loads(await request.read()))
        for event in said["events"]:
            focus = str(event.get("focus", "")).rpartition("/")[2]
            self._note("event", number=int(event["event-number"]), focus=focus)
        return web.Response(status=204)

    def _begin(self, work: Any) -> None:
        act = asyncio.create_task(work)
        self._acts.add(act)
        act.add_done_callback(self._acts.discard)

    async def _read_and_accept(self, name: str) -> None:
        status = await self._until_said(self._read, name)
        self._note("read", subject=name, status=status)
        command = {"referral": name, "command": "accept"}
        status = await self._until_said(
            self._post, f"accept-{name}", "cauce.referral.command", command
        )
        self._note("answer", what="accept", subject=name, status=status)

    async def _erase(self, name: str, referral: str) -> None:
        self._note("erased", subject=referral)
        effect = {"request": name, "effect": "deleted"}
        status = await self._until_said(self._post, f"erase-{name}", "cauce.erasure.effect", effect)
        self._note("answer", what="erase", subject=name, status=status)

    async def _until_said(self, ask: Any, *args: Any) -> int:
        """Ask again until the hub says something for good; a repeat it knows (409) is one."""
        while True:
            status = 0
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                status = await ask(*args)
            if status not in AGAIN - {409}:
                return int(status)
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, name: str) -> int:
        path = f"{self.hub}/v1/referrals/{name}/data"
        token = await self._tokens.token(self._session)
        headers = {"Authorization": f"Bearer {token}"}
        async with self._session.get(path, headers=headers) as answer:
            await answer.read()
            if answer.status == 401:
                await self._tokens.token(self._session, fresh=True)
            return answer.status

    async def _post(self, mark: str, kind: str, data: Any) -> int:
        event = {"specversion": "1.0", "id": mark, "source": "clinic", "type": kind, "data": data}
        raw = orjson.dumps(event)
        signer = signing.own_signer(self._seed, sign_ed25519)
        headers = signing.signed_headers([signer], mark, datetime.now(UTC), raw)
        headers["Content-Type"] = "application/cloudevents+json"
        url = f"{self.hub}/hooks/{CLINIC}"
        async with self._session.post(url, data=raw, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def _subscribe(self) -> None:
        content = {"extension": [{"url": notification.CONTENT, "valueCode": "id-only"}]}
        channel = {
            "type": "rest-hook",
            "endpoint": f"{self.base}/told",
            "payload": "application/fhir+json",
            "_payload": content,
        }
        wanted = {
            "resourceType": "Subscription",
            "status": "requested",
            "reason": "own Tasks",
            "criteria": f"Task?owner=Organization/{CLINIC}",
            "channel": channel,
        }

        async def ask() -> int:
            token = await self._tokens.token(self._session)
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
            url = f"{self.hub}/fhir/Subscription"
            async with self._session.post(url, json=wanted, headers=headers) as answer:
                await answer.read()
                return answer.status

        assert await self._until_said(ask) == 201
