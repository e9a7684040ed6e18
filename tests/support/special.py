"""A running hub with its demo people and partners, and what a test asks of them.

The command line is run as a person of the demo; what the recipient holds is read from its journal.
"""

import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg

from connectors.sandbox import journal
from connectors.sandbox.__main__ import RECIPIENT_SCOPE, SOURCE_SCOPE
from connectors.sandbox.agency import Agency
from connectors.sandbox.erasing import is_erasure, parts_of
from connectors.sandbox.fhir_store import FhirStore
from connectors.sandbox.people import person
from connectors.sandbox.samples import Sample
from connectors.sandbox.smart import TokenClient
from services.console.local import plan
from services.console.local.keys import make_secrets
from services.console.local.place import Place
from services.console.local.world import PROPOSES, make_world
from services.console.main import main
from services.kit.settings import Settings
from tests.support.bundles import resource
from tests.support.hub import Hub
from tests.support.servers import Databases
from tests.support.withdrawal_world import Referred, World, until

PEOPLE = count(5_000)
EPOCH_SECONDS = 3.0
USUAL = {
    "answers": [["received", 50], ["accepted", 50]],
    "answer_by": "patch",
    "fault": "",
    "fault_calls": -1,
    "slow_ms": 0,
    "erasure_after_ms": 0,
}
"""How the recipient behaves when a test begins."""


@dataclass(kw_only=True)
class Special(World):
    """The world with the demo's people."""

    def cauce(self, *words: str, who: str = PROPOSES.staff_id) -> tuple[int, str, str]:
        """Run a command as a person; status, what it printed, what it complained of."""
        os.environ |= {"CAUCE_RUN": str(self.hub.place.root), "CAUCE_STAFF_ID": who}
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(words)
        return status, out.getvalue(), err.getvalue()

    def answer(self, *words: str, who: str = PROPOSES.staff_id) -> Any:
        """The JSON that a command prints; it must succeed."""
        status, printed, complaint = self.cauce(*words, "--json", who=who)
        assert status == 0, complaint
        return json.loads(printed)

    async def behave(self, **switches: Any) -> None:
        """Tell the recipient how to behave."""
        url = f"http://127.0.0.1:{self.hub.settings.refugio_port}/_control"
        async with self.session.post(url, json=switches) as answer:
            assert answer.status == 200

    async def refused(self, bundle: dict[str, Any]) -> set[tuple[str, str]]:
        """Send what must be refused; (code, expression) of each reason."""
        answer = await self.agency.refer(bundle)
        assert answer["status"] in (400, 422), answer
        return {
            (one["details"]["coding"][0]["code"], (one.get("expression") or [""])[0])
            for one in answer["body"]["issue"]
        }

    async def status(self, referred: Referred) -> str:
        """State of the referral."""
        found: str = await self.admin.fetchval(
            "select status from referral.referral where referral_ref = $1", referred.referral_ref
        )
        return found

    def store(self) -> FhirStore:
        """What the recipient holds now, by its own journal."""
        home = plan.partner_home(self.hub.place, plan.REFUGIO)
        found = FhirStore()
        for record in journal.read(home / "data" / "refugio.jsonl"):
            for one in record.get("resources", ()):
                found.apply(one)
            for kind, rid in record.get("removed", ()):
                found.remove(kind, rid)
            for one in record.get("changed", ()):
                found.apply(one)
            if record["kind"] == "erasure":
                found.apply(record["task"])
        return found

    async def held(self, referred: Referred) -> dict[str, Any]:
        """The recipient's resources of a referral by type; empty when it holds none."""
        alias = await self.alias(plan.REFUGIO, "task", referred.referral_ref)
        store = self.store()
        system = f"{self.hub.settings.canonical_base}/NamingSystem/task"
        rid = store.by_identifier.get(("Task", system, str(alias)))
        keys = parts_of(store.resources, rid) if rid else []
        return {kind: store.resources[kind, one] for kind, one in keys}

    def erasures_there(self) -> list[dict[str, Any]]:
        """Every request to delete that the recipient has."""
        return [r for r in self.store().resources.values() if is_erasure(r)]

    async def metric(self, line: str, port: int | None = None) -> float | None:
        """The value of a line of /metrics."""
        url = f"http://127.0.0.1:{port or self.hub.settings.admin_port}/metrics"
        async with self.session.get(url) as answer:
            lines = (await answer.text()).splitlines()
        return next((float(one.split()[-1]) for one in lines if one.startswith(line)), None)

    async def becomes(self, referred: Referred, status: str) -> None:
        """Wait for a state of the referral."""

        async def there() -> bool:
            return await self.status(referred) == status

        await until(there, f"never {status}", 15)

    async def shows(self, referred: Referred, kind: str, element: str) -> None:
        """Wait until the recipient's resource has an element."""

        async def there() -> bool:
            return element in (await self.held(referred)).get(kind, {})

        await until(there, f"no {kind}.{element}", 15)

    async def lacks(self, referred: Referred, kind: str, element: str) -> None:
        """Wait until the recipient's resource is there without an element."""

        async def gone() -> bool:
            held = await self.held(referred)
            return kind in held and element not in held[kind]

        await until(gone, f"{kind}.{element} stays", 15)

    async def answered(self, referred: Referred) -> None:
        """Wait until there were requests to delete for a referral and each was answered."""

        async def done() -> bool:
            rows = await self.erasures(referred)
            return bool(rows) and {row["state"] for row in rows} == {"acknowledged"}

        await until(done, "a request to delete was not answered", 15)

    async def erasures(self, referred: Referred) -> list[Any]:
        """The hub's requests to delete for a referral."""
        return list(
            await self.admin.fetch(
                "select * from delivery.erasure where referral_ref = $1", referred.referral_ref
            )
        )

    async def in_vault(self, query: str, *values: Any) -> list[Any]:
        """Rows of the vault's database, as its administrator sees them."""
        conn = await asyncpg.connect(self.pg.vault_admin_dsn)
        try:
            return list(await conn.fetch(query, *values))
        finally:
            await conn.close()

    async def kinds(self, case_ref: UUID) -> list[str]:
        """Kinds of the case's leaves, in order."""
        return [leaf["kind"] for leaf in await self.leaves(case_ref)]


