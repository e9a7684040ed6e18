"""Traffic on the surfaces beside FHIR's referral, every part of a request carrying an identity.

Native submissions, dry runs, commands, reads, consents, hooks; the directory, indicators,
subscriptions, abort Tasks and searches are in `canary_others`. The fields come from the models of
the product, so that a new one is carried too.
"""

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from types import NoneType
from typing import Annotated, Any, Final, get_args, get_origin
from uuid import uuid4

from pydantic import BaseModel

from connectors.sdk.types import Submission
from services.gateway.cases.models import CaseCommandBody
from services.gateway.consents.models import RenewalBody, WithdrawalBody
from services.gateway.hooks.models import CommandData, EffectData, Message
from services.gateway.native.models import CommandBody, EffectBody
from services.kit.crypto import new_ed25519
from tests.support.canary import KINDS
from tests.support.canary_bundles import fresh
from tests.support.canary_clinic import CLINIC, Clinic
from tests.support.canary_traffic import NAMES, Sent, Traffic
from tests.support.natives import twin

JSON: Final = {"Content-Type": "application/json"}
Place = tuple[str | int, ...]
Send = Callable[[Any, Place], Awaitable[Sent]]


def places(model: type[BaseModel], above: Place = ()) -> Iterator[Place]:
    """Every leaf of a model, the first of a list standing for all."""
    for name, field in model.model_fields.items():
        yield from _below(field.annotation, (*above, field.alias or name))


def _below(kind: Any, at: Place) -> Iterator[Place]:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _below(args[0], at)
    elif origin is tuple:
        yield from _below(args[0], (*at, 0))
    elif args and any(isinstance(a, type) and issubclass(a, BaseModel) for a in args):
        for one in args:
            if one is not NoneType:
                yield from _below(one, at)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from places(kind, at)
    else:
        yield at


def put(document: Any, at: Place, value: Any) -> None:
    """Set a value deep in a document, making what is not there."""
    for step, following in pairwise(at):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(step, int):
            document.extend([empty] if len(document) <= step else [])
            document = document[step]
        else:
            document = document.setdefault(step, empty)
    if isinstance(at[-1], int) and len(document) <= at[-1]:
        document.append(value)
    else:
        document[at[-1]] = value


async def every_field(
    traffic: Traffic, what: str, model: type[BaseModel], sample: Any, send: Send
) -> list[Sent]:
    """The sample once for each leaf of the model, which holds somebody; and with other names.

    A sample that is a function gives another one for each.
    """
    found = []
    make: Callable[[], Any] = sample if callable(sample) else lambda: copy.deepcopy(sample)
    for number, at in enumerate(places(model)):
        body = make()
        put(body, at, traffic.word(what, KINDS[number % len(KINDS)]))
        found.append(await send(body, at))
    name, token = traffic.word(what, "name"), traffic.word(what)
    sample = make()
    odd = ({**sample, token: name}, {**sample, name: {name: name}}, {name: name}, [name])
    return found + [await send(one, ()) for one in odd]


