"""A thousand invented identities go through the whole path, and are nowhere but where they may be.

The hub runs on servers of its own. After traffic through everything a partner can reach, with
refusals, withdrawals, a held delivery, a dead letter, faults that speak and crashes, every place
where the hub leaves bytes is searched. What the recipient got is in its own store, which is not
ours and is left out; that the sender keeps a ledger of its own is its business too.
"""

import asyncio
import json
import os
import socket
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import aiohttp
import asyncpg
import psutil
import pytest
from aiohttp import web

from connectors.fhir_r4.inbound.tables import elements
from connectors.sandbox import journal
from services.console.client import CallError, Client
from services.console.local import plan, processes
from services.console.local.place import Place
from services.console.local.postgres import Server
from services.console.local.world import ACTIVATES, PROPOSES, add_partner, make_world, partner_files
from services.kit import serving
from services.kit.settings import Settings
from tests.support import servers
from tests.support.canary import COUNT, Scanner, identities
from tests.support.canary_faults import CRASH, UPSET
from tests.support.canary_places import (
    scan_database,
    scan_files,
    scan_processes,
    scan_topics,
    scan_value,
)
from tests.support.canary_traffic import NAMES, Sent, Traffic
from tests.support.hub import Hub, running_hub

REFERRALS = int(os.environ.get("CANARY_REFERRALS", "60"))
"""With 1,000 of them, every field has carried every identity."""
PEOPLE = identities()
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A run folder with nothing of other tests in it."""
    with servers.temporary_place() as made:
        yield made


@pytest.fixture(scope="module")
def postgres_server(place: Place) -> Iterator[Server]:
    with servers.running_postgres(place) as server:
        yield server


@pytest.fixture(scope="module")
def kafka_server(place: Place) -> Iterator[servers.Kafka]:
    with servers.running_kafka(place) as broker:
        yield broker


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner(PEOPLE)


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
    staff: list[Any] = field(default_factory=list)
    """What people were shown on the admin port."""
    opened: Any = None
    """The identity that was opened to one of them."""
    seconds: float = 0


@pytest.fixture(scope="module")
def run(secrets: Place, settings: Settings, pg: servers.Databases) -> Iterator[Run]:
    with running_hub(secrets, settings, (plan.VAULT, plan.REFUGIO)) as hub:
        flag = secrets.root / "parked"
        start_with_faults(hub, str(flag))
        hub.wait_ready(plan.HUB)
        clients = make_world(secrets, settings)
        listener = serving.listen("127.0.0.1", 0)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        jwks = json.loads((secrets.root / "partners/refugio-sur/jwks.json").read_text())
        people = clients[PROPOSES.staff_id], clients[ACTIVATES.staff_id]
        toml = partner_files(settings)[plan.REFUGIO].replace("refugio-sur", "eco-sur")
        toml = toml.replace(f"http://127.0.0.1:{settings.refugio_port}", address)
        add_partner(*people, toml.replace("entidad-receptora-5", "entidad-receptora-6"), jwks)
        began = time.monotonic()
        done = asyncio.run(_traffic(hub, pg, flag, listener, clients))
        done.seconds = time.monotonic() - began
        yield done


ECHOES = ("outcome", "text", "location", "redirect", "header", "token")
"""How the echoing partner says what it got."""


@asynccontextmanager
async def echoing(listener: socket.socket) -> AsyncIterator[list[Any]]:
    """A partner that tells everything it got in its errors; yields what it heard, bodies left out.

    Its effects never succeed, so that deliveries to it are held.
    """
    heard: list[Any] = []

    async def token(_: web.Request) -> web.Response:
        body = {"access_token": "t", "token_type": "bearer", "expires_in": 300}
        return web.json_response(body)

    async def post(request: web.Request) -> web.Response:
        raw = (await request.read()).decode()
        heard.append([request.method, request.path_qs, dict(request.headers)])
        names = [n for n in json.loads(raw or "{}").get("entry", []) if n]
        patient: dict[str, Any] = next(
            (n["resource"] for n in names if n["resource"]["resourceType"] == "Patient"), {}
        )
        who = quote(json.dumps(patient.get("name", "nobody"), ensure_ascii=False))
        how = ECHOES[len(heard) % len(ECHOES)]
        if how == "outcome":
            issue = {"severity": "error", "code": "invalid", "diagnostics": raw}
            body = {"resourceType": "OperationOutcome", "issue": [issue]}
            return web.json_response(body, status=422)
        if how == "location":
            return web.Response(status=201, headers={"Location": f"/fhir/Task/{who}"})
        if how == "redirect":
            return web.Response(status=307, headers={"Location": f"/fhir?{who}"})
        if how == "header":
            return web.Response(status=400, headers={"WWW-Authenticate": who, "ETag": who})
        status = 401 if how == "token" else 500
        return web.Response(status=status, text=raw, content_type="text/html")

    app = web.Application(client_max_size=1 << 22)
    app.router.add_post("/oauth/token", token)
    app.router.add_route("*", "/{rest:.*}", post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield heard
    finally:
        await runner.cleanup()


async def _traffic(
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
    async with closing(pg) as admin, traffic, echoing(listener) as heard:
        accepted = await traffic.many(REFERRALS)
        done = Run(
            hub=hub,
            traffic=traffic,
            accepted=accepted,
            closed={},
            malformed=[],
            others={"emergency": [await traffic.emergency()]},
            heard=heard,
        )
        await _until(admin, "select count(*) >= 40 from delivery.intent where state = 'disclosed'")
        done.closed = await traffic.closed()
        done.malformed = await traffic.malformed()
        await _answers(done, admin, flag)
        await _consents(done, admin)
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
    done.others["token"] = [*await traffic.strangers(), await traffic.jti()]
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


def test_the_traffic_was_what_it_should_be(run: Run) -> None:
    assert [sent.answer for sent in run.accepted if sent.status != 200] == []
    statuses = {what: Counter(sent.status for sent in all_) for what, all_ in run.others.items()}
    print(f"traffic took {run.seconds:.0f} s", statuses)
    print("closed", Counter(sent.status for sent in run.closed.values()))
    assert {sent.status for sent in run.malformed} <= {400, 422}
    assert statuses["emergency"] == {200: 1}
    assert statuses["fault"][500] >= 2
    assert statuses["dead"][200] == 1
    assert statuses["withdraw"] == {200: 7}
    for what in ("patch", "put", "consent put"):
        assert statuses[what][200] > 0, what
        assert statuses[what].total() > statuses[what][200], what


def test_all_identities_and_at_least_95_percent_of_the_referrals_got_in(run: Run) -> None:
    accepted = sum(sent.status == 200 for sent in run.accepted)
    assert accepted >= 0.95 * len(run.accepted)
    assert run.traffic.identities == set(range(COUNT))


def test_every_field_of_the_schemas_carried_one(run: Run) -> None:
    rows = {
        f"{owner}.{name}"
        for owner, found in elements().items()
        for name, row in found.items()
        if row.type == "string"
    }
    assert rows - run.traffic.rows == set()
    open_fields = set(run.traffic.planter.full().fields)
    assert {name for name in open_fields if run.traffic.fields[name] < REFERRALS} == set()
    print(f"{len(open_fields)} open fields, {len(run.closed)} closed ones")


def test_every_other_part_of_a_request_carried_one(run: Run) -> None:
    wanted = {*(f"header {name}" for name in NAMES), "header Idempotency-Key", "path", "query"}
    wanted |= {"method", "media type", "media type parameter", "assertion", "jti", "approver"}
    wanted |= {"Task answer", "Task PUT", "Consent PUT", "element name", "extension url"}
    assert wanted - set(run.traffic.carried) == set()


def clean(scanner: Scanner, *wanted: str) -> None:
    """Nobody was found, and each place was really looked at."""
    for prefix in wanted:
        size = sum(n for place, n in scanner.scanned.items() if place.startswith(prefix))
        print(f"{prefix}: {size:,} bytes")
        assert size > 0, f"{prefix}: nothing was scanned"
    found, scanner.hits = scanner.hits, []
    assert not found, "\n" + scanner.report(found)


def test_answers_echo_nothing(run: Run, scanner: Scanner) -> None:
    for sent in run.traffic.answers:
        place = f"answer to {sent.what or 'a read'}"
        scanner.scan_text(place, sent.answer.decode("utf-8", "replace"))
        scan_value(scanner, place, sent.headers)
    clean(scanner, "answer")


def test_topics_hold_nobody(run: Run, scanner: Scanner, kafka: servers.Kafka) -> None:
    counts = scan_topics(scanner, kafka)
    assert counts["cauce.case"] >= 3 * REFERRALS
    assert counts["cauce.dead"] > 0
    clean(scanner, "topic cauce.case", "topic cauce.dead")


def test_tables_of_both_databases_hold_nobody(
    run: Run, scanner: Scanner, pg: servers.Databases
) -> None:
    assert scan_database(scanner, "hub", pg.admin_dsn) > 1000
    assert scan_database(scanner, "vault", pg.vault_admin_dsn) > 100
    clean(scanner, "table hub.bus.event", "table hub.gateway.submission", "table hub.custody.leaf")
    clean(scanner, "table vault.vault.version", "table vault.keys.data_key")


def test_staff_are_shown_nobody_but_the_identity_that_was_opened(
    run: Run, scanner: Scanner
) -> None:
    scan_value(scanner, "staff", run.staff)
    clean(scanner, "staff")
    scan_value(scanner, "opened", run.opened)
    assert scanner.hits, "the opened identity is one of ours"
    scanner.hits = []


def test_metrics_and_processes_name_nobody(run: Run, scanner: Scanner) -> None:
    for name in (plan.HUB, plan.VAULT):
        host, port = plan.ready_address(run.hub.settings, name)
        with urllib.request.urlopen(f"http://{host}:{port}/metrics") as answer:
            scanner.scan_text(f"metrics of {name}", answer.read().decode())
    names = processes.names(run.hub.place)
    found = {name: processes.find(run.hub.place, name) for name in names}
    scan_processes(scanner, [process for process in found.values() if process is not None])
    for name in (plan.HUB, plan.VAULT):
        process = found[name]
        assert process is not None
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0), "a crash would write memory to disk"
    clean(scanner, "metrics of hub", "metrics of vault", "process arguments")


def test_addresses_and_keys_of_calls_to_partners_name_nobody(run: Run, scanner: Scanner) -> None:
    calls = [
        record
        for record in journal.read(run.hub.place.root / "partners/refugio-sur/data/refugio.jsonl")
        if record["kind"] == "call"
    ]
    scan_value(scanner, "calls to refugio-sur", calls)
    scan_value(scanner, "calls to eco-sur", run.heard)
    assert len(run.heard) >= 3
    clean(scanner, "calls to refugio-sur", "calls to eco-sur")


def place_of(path: Path) -> str | None:
    """Where a file of the run folder belongs; the partners' own stores are not ours."""
    head = path.parts[0]
    if head == "partners" and path.suffix == ".jsonl":
        return None
    if head == "postgres":
        return "wal" if "pg_wal" in path.parts else "heap"
    if head == "logs":
        return f"log of {path.stem}"
    return {"kafka": "segments", "vault-keys": "keystore"}.get(head, "run folder")


def test_the_disk_holds_nobody(
    run: Run, scanner: Scanner, place: Place, postgres_server: Server, pg: servers.Databases
) -> None:
    asyncio.run(_checkpoint(pg.admin_dsn))
    scan_files(scanner, place.root, place_of)
    if not postgres_server.data.is_relative_to(place.root):
        scan_files(scanner, postgres_server.data, lambda path: place_of(Path("postgres") / path))
    clean(scanner, "wal", "heap", "segments", "keystore", "run folder")
    clean(scanner, "log of hub", "log of vault", "log of postgres", "log of kafka")


async def _checkpoint(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("checkpoint")
    await connection.close()


def test_the_faults_were_logged_without_their_text(run: Run) -> None:
    log = run.hub.log(plan.HUB)
    for said in ("unforeseen", "RuntimeError", "some.library", "start-failed", "CrashError"):
        assert said in log, said


def test_the_recipient_did_get_identities(run: Run, scanner: Scanner) -> None:
    """Otherwise nothing of the above would mean anything."""
    scan_files(scanner, run.hub.place.root / "partners" / "refugio-sur" / "data", lambda _: "store")
    found, scanner.hits = scanner.hits, []
    assert len({hit.identity for hit in found}) > 300
