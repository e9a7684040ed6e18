"""The run of the canary: what is sent, by whom, in which order; nothing is judged here."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from services.console.client import CallError, Client
from services.console.local import plan, processes
from services.console.local.world import PROPOSES
from tests.support import servers
from tests.support.canary import identities
from tests.support.canary_clinic import Clinic, clinic, enter
from tests.support.canary_echo import ECHOES, echoing
from tests.support.canary_faults import CRASH, UPSET
from tests.support.canary_native import Native
from tests.support.canary_others import drive_others
from tests.support.canary_tokens import jti, strangers
from tests.support.canary_traffic import Sent, Traffic
from tests.support.hub import Hub

REFERRALS = int(os.environ.get("CANARY_REFERRALS", "60"))
"""With 1,000 of them, every field has carried every identity."""
PEOPLE = identities()


def start_with_faults(hub: Hub, word: str) -> None:
    """The hub with the faults of `tests.support.canary_faults` in it."""
    command = hub.command(plan.HUB)
    argv = [sys.executable, "-m", "tests.support.canary_faults", word, "all"]
    processes.start(hub.place, replace(command, argv=argv))


@dataclass
class Run:
    """What the traffic left to be judged."""

    hub: Hub
    traffic: Traffic
    accepted: list[Sent]
    closed: dict[str, Sent]
    malformed: list[Sent]
    others: dict[str, list[Sent]]
    heard: list[Any]
    """Address and headers of the calls that the echoing partner got."""
    clinic: Clinic
    """What the partner with a webhook was told, and both subscribers."""
    staff: list[Any] = field(default_factory=list)
    """What people were shown on the admin port."""
    opened: Any = None
    """The identity that was opened to one of them."""
    seconds: float = 0


async def drive(
    hub: Hub,
    pg: servers.Databases,
    flag: Path,
    listener: socket.socket,
    clients: dict[str, Client],
) -> Run:
    settings = hub.settings
    traffic = Traffic(
        hub=settings.public_url,
        partners=hub.place.root / "partners",
        people=PEOPLE,
        refugio=f"http://127.0.0.1:{settings.refugio_port}",
    )
    async with (
        closing(pg) as admin,
        traffic,
        echoing(listener) as heard,
        clinic(traffic) as there,
    ):
        native = Native(traffic, there)
        await enter(hub, admin, clients, there)
        accepted = await traffic.many(REFERRALS)
        done = Run(
            hub=hub,
            traffic=traffic,
            accepted=accepted,
            closed={},
            malformed=[],
            others={"emergency": [await traffic.emergency()]},
            heard=heard,
            clinic=there,
        )
        await _until(admin, "select count(*) >= 40 from delivery.intent where state = 'disclosed'")
        done.closed = await traffic.closed()
        done.malformed = await traffic.malformed()
        await _answers(done, admin, flag)
        await _consents(done, admin)
        await drive_others(native, there)
        done.others |= native.others
        case = await admin.fetchval("select case_ref from gateway.referral limit 1")
        parked = await admin.fetchval("select consent_ref from gateway.referral limit 1")
        await asyncio.to_thread(_people, done, clients, case, parked)
        await _faults(done, admin)
    return done


@asynccontextmanager
async def closing(pg: servers.Databases) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the superuser of the hub's database."""
    admin = await asyncpg.connect(pg.admin_dsn)
    try:
        yield admin
    finally:
        await admin.close()


async def _until(admin: asyncpg.Connection, query: str, seconds: float = 60) -> None:
    """Wait until a query says true."""
    until = time.monotonic() + seconds
    while not await admin.fetchval(query):
        assert time.monotonic() < until, query
        await asyncio.sleep(0.1)


async def _answers(done: Run, admin: asyncpg.Connection, flag: Path) -> None:
    """What both parties write about Tasks; the last case dies in a consumer."""
    traffic = done.traffic
    ok = [sent for sent in done.accepted if sent.status == 200]
    done.others["addresses"] = await traffic.addresses(ok[0].id_of("Task"))
    done.others["token"] = [*await strangers(traffic), await jti(traffic)]
    tasks = list(await traffic.tasks_of_recipient())
    done.others["patch"] = [
        sent for task in tasks[:3] for sent in await traffic.answers_of_recipient(task)
    ]
    done.others["put"] = await traffic.put_task(tasks[3])
    done.others["put"] += await traffic.put_task(ok[3].id_of("Task"))
    done.others["own reads"] = [
        await traffic.call("GET", f"/fhir/{kind}/{ok[0].id_of(kind)}")
        for kind in ("Task", "ServiceRequest", "Patient", "Consent")
    ]
    case = await admin.fetchval(
        "select r.case_ref from gateway.alias a join gateway.referral r using (referral_ref)"
        " where a.alias = $1",
        UUID(tasks[4]),
    )
    await asyncio.to_thread(flag.write_text, str(case), encoding="ascii")
    done.others["dead"] = [await _insisting(traffic, tasks[4], "in-progress")]
    assert done.others["dead"][0].status == 200, done.others["dead"]
    await _until(admin, "select exists (select from delivery.cursor where parked)")