def short_epochs(secrets: Place, settings: Settings) -> Settings:
    """Settings with epochs of seconds, in a keystore that no other module uses."""
    folder = secrets.root / f"vault-keys-{uuid4().hex[:6]}"
    make_secrets(secrets, folder)
    short = {"vault_keys_dir": folder, "epoch_hours": EPOCH_SECONDS / 3600, "poll_seconds": 0.5}
    return settings.model_copy(update=short)


def sample(**changes: Any) -> Sample:
    """A referral of somebody not yet referred."""
    return Sample(**{"person": person(next(PEOPLE)), **changes})


def ends(bundle: dict[str, Any], at: datetime) -> dict[str, Any]:
    """The Bundle with a consent that ends at an instant."""
    resource(bundle, "Consent")["provision"]["period"]["end"] = at.isoformat()
    return bundle


def born_months_before(bundle: dict[str, Any], now: datetime, years: int) -> dict[str, Any]:
    """The Bundle of somebody of whom only year and month of birth are known."""
    resource(bundle, "Patient")["birthDate"] = f"{now.year - years}-{now.month:02}"
    return bundle


def less(bundle: dict[str, Any], ids: dict[str, str], category: str) -> dict[str, Any]:
    """The Consent of a Bundle, as its sender knows it, without a category."""
    consent: dict[str, Any] = resource(bundle, "Consent")
    permit = consent["provision"]["provision"][0]
    permit["code"] = [c for c in permit["code"] if c["coding"][0]["code"] != category]
    del consent["performer"]
    patient = {"reference": f"Patient/{ids['Patient']}"}
    return consent | {"id": ids["Consent"], "patient": patient}


@asynccontextmanager
async def special_world(hub: Hub, pg: Databases) -> AsyncIterator[Special]:
    """The demo's people and partners on a running hub."""
    url = hub.settings.public_url
    make_world(hub.place, hub.settings)
    admin = await asyncpg.create_pool(pg.admin_dsn, min_size=1, max_size=4)
    scopes = {plan.ONG: SOURCE_SCOPE, plan.REFUGIO: RECIPIENT_SCOPE}
    homes = {org: plan.partner_home(hub.place, org) for org in scopes}
    tokens = {
        org: TokenClient(org, f"{url}/oauth/token", homes[org] / "client.es384", scope)
        for org, scope in scopes.items()
    }
    agency = Agency(homes[plan.ONG] / f"client-{uuid4().hex[:6]}", url, tokens[plan.ONG])
    await agency.start()
    try:
        async with aiohttp.ClientSession() as session:
            made = Special(
                hub=hub, pg=pg, admin=admin, session=session, agency=agency, tokens=tokens
            )
            await made.behave(**USUAL)
            yield made
    finally:
        await agency.stop()
        await admin.close()