class Native:
    """What the sender and the clinic do on `/v1`."""

    def __init__(self, traffic: Traffic, clinic: Clinic) -> None:
        self.traffic = traffic
        self.clinic = clinic
        self.others: dict[str, list[Sent]] = {}
        self.sent: list[dict[str, Any]] = []
        """Submissions that were to be accepted."""

    def body(self) -> dict[str, Any]:
        """A native referral to the clinic of somebody new, in every field that takes text."""
        planted = self.traffic.planter.full(to_org=CLINIC, entry=f"{CLINIC}-casa")
        fresh(planted.body)
        self.traffic.identities |= {number for number, _ in planted.fields.values()}
        made: dict[str, Any] = json.loads(json.dumps(twin(planted.body)))
        return made

    async def call(
        self, what: str, method: str, path: str, body: Any = None, *, org: str = CLINIC, **how: Any
    ) -> Sent:
        """A request, kept under its name."""
        headers = {} if body is None else {**JSON, **how.pop("headers", {})}
        raw = None if body is None else self.traffic.wire(body, len(self.others.get(what, ())))
        sent = await self.traffic.call(
            method, path, raw, org=org, what=what, headers=headers, **how
        )
        self.others.setdefault(what, []).append(sent)
        return sent

    async def submit(self, body: Any, what: str = "native referral") -> Sent:
        """`POST /v1/referrals` with headers that carry something."""
        word = self.traffic.word
        header = NAMES[len(self.others.get(what, ())) % len(NAMES)]
        headers = {
            "Idempotency-Key": f"{word('native Idempotency-Key')}-{uuid4()}",
            header: word(f"header {header}"),
        }
        return await self.call(
            what, "POST", "/v1/referrals", body, org="ong-norte", headers=headers
        )

    async def submissions(self, count: int) -> list[Sent]:
        """Referrals that get in, each tried before; then one wrong body for each field."""
        taken = []
        for _ in range(count):
            body = self.body()
            self.sent.append(body)
            await self.validate(body, ())
            taken.append(await self.submit(body))

        async def wrong(body: Any, at: Place) -> Sent:
            await self.validate(body, at)
            return await self.submit(body, "native field")

        sample = self.body()

        def another() -> Any:
            made = copy.deepcopy(sample)  # another case's, of somebody else
            for one in (made["case"]["requisition"], *made["person"]["identifiers"]):
                one["value"] += f"-{uuid4()}"
            return made

        await every_field(self.traffic, "native field", Submission, another, wrong)
        for raw in self._malformed():
            for path in ("/v1/referrals", "/v1/validate", f"/v1/validate?format={raw[:3]!r}"):
                sent = await self.traffic.call("POST", path, raw, what="native raw", headers=JSON)
                self.others.setdefault("native raw", []).append(sent)
        return taken

    async def validate(self, body: Any, at: Place) -> Sent:
        """`POST /v1/validate`."""
        return await self.call("validate", "POST", "/v1/validate", body, org="ong-norte")

    def _malformed(self) -> list[bytes]:
        name = self.traffic.word("native raw", "name")
        good = json.dumps(self.body(), ensure_ascii=False)
        return [
            f'{{"case": "{name}'.encode(),
            f'{{"{name}": 1, "{name}": 2}}'.encode(),
            f'["{name}"]'.encode(),
            f'"{name}"'.encode(),
            good.encode("latin-1", "replace"),
            name.encode("utf-16"),
            b'{"n": 1' + name.encode() + b"}",
        ]

    async def answers(self, mine: str, theirs: str) -> None:
        """Commands of the recipient and of the sender, reads and their wrong addresses."""
        word, good = self.traffic.word, {"command": "start_review", "expected_version": 1}

        async def command(body: Any, at: Place) -> Sent:
            key = {"Idempotency-Key": word("command key")}
            path = f"/v1/referrals/{theirs}/commands"
            return await self.call("command", "POST", path, body, headers=key)

        await every_field(self.traffic, "command", CommandBody, good, command)
        for name, org in ((theirs, CLINIC), (mine, "ong-norte")):
            shown = (await self.call("native read", "GET", f"/v1/referrals/{name}", org=org)).json()
            body = {"command": "accept" if org == CLINIC else "request_cancel",
                    "expected_version": shown["version"], "reason_code": "duplicate"}  # fmt: skip
            if org == CLINIC:
                del body["reason_code"]
            path = f"/v1/referrals/{name}/commands"
            await self.call("command", "POST", path, body, org=org)
            await self.call("native read", "GET", f"/v1/referrals/{name}/timeline", org=org)
            await self.call("native read", "GET", "/v1/referrals", org=org)
        for form in (
            "/v1/referrals/{}", "/v1/referrals/{}/data", "/v1/referrals/{}/timeline",
            "/v1/referrals?status={}", "/v1/referrals?cursor={}", "/v1/referrals?{}=1",
            "/v1/codelists/{}", "/v1/consents/{}", "/v1/directory/services/{}",
            "/v1/directory/services?admin1={}", "/v1/erasure-requests?state={}", "/v1/{}",
            f"/v1/referrals/{theirs}/data?name={{}}",
        ):  # fmt: skip
            await self.call("native path", "GET", form.format(word("native path")))
            await self.call("native path", "POST", form.format(word("native path")), {"a": 1})

    async def data(self, names: list[str]) -> list[Sent]:
        """What the recipient reads of each; it is disclosed to it."""
        return [
            await self.call("data", "GET", f"/v1/referrals/{name}/data", disclosed=True)
            for name in names
        ]

    async def case(self, case: str, theirs: str) -> None:
        """A case put right with somebody in each field, and who reads it read anew; its end."""
        path, word = f"/v1/cases/{case}", self.traffic.word

        async def command(body: Any, at: Place) -> Sent:
            key = {"Idempotency-Key": f"{word('case key')}-{uuid4()}"}
            where = f"{path}/commands"
            return await self.call("case", "POST", where, body, org="ong-norte", headers=key)

        async def version() -> int:
            shown = (await self.call("case read", "GET", path, org="ong-norte")).json()
            return int(shown["version"])

        right = {"command": "update", "expected_version": await version()}
        await every_field(self.traffic, "case field", CaseCommandBody, right, command)
        planted = self.body()
        made = {name: planted["person"][name] for name in ("names", "telecom", "addresses")}
        right |= {"expected_version": await version(), "person": made}
        taken = await command(right, ())
        self.others["case put right"] = [taken, await command(right, ())]
        await self.call("case", "GET", f"/v1/cases/{word('case path')}", org="ong-norte")
        for _ in range(100):
            changed = await self.call("data changes", "GET", "/v1/data-changes")
            if theirs in changed.answer.decode():
                break
            await asyncio.sleep(0.1)
        await self.call("data", "GET", f"/v1/referrals/{theirs}/data", disclosed=True)
        for name, more in (("close", {"closure_reason": "moved"}), ("reopen", {})):
            body = {"command": name, "expected_version": await version(), **more}
            await command(body, ())

    async def consents(self, consent: str) -> None:
        """New versions and withdrawals, with somebody in each field, then the whole taken back."""
        path = f"/v1/consents/{consent}"
        shown = (await self.call("consent", "GET", path, org="ong-norte")).json()
        given = self.body()["consent"]
        sample = {"renews": consent, "expected_version": shown["version"], "consent": given}

        async def renew(body: Any, at: Place) -> Sent:
            key = {"Idempotency-Key": self.traffic.word("consent key")}
            where = "/v1/consents"
            return await self.call("consent", "POST", where, body, org="ong-norte", headers=key)

        async def withdraw(body: Any, at: Place) -> Sent:
            key = {"Idempotency-Key": self.traffic.word("consent key")}
            where = f"{path}/withdrawals"
            return await self.call("taken back", "POST", where, body, org="ong-norte", headers=key)

        await every_field(self.traffic, "consent field", RenewalBody, sample, renew)
        part = {"to_org": CLINIC, "purpose": "service_referral", "data_categories": ["family"]}
        wanted = {"status": "withdrawn", "items": [part]}
        await every_field(self.traffic, "withdrawal field", WithdrawalBody, wanted, withdraw)
        await withdraw({"status": "withdrawn"}, ())

    async def erasures(self) -> None:
        """Requests to erase, answered wrongly and rightly."""
        listed = (await self.call("erasure", "GET", "/v1/erasure-requests")).json()
        for number, one in enumerate(listed["erasure_requests"]):

            async def effect(body: Any, at: Place, name: str = one["id"]) -> Sent:
                path = f"/v1/erasure-requests/{name}/effect"
                return await self.call("erasure", "POST", path, body)

            if number == 0:
                await every_field(self.traffic, "effect", EffectBody, {"effect": "x"}, effect)
                await effect({"effect": "deleted"}, ())
            else:
                data = {"request": one["id"], "effect": "deleted"}
                await self.clinic.post(self._event("cauce.erasure.effect", data))

    def _event(self, kind: str, data: Any) -> dict[str, Any]:
        word = self.traffic.word("hook field")
        made = {"specversion": "1.0", "id": f"{word}-{uuid4()}", "source": f"urn:{word}"}
        return {**made, "type": kind, "subject": word, "data": data}

    async def hooks(self, names: list[str]) -> list[Sent]:
        """Signed messages, right and wrong; the right ones carry somebody where none is read."""
        word, sent = self.traffic.word, []
        for name in names:
            body = self._event(
                "cauce.referral.command", {"referral": name, "command": "start_review"}
            )
            mark = f"{word('webhook-id')}.{uuid4()}"
            sent.append(await self.clinic.post(body, mark=mark))
            sent.append(await self.clinic.post(body, mark=mark))
        good = {"referral": names[0], "command": "accept"}
        done = {"request": str(uuid4()), "effect": "x"}
        kinds: tuple[tuple[str, type[BaseModel], dict[str, str]], ...] = (
            ("cauce.referral.command", CommandData, good),
            ("cauce.erasure.effect", EffectData, done),
        )

        async def whole(body: Any, at: Place) -> Sent:
            return await self.clinic.post(body, mark=f"{word('webhook-id')}.{uuid4()}")

        found = self.others.setdefault("hook", [])
        for kind, model, data in kinds:
            base = self._event(kind, data)

            async def inner(body: Any, at: Place, base: Any = base) -> Sent:
                return await whole({**base, "data": body}, at)

            found += await every_field(self.traffic, "hook data", model, data, inner)
        found += await every_field(self.traffic, "hook field", Message, base, whole)
        strange, body = new_ed25519()[0], self._event("cauce.referral.command", good)
        found += [
            await self.clinic.post(body, seed=strange),
            await self.clinic.post(body, org=word("hook path", "name")),
            await self.clinic.post(body, org=word("hook path")),
            await self.clinic.post(body, mark=word("webhook-id", "number")),
            await self.clinic.post(word("hook raw", "name").encode()),
        ]
        for header in ("webhook-id", "webhook-timestamp", "webhook-signature", "Content-Type"):
            found.append(await self.clinic.post(body, headers={header: word("hook header")}))
            said = {header: f"v1a,{word('hook header')}"}
            found.append(await self.clinic.post(body, headers=said))
        return sent