async def _insisting(traffic: Traffic, task: str, status: str) -> Sent:
    """The recipient's own system answers meanwhile: again until ours is the one taken."""
    for _ in range(50):
        sent = await traffic.answer(task, {"status": status})
        if sent.status != 412:
            break
        await asyncio.sleep(0.1)
    return sent


async def _consents(done: Run, admin: asyncpg.Connection) -> None:
    """Deliveries that are held while the recipient is away; consent narrowed and taken back."""
    traffic = done.traffic
    ok = [sent for sent in done.accepted if sent.status == 200]
    written = traffic.planter.full().body["entry"][2]["resource"]
    done.others["consent put"] = await traffic.put_consent(ok[5].id_of("Consent"), written)
    await traffic.control(fault="unavailable")
    away = await traffic.many(6)
    withdrawn = [sent.id_of("Consent") for sent in (*away[:3], *ok[10:14])]
    done.others["withdraw"] = [await traffic.withdraw(consent) for consent in withdrawn]
    await traffic.control(fault="")
    done.accepted += away
    echo = [
        await traffic.refer(traffic.planter.full(to_org="eco-sur", entry="eco-sur-casa"), number)
        for number in range(len(ECHOES))
    ]
    done.accepted += echo
    await _until(
        admin, "select count(*) >= 3 from delivery.task where to_org = 'eco-sur' and attempts > 0"
    )
    await _until(admin, "select count(*) >= 4 from delivery.erasure where state = 'acknowledged'")


def _people(done: Run, clients: dict[str, Client], case: UUID, consent: UUID) -> None:
    """What staff see and ask for; one identity is opened, and what they write by mistake."""
    asker, approver = clients["officer-norte"], clients["officer-sur"]
    request = {"case_ref": str(case), "reason_code": "risk_to_life"}
    path = f"/admin/openings/{asker.post('/admin/openings', request)['opening_ref']}"
    done.staff.append(approver.post(f"{path}/approval"))
    done.opened = asker.post(f"{path}/identity")
    operator = clients[PROPOSES.staff_id]
    rows = operator.get("/admin/referrals")["referrals"]
    paths = [f"/admin/referrals/{row['referral_ref']}" for row in rows[:20]]
    paths += [f"/admin/{name}" for name in ("dead", "erasures", "notices", "openings", "topics")]
    paths += ["/admin/referrals", "/admin/partners", "/admin/staff", "/admin/topics/cauce.case"]
    done.staff += [operator.get(path) for path in (*paths, f"/admin/consents/{consent}")]
    word, name = done.traffic.word("staff"), done.traffic.word("staff", "name")
    for path, body in (
        ("/admin/openings", {**request, "reason_code": word}),
        ("/admin/openings", {"case_ref": name, word: name}),
        ("/admin/staff", {"staff_id": name, "organisation": word, "roles": [name], "jwk": {}}),
        ("/admin/partners", {"toml": f'org = "{word}"\nname = "{name}"', "jwks": {name: word}}),
        (f"/admin/partners/{word}/activation", {"pending_digest": name}),
        (f"/admin/dead/{name}/replay", {}),
    ):
        with pytest.raises(CallError) as refused:
            operator.post(path, body)
        done.staff.append({"error": str(refused.value), "faults": refused.value.faults})


async def _faults(done: Run, admin: asyncpg.Connection) -> None:
    """Errors that speak, a process that dies with a traceback, a start that fails."""
    traffic, hub = done.traffic, done.hub
    for system in (UPSET, UPSET, CRASH):
        body = traffic.planter.full().body
        body["identifier"]["system"] = system
        with suppress(aiohttp.ClientError):
            sent = await traffic.call("POST", "/fhir", traffic.wire(body, 0), what="fault")
            done.others.setdefault("fault", []).append(sent)
    await asyncio.to_thread(_wait_for_end, hub)
    start_with_faults(hub, "start")
    await asyncio.to_thread(_wait_for_end, hub)
    hub.start(plan.HUB)
    await asyncio.sleep(2)


def _wait_for_end(hub: Hub) -> None:
    until = time.monotonic() + 10
    while hub.alive(plan.HUB):
        assert time.monotonic() < until, "the planted fault did not end the process"
        time.sleep(0.05)
