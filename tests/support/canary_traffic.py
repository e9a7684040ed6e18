"""Traffic in which every part of a request carries an invented identity.

`ong-norte` and `refugio-sur` speak to the hub; what the hub answers is kept for the scan (content
that it discloses to the recipient is not: that is the recipient's by consent). `carried` notes the
parts of requests that held something, so that the run can fail for one that held nothing.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote
from uuid import uuid4

import aiohttp

from connectors.sandbox.__main__ import RECIPIENT_SCOPE, SOURCE_SCOPE
from connectors.sandbox.samples import BASE, Sample
from connectors.sandbox.smart import TokenClient
from tests.support.canary import Identity
from tests.support.canary_bundles import Planted, Planter, fresh

FHIR: Final = "application/fhir+json"
PATCH: Final = "application/json-patch+json"
NAMES: Final = (
    "User-Agent", "X-Request-Id", "Cookie", "Referer", "Traceparent", "X-Forwarded-For",
    "Accept-Language", "If-None-Match", "Content-Disposition", "From", "Origin", "Prefer",
)  # fmt: skip
"""Headers in which a partner's system might tell something by mistake; file names among them."""


@dataclass
class Sent:
    """One request and what the hub said."""

    what: str
    status: int
    answer: bytes
    headers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.answer)

    def id_of(self, kind: str) -> str:
        """The id that the accepted referral's resource has for its sender."""
        entries = self.json()["entry"]
        places = [str(entry["response"].get("location", "")) for entry in entries]
        return next(p.split("/")[1] for p in places if p.startswith(f"{kind}/"))


