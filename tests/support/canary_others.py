"""Traffic around referrals: directory, indicators, subscriptions, abort Tasks, searches."""

import asyncio
import copy
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

from connectors.sandbox.samples import BASE
from services.gateway.directory.models import CapacityBody, EntryBody, NeedsBody
from services.gateway.indicators.models import IndicatorsBody
from tests.support.canary_clinic import CLINIC, Clinic, until
from tests.support.canary_native import Native, Place, every_field
from tests.support.canary_traffic import FHIR, Sent, Traffic
from tests.support.indicator_rows import ROW

ENTRY: Final = f"/v1/directory/services/{CLINIC}-casa"
OWN: Final = {"name", "address", "assured_date"}
"""Parts of an entry that an organisation says of itself, and that are public."""
PARTS: Final = ("status", "criteria", "reason", "end", "error")
CHANNEL: Final = ("type", "endpoint", "payload", "header")


class Others:
    """What the partners do beside referring and answering."""

    def __init__(self, native: Native, clinic: Clinic) -> None:
        self.native = native
        self.clinic = clinic
        self.traffic: Traffic = native.traffic

    async def directory(self) -> None:
        """Entries, capacity and proposals with somebody in each field."""
        call = self.native.call
        shown = (await call("directory", "GET", ENTRY)).json()
        entry = {name: shown[name] for name in EntryBody.model_fields if shown[name] is not None}

        async def write(body: Any, at: Place) -> Sent:
            tag = (await call("directory", "GET", ENTRY)).headers["etag"]
            stale = bool(at) and at[0] in OWN
            headers = {"If-Match": 'W/"99999"' if stale else tag}
            return await call("entry", "PUT", ENTRY, body, headers=headers)

        async def capacity(body: Any, at: Place) -> Sent:
            return await call("capacity", "PUT", f"{ENTRY}/capacity", body)

        async def propose(body: Any, at: Place) -> Sent:
            return await call("proposal", "POST", "/v1/directory/proposals", body, org="ong-norte")

        await every_field(self.traffic, "entry field", EntryBody, entry, write)
        await write(entry, ())
        room = {"capacity_status": "accepting", "capacity_free": 3}
        await every_field(self.traffic, "capacity field", CapacityBody, room, capacity)
        await capacity(room, ())
        needs = {"service_type": "shelter_specialized", "country": "COL"}
        await every_field(self.traffic, "needs field", NeedsBody, needs, propose)
        await propose(needs, ())

    async def indicators(self) -> None:
        """5W rows with somebody in each field."""

        async def report(body: Any, at: Place) -> Sent:
            path = "/v1/indicators"
            return await self.native.call("indicator", "POST", path, body, org="ong-norte")

        rows = {"rows": [dict(ROW)]}
        await every_field(self.traffic, "indicator field", IndicatorsBody, rows, report)
        await report(rows, ())

    async def subscribe(self) -> list[str]:
        """Subscriptions of both parties that get in; refused ones with somebody in each part."""
        made = []
        for org, side in ((CLINIC, "owner"), ("ong-norte", "requester")):
            good = self.clinic.subscription(org, side)
            sent = await self._fhir("POST", "/fhir/Subscription", good, org, "subscription")
            made.append(sent.json()["id"])
            path = f"/fhir/Subscription/{made[-1]}"
            for wrong in self._wrong(good):
                await self._fhir("POST", "/fhir/Subscription", wrong, org, "subscription part")
                await self._fhir("PUT", path, wrong, org, "subscription part")
            for form in ("$events?eventsSinceNumber={}", "$events?content={}", "$status?{}=1"):
                where = f"{path}/{form.format(quote(self.traffic.word('subscription query')))}"
                await self._get(where, org, "subscription query")
        await until(lambda: len({one[1] for one in self.clinic.told if "/told/" in one[1]}) == 2)
        return made

    def _wrong(self, good: dict[str, Any]) -> list[dict[str, Any]]:
        name, token = self.traffic.word("Subscription", "name"), self.traffic.word("Subscription")
        found = [{**good, part: name} for part in PARTS if part != "reason"]
        found += [{**good, token: name}, {**good, "reason": [name]}, {**good, "id": name}]
        for part in CHANNEL:
            one = copy.deepcopy(good)
            one["channel"][part] = [f"Authorization: {name}"] if part == "header" else name
            found.append(one)
        for url in (f"https://{token}.example/told", f"{self.clinic.base}/told?who={token}"):
            one = copy.deepcopy(good)
            one["channel"]["endpoint"] = url
            found.append(one)
        for criteria in (f"Patient?name={name}", f"Task?owner={name}", f"Task?{token}=1"):
            found.append({**good, "criteria": criteria})
        extended = copy.deepcopy(good)
        extended["channel"]["extension"] = [{"url": f"urn:{token}", "valueString": name}]
        return [*found, extended]

    async def _fhir(
        self, method: str, path: str, body: Any, org: str, what: str, **headers: str
    ) -> Sent:
        sent = {"Content-Type": FHIR, **headers}
        if method == "PUT":
            sent["If-Match"] = 'W/"1"'
        raw = self.traffic.wire(body, 0)
        found = await self.traffic.call(method, path, raw, org=org, what=what, headers=sent)
        self.native.others.setdefault(what, []).append(found)
        return found

    async def _get(self, path: str, org: str, what: str) -> Sent:
        return await self.native.call(what, "GET", path, org=org)

    async def told_again(self, made: list[str]) -> None:
        """What subscriptions show of themselves and of their events."""
        for org, name in zip((CLINIC, "ong-norte"), made, strict=True):
            for path in ("", "/$status", "/$events"):
                await self._get(f"/fhir/Subscription/{name}{path}", org, "subscription read")
            await self._get("/fhir/Subscription", org, "subscription read")

    def _abort(self, task: str, name: str, **changes: Any) -> dict[str, Any]:
        reasons = f"{BASE}/CodeSystem/referral-reason-code"
        code = {"coding": [{"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "abort"}]}
        return {
            "resourceType": "Task",
            "identifier": [{"system": f"urn:{quote(name)}", "value": f"{name}-{uuid4()}"}],
            "status": "requested",
            "intent": "order",
            "code": code,
            "focus": {"reference": f"Task/{task}"},
            "reasonCode": {"coding": [{"system": reasons, "code": "duplicate", "display": name}]},
            **changes,
        }

    async def aborts(self, task: str, other: str) -> None:
        """Abort Tasks, wrong ones first; what is right is about another referral."""
        word = self.traffic.word
        name, token = word("abort", "name"), word("abort")
        for changes in (
            {"note": [{"text": name}]}, {"description": name}, {token: name}, {"status": token},
            {"focus": {"reference": f"Task/{token}"}}, {"focus": {"display": name}},
            {"reasonCode": {"text": name}}, {"code": {"text": name}},
            {"requester": {"reference": f"Organization/{token}"}},
            {"owner": {"reference": f"Organization/{token}", "display": name}},
            {"identifier": [{"value": name}]}, {"identifier": name}, {"resourceType": token},
        ):  # fmt: skip
            body = self._abort(task, name, **changes)
            await self._fhir("POST", "/fhir/Task", body, "ong-norte", "abort part")
        for _ in range(2):
            body = self._abort(other, word("abort", "name"))
            key = {"Idempotency-Key": f"{word('abort key')}-{uuid4()}"}
            sent = await self._fhir("POST", "/fhir/Task", body, "ong-norte", "abort", **key)
            if sent.status == 201:
                await self._get(f"/fhir/Task/{sent.json()['id']}", "ong-norte", "abort read")

    async def searches(self, system: str, value: str) -> None:
        """Patients by their own identifiers, disclosures; identifiers in an address."""
        word = self.traffic.word
        forms = [f"{system}|{value}", value, f"{word('search')}|{word('search', 'number')}",
                 word("search", "name"), f"|{word('search', 'number')}"]  # fmt: skip
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        bodies = [f"identifier={quote(text)}" for text in forms]
        bodies += [f"{word('search')}={word('search')}", f"name={quote(word('search', 'name'))}"]
        for number, body in enumerate(bodies):
            sent = await self.traffic.call(
                "POST", "/fhir/Patient/_search", body.encode(), what="search", headers=kind
            )
            self.native.others.setdefault("search" if number else "search own", []).append(sent)
        for form in (
            "/fhir/Patient?identifier={}", "/fhir/Patient?family={}", "/fhir/Patient?birthdate={}",
            "/fhir/AuditEvent?entity={}", "/fhir/AuditEvent?date={}", "/fhir/AuditEvent?{}=1",
            "/fhir/AuditEvent?patient={}", "/fhir/AuditEvent/{}", "/fhir/AuditEvent?_cursor={}",
        ):  # fmt: skip
            for org in (CLINIC, "ong-norte"):
                where = form.format(quote(word("search query", "name")))
                await self._get(where, org, "search query")
        for org in (CLINIC, "ong-norte"):
            await self._get("/fhir/AuditEvent", org, "disclosures")


async def drive_others(native: Native, clinic: Clinic) -> None:
    """All of it, between submissions and answers of the clinic."""
    others = Others(native, clinic)
    made = await others.subscribe()
    taken = await native.submissions(7)
    answers = [sent.json() for sent in taken if sent.status == 201]

    def announced() -> list[str]:
        events = [b for b in clinic.bodies(f"/in/{CLINIC}") if b["type"] == "cauce.referral.sent"]
        return list(dict.fromkeys(event["data"]["id"] for event in events))

    await until(lambda: len(announced()) >= len(answers))
    theirs = announced()[: len(answers)]
    mine = [one["referral"]["id"] for one in answers]
    await native.data(theirs)
    await native.answers(mine[0], theirs[0])
    good = await native.hooks(theirs[1:4])
    native.others["hook good"] = good
    await others.aborts(mine[4], mine[6])
    await native.case(answers[3]["case"]["id"], theirs[3])
    person = native.sent[0]["person"]["identifiers"][0]
    await others.searches(person["system"], person["value"])
    await others.directory()
    await others.indicators()
    await native.consents(answers[5]["consent"]["id"])
    await until(
        lambda: any(b["type"].endswith("erasure.requested") for b in clinic.bodies(f"/in/{CLINIC}"))
    )
    await asyncio.sleep(0.5)
    await native.erasures()
    await others.told_again(made)