@dataclass
class Traffic:
    """Both partners' clients."""

    hub: str
    partners: Path
    people: list[Identity]
    refugio: str
    answers: list[Sent] = field(default_factory=list)
    carried: Counter[str] = field(default_factory=Counter)
    identities: set[int] = field(default_factory=set)
    fields: Counter[str] = field(default_factory=Counter)
    rows: set[str] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        self.planter = Planter(self.people)
        scopes = {"ong-norte": SOURCE_SCOPE, "refugio-sur": RECIPIENT_SCOPE}
        self.tokens = {
            org: TokenClient(
                org, f"{self.hub}/oauth/token", self.partners / org / "client.es384", scope
            )
            for org, scope in scopes.items()
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    def word(self, what: str, kind: str = "token") -> str:
        """The next identity's value, for a part of a request that is not a body."""
        _, number, _ = self.planter.value("Code", what)
        self.carried[what] += 1
        self.identities.add(number)
        return str(getattr(self.people[number], kind))

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        org: str | None = "ong-norte",
        what: str = "",
        headers: Mapping[str, str] | None = None,
        disclosed: bool = False,
    ) -> Sent:
        """A request; the answer is kept for the scan, its body not where it is disclosed."""
        sent = {"Content-Type": FHIR} if body is not None else {}
        sent |= headers or {}
        if org is not None:
            sent["Authorization"] = f"Bearer {await self.tokens[org].token(self.session)}"
        url = self.hub + path
        async with self.session.request(method, url, data=body, headers=sent) as answer:
            raw = await answer.read()
            named = {name.lower(): value for name, value in answer.headers.items()}
            found = Sent(what, answer.status, raw, named)
        kept = disclosed and found.status == 200
        self.answers.append(replace(found, answer=b"") if kept else found)
        return found

    def wire(self, body: Any, number: int) -> bytes:
        """A body as systems write it: UTF-8, or all beyond ASCII escaped."""
        return json.dumps(body, ensure_ascii=number % 2 == 0).encode()

    async def refer(self, planted: Planted, number: int, what: str = "referral") -> Sent:
        """Send a referral with everything around the body carrying something too."""
        fresh(planted.body)
        header = NAMES[number % len(NAMES)]
        kind = "name" if header in {"Cookie", "Content-Disposition", "From"} else "token"
        headers = {header: f'attachment; filename="{self.word(f"header {header}", kind)}.json"'}
        if number % 2:
            headers["Idempotency-Key"] = f"{self.word('header Idempotency-Key')}-{uuid4()}"
        headers["Content-Type"] = f"{FHIR}; name={self.word('media type parameter')}"
        answer = await self.call(
            "POST", "/fhir", self.wire(planted.body, number), what=what, headers=headers
        )
        self.note(planted, accepted=answer.status == 200)
        return answer

    def note(self, planted: Planted, *, accepted: bool) -> None:
        """Remember what a body carried."""
        self.rows |= planted.rows
        self.identities |= {number for number, _ in planted.fields.values()}
        if accepted:
            self.fields.update(planted.fields.keys())

    async def many(self, count: int, width: int = 8) -> list[Sent]:
        """Referrals that are to be accepted, some at a time."""
        gate = asyncio.Semaphore(width)

        async def one(number: int) -> Sent:
            async with gate:
                return await self.refer(self.planter.full(), number)

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    async def emergency(self) -> Sent:
        """A referral on another basis, whose approver is named."""
        sample = Sample(
            legal_basis="vital_interest",
            basis_reason="danger_to_life",
            approver=self.word("approver"),
            purpose="emergency",
            entry="refugio-sur-casa",
            service_type="shelter_specialized",
        )
        return await self.call("POST", "/fhir", self.wire(sample.bundle(), 0), what="emergency")

    async def closed(self) -> dict[str, Sent]:
        """One request for each closed field."""
        found = {}
        for number, (path, planted) in enumerate(self.planter.closed_requests()):
            found[path] = await self.call(
                "POST",
                "/fhir",
                self.wire(planted.body, number),
                what=f"closed {path}",
                headers={"Idempotency-Key": str(uuid4())},
            )
            self.note(planted, accepted=False)
        return found

    async def malformed(self) -> list[Sent]:
        """Bodies that are no JSON, no UTF-8, no FHIR; names of elements and extensions."""
        name, token = self.word("malformed", "name"), self.word("malformed")
        good = self.planter.full().body
        odd: list[bytes] = [
            f'{{"resourceType": "Bundle", "name": "{name}'.encode(),
            f'{{"{name}": 1, "{name}": 2}}'.encode(),
            f'["{name}"]'.encode(),
            json.dumps({"resourceType": name}, ensure_ascii=False).encode(),
            json.dumps({**good, name: name}, ensure_ascii=False).encode(),
            json.dumps({**good, "entry": name}).encode(),
            json.dumps({**good, "identifier": {"value": [name]}}).encode(),
            json.dumps(good, ensure_ascii=False).encode("latin-1", "replace"),
            name.encode("utf-16"),
            b'{"n": 1' + token.encode() + b"}",
            json.dumps({"resourceType": "Bundle", "entry": [{"resource": name}]}).encode(),
        ]
        for position in range(len(good["entry"])):
            body = json.loads(json.dumps(good))
            resource = body["entry"][position]["resource"]
            resource[token] = name
            odd.append(json.dumps(body).encode())
            del resource[token]
            url = f"https://{token}.example/{name}"
            resource["extension"] = [{"url": url, "valueString": name}]
            odd.append(json.dumps(body).encode())
        self.carried["element name"] += 1
        self.carried["extension url"] += 1
        return [
            await self.call(
                "POST",
                "/fhir",
                body,
                what="malformed",
                headers={"Idempotency-Key": str(uuid4())},
            )
            for body in odd
        ]

    async def addresses(self, task: str) -> list[Sent]:
        """Paths, queries, versions and media types."""
        paths = {
            "path": ["/{}", "/fhir/{}", "/fhir/Task/{}", "/fhir/Patient/{}/$everything"],
            "query": [
                "/fhir/Task?{}=1",
                "/fhir/Task?status={}",
                "/fhir/Task?_cursor={}",
                "/fhir/Task?_lastUpdated={}",
                "/fhir/Task?owner={}",
                "/fhir/Task?identifier={}",
                "/fhir/Patient?name={}",
                "/fhir/HealthcareService?organization={}",
                f"/fhir/Task/{task}?_format={{}}",
                "/subjects/{}/versions",
                "/schemas/ids/{}",
            ],
        }
        kinds = ("name", "token", "number", "birth")
        targets = [
            (what, form.format(quote(self.word(what, kinds[number % 4]))))
            for what, forms in paths.items()
            for number, form in enumerate(forms)
        ]
        found = [await self.call("GET", target, what=what) for what, target in targets]
        found += [await self.call("POST", target, b"{}", what=what) for what, target in targets]
        version = self.word("header If-Match")
        path = f"/fhir/Task/{task}"
        for headers in (
            {"If-Match": f'W/"{version}"'},
            {"If-Match": version, "Content-Type": PATCH},
            {"Content-Type": f"application/{self.word('media type')}"},
        ):
            found.append(await self.call("PATCH", path, b"[]", what="headers", headers=headers))
        accept = self.word("header Accept")
        found.append(
            await self.call("GET", path, what="headers", headers={"Accept": f"text/{accept}"})
        )
        bearer = self.word("header Authorization")
        found += [
            await self.call("GET", path, org=None, what="headers", headers={"Authorization": value})
            for value in (f"Bearer {bearer}", f"{bearer} {bearer}", f"Bearer {bearer}.{bearer}.x")
        ]
        method = self.word("method").upper()
        found.append(await self.call(method, path, what="method"))
        return found

    async def control(self, **switches: Any) -> None:
        """Tell the recipient how to behave."""
        async with self.session.post(f"{self.refugio}/_control", json=switches) as answer:
            answer.raise_for_status()

    async def tasks_of_recipient(self) -> dict[str, dict[str, Any]]:
        """Tasks as the recipient reads them at the hub, by id."""
        found: dict[str, dict[str, Any]] = {}
        path = "/fhir/Task?_count=100"
        while path:
            page = (await self.call("GET", path, org="refugio-sur", what="search")).json()
            for entry in page.get("entry", []):
                found[entry["resource"]["id"]] = entry["resource"]
            links = {link["relation"]: link["url"] for link in page.get("link", [])}
            path = links.get("next", "").removeprefix(self.hub)
        return found

    async def answer(self, task: str, changes: dict[str, Any], key: str = "") -> Sent:
        """A PATCH of the recipient's."""
        path = f"/fhir/Task/{task}"
        current = await self.call("GET", path, org="refugio-sur", what="read")
        operations = [{"op": "add", "path": f"/{k}", "value": v} for k, v in changes.items()]
        headers = {"If-Match": current.headers.get("etag", ""), "Content-Type": PATCH}
        headers |= {"Idempotency-Key": key} if key else {}
        body = json.dumps(operations).encode()
        return await self.call(
            "PATCH", path, body, org="refugio-sur", what="patch", headers=headers
        )

    def reason(self, name: str) -> dict[str, Any]:
        """A reason of the list, which says more than its code."""
        system = f"{BASE}/CodeSystem/referral-reason-code"
        coding = {"system": system, "code": "no_capacity", "display": name, "version": name}
        return {"coding": [coding, {"system": f"urn:{name}", "code": name}], "text": name}

    def outcome(self, name: str) -> list[dict[str, Any]]:
        """An outcome of the list, which says more than its code."""
        system = f"{BASE}/CodeSystem/referral-outcome"
        coding = {"system": system, "code": "service_provided", "display": name}
        value = {"coding": [coding], "text": name}
        return [{"id": name, "type": {"text": name}, "valueCodeableConcept": value}]

    async def answers_of_recipient(self, task: str) -> list[Sent]:
        """Everything that a Task's answer may hold, right and wrong."""
        name, token = self.word("Task answer", "name"), self.word("Task answer")
        coded = {"coding": [{"system": f"https://{token}.example", "code": token}], "text": name}
        kind = {"text": name}
        values: list[dict[str, Any]] = [
            {"statusReason": {"text": name}},
            {"statusReason": coded},
            {"businessStatus": coded},
            {"output": [{"type": kind, "valueString": name}]},
            {"output": [{"type": kind, "valueCodeableConcept": coded}]},
            {"output": [{"type": coded, "valueAttachment": {"title": f"{name}.pdf"}}]},
            {"note": [{"text": name}]},
            {"description": name},
            {"status": token},
            {token: name},
            {name: token},
            {"status": {"name": name}},
            {"status": "in-progress"},
            {"status": "on-hold", "statusReason": self.reason(name)},
            {"status": "completed", "output": self.outcome(name)},
        ]
        return [await self.answer(task, value, self.word("Task answer key")) for value in values]

    async def put_task(self, task: str) -> list[Sent]:
        """The whole Task, with more in it than the hub takes, by either party."""
        name = self.word("Task PUT", "name")
        found = []
        for org in ("refugio-sur", "ong-norte"):
            path = f"/fhir/Task/{task}"
            if (await self.call("GET", path, org=org, what="read")).status != 200:
                continue
            for more in (
                {"status": "in-progress", "statusReason": self.reason(name)},
                {"status": "completed", "output": self.outcome(name)},
                {"note": [{"text": name}]},
                {"description": name},
                {"statusReason": {"text": name}},
                {"businessStatus": {"text": name}},
                {"text": {"status": "generated", "div": f"<div>{name}</div>"}},
                {name: name},
            ):
                current = await self.call("GET", path, org=org, what="read")
                body = self.wire({**current.json(), **more}, 1)
                tag = current.headers.get("etag", "")
                found.append(
                    await self.call(
                        "PUT", path, body, org=org, what="put", headers={"If-Match": tag}
                    )
                )
        return found

    async def put_consent(self, consent: str, written: dict[str, Any]) -> list[Sent]:
        """New versions of a Consent with everything in them, narrower, and wrong ones."""
        name, token = self.word("Consent PUT", "name"), self.word("Consent PUT")
        path = f"/fhir/Consent/{consent}"
        current = await self.call("GET", path, what="read")
        shown = current.json()
        body = {**written, "id": consent, "patient": shown["patient"]}
        body["performer"] = [shown["patient"]]
        codes = [p["code"][:-1] for p in written["provision"]["provision"]]
        narrower = json.loads(json.dumps(body))
        for provision, code in zip(narrower["provision"]["provision"], codes, strict=True):
            provision["code"] = code
        found = []
        for one in (
            body,
            {**body, token: name},
            {**body, "status": token},
            {**body, "language": token},
            {**body, "text": {"status": "additional", "div": name}},
            narrower,
        ):
            tag = (await self.call("GET", path, what="read")).headers.get("etag", "")
            found.append(
                await self.call(
                    "PUT", path, self.wire(one, 1), what="consent put",
                    headers={"If-Match": tag, "Idempotency-Key": self.word("Consent PUT key")},
                )
            )  # fmt: skip
        return found

    async def withdraw(self, consent: str) -> Sent:
        """Take the consent back, the request carrying something."""
        operations = [{"op": "replace", "path": "/status", "value": "inactive"}]
        return await self.call(
            "PATCH",
            f"/fhir/Consent/{consent}",
            json.dumps(operations).encode(),
            what="withdraw",
            headers={
                "Content-Type": PATCH,
                "Idempotency-Key": self.word("withdrawal key"),
                "User-Agent": self.word("header User-Agent"),
            },
        )
